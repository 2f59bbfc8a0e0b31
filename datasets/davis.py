"""Videos with object masks on disk: DAVIS 2016 and 2017, YouTubeVOS, BL30K; label images with a palette.

DAVIS: ``JPEGImages/480p/SEQ/%05d.jpg``, ``Annotations/480p/SEQ/%05d.png`` (pixel = object, 0 background),
``ImageSets/{2016,2017}/{train,val,test-dev}.txt``, ``Scribbles/SEQ/00{1,2,3}.json``.
YouTubeVOS: ``JPEGImages/VIDEO/*.jpg``, ``Annotations/VIDEO/*.png`` (every fifth frame; in the validation set only
where an object appears). BL30K has the layout of YouTubeVOS.
"""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

VOID = 255  # unlabelled in some annotations: background for us
FILL_LABEL = 0  # where a mask is moved out of the frame


def palette() -> list[int]:
    """The Pascal VOC colours that DAVIS uses: 256 times R, G, B."""
    colours = []
    for label in range(256):
        rgb, bits = [0, 0, 0], label
        for shift in range(7, -1, -1):
            for channel in range(3):
                rgb[channel] |= (bits >> channel & 1) << shift
            bits >>= 3
        colours += rgb
    return colours


def read_labels(path: str | Path) -> np.ndarray:
    """Object ids uint8 ``[H, W]`` of a palette or grey PNG; void (255) becomes background.

    A grey image of two values, 0 and 255 (DAVIS 2016), is one object.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: for an image with colour channels.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such annotation")
    with Image.open(path) as image:
        if image.mode == "1":
            return np.asarray(image).astype(np.uint8)
        if image.mode not in ("P", "L"):
            raise ValueError(f"{path} has mode {image.mode}; a mask is a palette (P) or grey (L) image of object ids")
        labels, grey = np.array(image), image.mode == "L"
    if grey and set(np.unique(labels)) <= {0, 255}:
        return (labels > 0).astype(np.uint8)
    labels[labels == VOID] = 0
    return labels


def write_labels(path: str | Path, labels: np.ndarray) -> None:
    """A palette PNG of object ids uint8 ``[H, W]``."""
    image = Image.fromarray(np.asarray(labels, np.uint8), "P")
    image.putpalette(palette())
    image.save(path, format="PNG")


def read_image(path: str | Path) -> Image.Image:
    """An RGB image, loaded.

    Raises:
        FileNotFoundError: if there is none.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such frame")
    with Image.open(path) as image:
        return image.convert("RGB")


@dataclass(frozen=True)
class Sequence:
    """One video: its name, frame files and the annotation files that exist, by frame.

    ``binary``: all objects count as one (DAVIS 2016).
    """

    name: str
    frames: tuple[Path, ...]
    annotations: dict[int, Path]
    binary: bool = False

    def image(self, frame: int) -> Image.Image:
        return read_image(self.frames[frame])

    def labels(self, frame: int) -> np.ndarray:
        """Object ids; a frame without annotation is all background."""
        if frame in self.annotations:
            labels = read_labels(self.annotations[frame])
            return (labels > 0).astype(np.uint8) if self.binary else labels
        return np.zeros(self.image(frame).size[::-1], np.uint8)

    def objects(self) -> list[int]:
        """Ids in the first annotated frame."""
        return [int(i) for i in np.unique(self.labels(min(self.annotations))) if i]


def read_sequence(name: str, images: Path, masks: Path, binary: bool = False) -> Sequence:
    """The sequence in two folders.

    Raises:
        FileNotFoundError: if there are no frames or no annotations.
    """
    frames = tuple(sorted(p for p in images.glob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png")))
    if not frames:
        raise FileNotFoundError(f"{images} holds no frames of sequence {name}")
    places = {path.stem: index for index, path in enumerate(frames)}
    annotations = {places[path.stem]: path for path in sorted(masks.glob("*.png")) if path.stem in places}
    if not annotations:
        raise FileNotFoundError(f"{masks} holds no annotation (*.png) of a frame of sequence {name}")
    return Sequence(name, frames, annotations, binary)


class Davis:
    """The sequences of a DAVIS split.

    Args:
        root: folder with ``JPEGImages``, ``Annotations``, ``ImageSets``.
        split: ``train``, ``val``, ``test-dev``, ...: the list's name.
        year: ``2016`` or ``2017``.
        resolution: subfolder of images and annotations.

    Raises:
        FileNotFoundError: naming the list or folder that is missing.
    """

    def __init__(self, root: str | Path, split: str, *, year: str = "2017", resolution: str = "480p"):
        self.root, self.resolution = Path(root), resolution
        listed = self.root / "ImageSets" / year / f"{split}.txt"
        if not listed.is_file():
            there = sorted(str(p.relative_to(self.root)) for p in self.root.glob("ImageSets/*/*.txt"))
            raise FileNotFoundError(f"{listed}: no such list; {self.root} has {', '.join(there) or 'none'}")
        names = [line.split()[0] for line in listed.read_text().splitlines() if line.strip()]
        if year == "2016":  # its lists name files: /JPEGImages/480p/bear/00000.jpg ...
            names = list(dict.fromkeys(Path(name).parent.name if "/" in name else name for name in names))
        self.names, self.binary = names, year == "2016"

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sequence:
        name = self.names[index]
        return read_sequence(name, self.root / "JPEGImages" / self.resolution / name,
                             self.root / "Annotations" / self.resolution / name, binary=self.binary)

    def scribbles(self, name: str) -> list[Path]:
        """The first scribbles given for a sequence (three files in the interactive set)."""
        return sorted((self.root / "Scribbles" / name).glob("*.json"))


class FolderVideos:
    """Videos in ``JPEGImages/VIDEO`` and ``Annotations/VIDEO``: YouTubeVOS and BL30K.

    Args:
        root: the folder that holds both.
        names: subset; all by default.
        images: another folder for the images (YouTubeVOS' ``valid_all_frames``).
    """

    def __init__(self, root: str | Path, names: list[str] | None = None, images: str | Path | None = None):
        self.root = Path(root)
        self.images = Path(images) if images else self.root / "JPEGImages"
        masks = self.root / "Annotations"
        if not masks.is_dir():
            raise FileNotFoundError(f"{masks}: no such folder of annotations")
        self.names = sorted(path.name for path in masks.iterdir() if path.is_dir()) if names is None else list(names)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sequence:
        name = self.names[index]
        return read_sequence(name, self.images / name, self.root / "Annotations" / name)
