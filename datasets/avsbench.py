"""AVSBench, S4 and MS3: five frames, five log-mel patches and the masks of the sounding pixels.

Layout below ``root`` (S4 has folders for splits and categories, MS3 ``.mp4`` inside the names of its frames)::

    Single-source/s4_meta_data.csv         name, start second, category, split
    Single-source/s4_data/visual_frames/SPLIT/CATEGORY/NAME/NAME_1.png ... _5.png
                         /audio_log_mel/SPLIT/CATEGORY/NAME.pkl
                         /gt_masks/SPLIT/CATEGORY/NAME/NAME_1.png (train: the first only)
    Multi-sources/ms3_meta_data.csv        name, split
    Multi-sources/ms3_data/visual_frames/NAME/NAME.mp4_1.png ... _5.png
                          /audio_log_mel/SPLIT/NAME.pkl
                          /gt_masks/SPLIT/NAME/NAME_1.png ... _5.png

Original: OpenNLPLab/AVSBench f7414af, ``dataloader.py`` of ``avs_s4`` and ``avs_ms3``. T frames of H x W pixels.
"""
from __future__ import annotations

import csv
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from datasets.images import read_image
from datasets.log_mel import read_log_mel

SPLITS = ("train", "val", "test")
SECOND_FRAME = 15 / 16  # of every second the original keeps the frame near its end
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
FOLDERS = {"S4": ("Single-source/s4_meta_data.csv", "Single-source/s4_data"),
           "MS3": ("Multi-sources/ms3_meta_data.csv", "Multi-sources/ms3_data")}
COLUMNS = {"S4": ("name", "start", "category", "split"), "MS3": ("name", "split")}


@dataclass(frozen=True)
class Clip:
    """A row of the csv. ``start`` (seconds) and ``category`` are S4's."""

    name: str
    split: str
    category: str = ""
    start: float = 0.0


@dataclass(frozen=True)
class Layout:
    """Where the files of a task are. Folders that are not given are the original's below ``root``."""

    task: str
    root: Path
    csv: Path
    data: Path

    @classmethod
    def of(cls, task: str, root: str | Path) -> Layout:
        table, data = FOLDERS[task]
        return cls(task, Path(root), Path(root) / table, Path(root) / data)

    def frame(self, clip: Clip, number: int) -> Path:
        """Frame 1, 2, ..."""
        if self.task == "S4":
            return self._s4("visual_frames", clip) / clip.name / f"{clip.name}_{number}.png"
        return self.data / "visual_frames" / clip.name / f"{clip.name}.mp4_{number}.png"

    def mask(self, clip: Clip, number: int) -> Path:
        folder = self._s4("gt_masks", clip) if self.task == "S4" else self.data / "gt_masks" / clip.split
        return folder / clip.name / f"{clip.name}_{number}.png"

    def log_mel(self, clip: Clip) -> Path:
        """Our ``.npy`` where it exists, else the original's ``.pkl``."""
        folder = self._s4("audio_log_mel", clip) if self.task == "S4" else self.data / "audio_log_mel" / clip.split
        ours = folder / f"{clip.name}.npy"
        return ours if ours.is_file() else folder / f"{clip.name}.pkl"

    def wave(self, clip: Clip) -> Path:
        folder = self._s4("audio_wav", clip) if self.task == "S4" else self.data / "audio_wav" / clip.split
        return folder / f"{clip.name}.wav"

    def video(self, clip: Clip) -> Path:
        folder = self._s4("raw_videos", clip) if self.task == "S4" else self.data / "raw_videos"
        return folder / f"{clip.name}.mp4"

    def _s4(self, kind: str, clip: Clip) -> Path:
        return self.data / kind / clip.split / clip.category


def read_clips(task: str, table: str | Path) -> list[Clip]:
    """The rows of a csv, by position as the original reads them; the first line holds titles.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a row that has too few columns or another split than train, val, test.
    """
    table = Path(table)
    if not table.is_file():
        raise FileNotFoundError(f"{table}: no such csv; it lists {', '.join(COLUMNS[task])} of every {task} video. "
                                "Set data.root to the folder that holds Single-source and Multi-sources")
    with table.open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file) if row]
    clips = []
    for line, row in enumerate(rows[1:], 2):
        if len(row) < len(COLUMNS[task]):
            raise ValueError(f"{table}:{line}: expected {', '.join(COLUMNS[task])}, found {row}")
        values = dict(zip(COLUMNS[task], row, strict=False))
        if values["split"] not in SPLITS:
            raise ValueError(f"{table}:{line}: split {values['split']!r}; expected {', '.join(SPLITS)}")
        clips.append(Clip(values["name"], values["split"], values.get("category", ""),
                          _number(values.get("start", "0"), f"{table}:{line}: start second")))
    return clips


