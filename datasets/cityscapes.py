"""Cityscapes sequences: the labelled 20th frame of a snippet and the frames before it.

Layout (the official one, and the article's down-sampled copy with ``_down_2x`` behind the two folder names)::

    leftImg8bit_sequence/SPLIT/CITY/CITY_SEQUENCE_FRAME_leftImg8bit.png     30 consecutive frames a snippet
    gtFine/SPLIT/CITY/CITY_SEQUENCE_FRAME_gtFine_labelTrainIds.png          or ..._labelIds.png; the 20th frame only

Frame numbers run through a city in some cities, so neighbours are counted from the labelled frame's own number.
"""
from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from datasets import cityscapes_transforms as transforms
from datasets.cityscapes_labels import IGNORED, to_train_ids
from datasets.files import complete_file
from datasets.images import ImageError, read_image, write_image

_LINE = re.compile(r"(?P<city>[^/\s]+)/(?P<stem>\S+)_(?P<frame>\d+)")


@dataclass(frozen=True)
class Snippet:
    """A labelled frame: ``city/stem_frame``, where ``stem`` is city and sequence."""

    city: str
    stem: str
    frame: int

    @property
    def name(self) -> str:
        return f"{self.city}/{self.stem}_{self.frame:06d}"


@dataclass(frozen=True)
class Folders:
    """Where pictures and labels of one split lie."""

    root: Path
    split: str
    images: str = "leftImg8bit_sequence"
    labels: str = "gtFine"

    def image(self, snippet: Snippet, frame: int) -> Path:
        return (self.root / self.images / self.split / snippet.city
                / f"{snippet.stem}_{frame:06d}_leftImg8bit.png")

    def label(self, snippet: Snippet) -> Path:
        """The trainIds file, or the labelIds file where only that exists."""
        start = self.root / self.labels / self.split / snippet.city / f"{snippet.stem}_{snippet.frame:06d}_gtFine"
        train_ids = start.with_name(f"{start.name}_labelTrainIds.png")
        label_ids = start.with_name(f"{start.name}_labelIds.png")
        return train_ids if train_ids.is_file() or not label_ids.is_file() else label_ids


def parse_line(line: str) -> Snippet:
    """``city/city_sequence_frame`` of a list.

    Raises:
        ValueError: for a line of another form.
    """
    match = _LINE.fullmatch(line.strip())
    if match is None:
        raise ValueError(f"{line!r} is not of the form city/city_sequence_frame, e.g. aachen/aachen_000000_000019")
    return Snippet(match["city"], match["stem"], int(match["frame"]))


def frame_numbers(line: str, difference: int) -> tuple[int, int]:
    """(key frame, labelled current frame) of a list's line; ``difference`` counts frames from one to the other."""
    frame = parse_line(line).frame
    return frame - difference, frame


def read_list(path: str | Path) -> list[Snippet]:
    """A list file: one labelled frame per line.

    Raises:
        FileNotFoundError, ValueError: naming file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such list; give data.train_list and data.val_list below data.root, or "
                                "leave them empty to use every labelled frame")
    snippets = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if line.strip():
            try:
                snippets.append(parse_line(line))
            except ValueError as error:
                raise ValueError(f"{path}:{number}: {error}") from None
    if not snippets:
        raise ValueError(f"{path} lists no frames")
    return snippets


def find_snippets(folders: Folders) -> list[Snippet]:
    """Every labelled frame of a split, in order of names.

    Raises:
        FileNotFoundError: if there is none.
    """
    base = folders.root / folders.labels / folders.split
    names = {re.sub(r"_gtFine_label(TrainIds|Ids)\.png$", "", str(path.relative_to(base)))
             for path in base.glob("*/*_gtFine_label*Ids.png")}
    if not names:
        raise FileNotFoundError(f"{base} holds no */*_gtFine_labelTrainIds.png or _labelIds.png; set data.root, "
                                "data.labels, or write a miniature with python -m datasets.synthetic cityscapes DIR")
    return [parse_line(name) for name in sorted(names)]


def read_label(path: str | Path) -> np.ndarray:
    """trainIds uint8 ``[H, W]`` of a trainIds or labelIds PNG.

    Raises:
        FileNotFoundError, ImageError: if there is no such file, or it is not an 8-bit picture of one channel.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; labels come from Cityscapes' gtFine")
    label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if label is None or label.dtype != np.uint8 or label.ndim != 2:
        found = "nothing readable" if label is None else f"{label.dtype}{list(label.shape)}"
        raise ImageError(f"{path} holds {found}; expected an 8-bit label map of one channel")
    return label if path.name.endswith("labelTrainIds.png") else to_train_ids(label)


@dataclass(frozen=True)
class Augmentation:
    """What training changes; the article only crops.

    Attributes:
        crop: (height, width), or None for whole pictures.
        flip: probability of mirroring all frames and the label.
        scales: range of the factor by which all are resized before the crop.
        compatible_crop: as the article, whose crops never reach the last row and column.
        max_share: draw a crop again, up to ten times, while one class fills this share of its labelled pixels
            (mmsegmentation: 0.75); 1 takes the first.
        jitter: mmsegmentation's changes of brightness, contrast, saturation and hue.
    """

    crop: tuple[int, int] | None = None
    flip: float = 0.0
    scales: tuple[float, float] = (1.0, 1.0)
    compatible_crop: bool = True
    max_share: float = 1.0
    jitter: bool = False


class CityscapesPairs:
    """Labelled frames with one or more earlier key frames.

    Args:
        folders: where the files lie.
        snippets: labelled frames.
        differences: frames from key to current: one item holds a key frame for each; 0 is the current frame itself.
        random_range: (low, high), inclusive: draw one difference for each item instead.
        augmentation: for training.
        flow_style: normalization for the flow network (``cityscapes_transforms.FLOW_STYLES``).
        repeat: how often an epoch goes through the list.
    """

    def __init__(self, folders: Folders, snippets: Sequence[Snippet], *, differences: Sequence[int] = (4,),
                 random_range: tuple[int, int] | None = None, augmentation: Augmentation | None = None,
                 flow_style: str = "article", repeat: int = 1):
        self.folders, self.snippets, self.repeat = folders, list(snippets), repeat
        self.differences, self.random_range = tuple(differences), random_range
        self.augmentation, self.flow_style = augmentation or Augmentation(), flow_style

    def __len__(self) -> int:
        return len(self.snippets) * self.repeat

    def get(self, index: int, rng) -> dict[str, np.ndarray | str]:
        """One item.

        Returns:
            ``seg`` float32 ``[D, 3, H, W]``: key frames for the feature network, one for each difference;
            ``flow`` float32 ``[D + 1, 3, H, W]``: the key frames and, last, the current one for the flow network;
            ``label`` int64 ``[H, W]`` trainIds of the current frame; ``name``.

        Raises:
            FileNotFoundError, ImageError: naming the frame.
        """
        snippet = self.snippets[index % len(self.snippets)]
        differences = self.differences
        if self.random_range is not None:
            low, high = self.random_range
            differences = (int(rng.integers(low, high + 1)),)
        frames = [snippet.frame - difference for difference in differences] + [snippet.frame]
        pictures = {frame: read_image(self.folders.image(snippet, frame)) for frame in set(frames)}
        images = [pictures[frame] for frame in frames]
        path = self.folders.label(snippet)
        label = read_label(path)
        if label.shape != images[-1].shape[:2]:
            raise ValueError(f"{path} measures {label.shape[1]}x{label.shape[0]}, its picture "
                             f"{images[-1].shape[1]}x{images[-1].shape[0]}; both must come from one resolution")
        images, label = augment(images, label, self.augmentation, rng)
        return {"seg": np.stack([transforms.seg_input(image) for image in images[:-1]]),
                "flow": np.stack([transforms.flow_input(image, self.flow_style) for image in images]),
                "label": label.astype(np.int64), "name": snippet.name}


def augment(images: list[np.ndarray], label: np.ndarray, options: Augmentation, rng):
    """The same scale, crop, mirroring and colours for all frames and their label. Draws in that order, and only for
    what is switched on, so that the article's stream of crops is kept."""
    if options.scales != (1.0, 1.0):
        images, label = transforms.scale_pair(images, label, float(rng.uniform(*options.scales)))
    if options.crop is not None:
        images = [transforms.pad_to(image, options.crop, 0) for image in images]
        label = transforms.pad_to(label, options.crop, IGNORED)
        start = _crop_start(label, options, rng)
        images = [transforms.crop(image, start, options.crop) for image in images]
        label = transforms.crop(label, start, options.crop)
    if options.flip and rng.random() < options.flip:
        images, label = [image[:, ::-1] for image in images], label[:, ::-1]
    if options.jitter:
        images = transforms.photometric([np.ascontiguousarray(image) for image in images], rng)
    return images, np.ascontiguousarray(label)


def _crop_start(label: np.ndarray, options: Augmentation, rng) -> tuple[int, int]:
    """Where the crop begins; the eleventh draw counts whatever it shows."""
    start = transforms.crop_start(label.shape, options.crop, rng, options.compatible_crop)
    for _ in range(10 if options.max_share < 1 else 0):
        if not transforms.crowded(transforms.crop(label, start, options.crop), IGNORED, options.max_share):
            break
        start = transforms.crop_start(label.shape, options.crop, rng, options.compatible_crop)
    return start


def build_half_size(root: str | Path, split: str) -> int:
    """Write the article's down-sampled copies of a split beside the originals; files that exist are kept.

    Returns:
        the number of files written.

    Raises:
        FileNotFoundError: if the split has neither pictures nor labels.
    """
    root, written = Path(root), 0
    sources = [*sorted((root / "leftImg8bit_sequence" / split).rglob("*_leftImg8bit.png")),
               *sorted((root / "gtFine" / split).rglob("*_gtFine_label*Ids.png"))]
    if not sources:
        raise FileNotFoundError(f"{root} holds neither leftImg8bit_sequence/{split} nor gtFine/{split}")
    for source in sources:
        kind, *rest = source.relative_to(root).parts
        target = root.joinpath(f"{kind}_down_2x", *rest)
        if target.exists():
            continue
        half = (transforms.halve_image(read_image(source)) if kind.startswith("left")
                else transforms.halve_label(cv2.imread(str(source), cv2.IMREAD_UNCHANGED)))
        with complete_file(target) as temporary:
            write_image(temporary, half)
        written += 1
    return written


def main(arguments: Sequence[str] | None = None) -> None:
    """``python -m datasets.cityscapes ROOT SPLIT ...``: write the down-sampled set."""
    parser = argparse.ArgumentParser(prog="python -m datasets.cityscapes",
                                     description="Write leftImg8bit_sequence_down_2x and gtFine_down_2x.")
    parser.add_argument("root", help="Cityscapes folder")
    parser.add_argument("splits", nargs="+", help="train, val, test")
    options = parser.parse_args(arguments)
    for split in options.splits:
        sys.stdout.write(f"{split}: {build_half_size(options.root, split)} files written\n")


if __name__ == "__main__":
    main()