class AVSBench:
    """One split of S4 or MS3.

    Args:
        task: ``S4`` or ``MS3``.
        split: ``train``, ``val`` or ``test``.
        frames: T; S4's training masks cover the first frame only.
        shuffle_sound: give every clip the sound of another one; a control that shows whether a network listens.
        masks: what to do with masks that are not black and white: ``strict`` refuses them, ``binarise`` takes every
            pixel that is not black, ``original`` reads them as the original does (grey becomes a soft target,
            RGB 0.882).

    Raises:
        ValueError, FileNotFoundError: for a task or split that does not exist or is empty.
    """

    def __init__(self, root: str | Path, *, task: str, split: str, frames: int = 5, masks: str = "strict",
                 shuffle_sound: bool = False):
        if task not in FOLDERS:
            raise ValueError(f"task {task!r}: expected S4 or MS3")
        self.layout, self.task, self.frames, self.masks = Layout.of(task, root), task, frames, masks
        self.clips = [clip for clip in read_clips(task, self.layout.csv) if clip.split == split]
        if not self.clips:
            raise ValueError(f"{self.layout.csv} lists no video of split {split!r}; splits are {', '.join(SPLITS)}")
        # A cyclic shift of a random order: nobody keeps his own.
        order = np.random.default_rng(len(self.clips)).permutation(len(self.clips))
        self.sound_of = np.arange(len(self.clips))
        if shuffle_sound:
            self.sound_of[order] = np.roll(order, 1)
        self.masked = 1 if task == "S4" and split == "train" else frames

    def __len__(self) -> int:
        return len(self.clips)

    def get(self, index: int, rng: np.random.Generator) -> dict:
        """``image [T, 3, H, W]`` normalised, ``log_mel [T, 1, 96, 64]``, ``mask [1 or T, 1, H, W]``, names.

        Nothing is random: the original does not augment.

        Raises:
            FileNotFoundError, ValueError: naming the file that is absent or does not fit.
        """
        clip, layout = self.clips[index], self.layout
        image = np.stack([normalised(read_image(layout.frame(clip, k + 1))) for k in range(self.frames)])
        mode = "1" if self.task == "S4" else "P"
        mask = np.stack([read_mask(layout.mask(clip, k + 1), mode, self.masks) for k in range(self.masked)])
        if mask.shape[2:] != image.shape[2:]:
            raise ValueError(f"{layout.mask(clip, 1)} is {mask.shape[3]}x{mask.shape[2]}, its frame "
                             f"{image.shape[3]}x{image.shape[2]}: they must be equal")
        if image.shape[2] % 32 or image.shape[3] % 32:
            raise ValueError(f"{layout.frame(clip, 1)} is {image.shape[3]}x{image.shape[2]}; both sides must be "
                             "multiples of 32 (AVSBench's frames are 224x224)")
        path = layout.log_mel(self.clips[self.sound_of[index]])
        patches = read_log_mel(path)
        if len(patches) != self.frames:
            raise ValueError(f"{path} holds {len(patches)} patches, {self.frames} frames need as many")
        return {"name": clip.name, "category": clip.category, "image": image, "log_mel": patches, "mask": mask}


def normalised(image: np.ndarray) -> np.ndarray:
    """uint8 RGB ``H W 3`` -> float32 ``3 H W``, ImageNet's mean and deviation."""
    values = image.astype(np.float32) / np.float32(255)
    return np.ascontiguousarray(((values - MEAN) / STD).transpose(2, 0, 1))


def read_mask(file, mode: str = "P", masks: str = "strict") -> np.ndarray:
    """A mask file -> float32 ``[1, H, W]``, 1 where it sounds.

    Args:
        file: path (or open file) of a picture stored as grey, black and white, palette or RGB.
        mode: the mode the original converts to, ``1`` for S4 and ``P`` for MS3; it matters for ``original`` only.
        masks: ``strict``, ``binarise`` or ``original``, as :class:`AVSBench`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no picture, or not black and white in ``strict``.
    """
    try:
        with Image.open(file) as picture:
            picture.load()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{file}: no such mask") from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{file} is no readable picture: {error}") from error
    if masks == "original":
        values = np.asarray(picture.convert(mode))
        values = values.astype(np.uint8) * np.uint8(255) if mode == "1" else values
        return values[None].astype(np.float32) / np.float32(255)
    colours = np.asarray(picture.convert("RGB"))
    sounding = colours.any(-1)
    odd = sounding & (colours != 255).any(-1)
    if odd.any():
        found = f"{file}: {odd.sum()} pixels are neither black nor white, for example {colours[odd][0].tolist()}"
        if masks == "strict":
            raise ValueError(f"{found}; set data.masks to binarise (every colour counts) or original (the values as "
                             "the original converts them)")
        warnings.warn(f"{found}; they count as sounding", stacklevel=2)
    return sounding[None].astype(np.float32)


def second_frames(fps: float, frames: int, seconds: int, place: float = SECOND_FRAME) -> list[int]:
    """0-based number of the frame kept of each second: at ``place`` (0..1) of it, not beyond the last.

    The original counts ``round(fps)`` frames a second, so the places drift where the rate is no whole number.
    """
    interval = round(fps)
    return [min(int(second * interval + place * interval), frames - 1) for second in range(seconds)]


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{where}: {text!r} is no number") from None
