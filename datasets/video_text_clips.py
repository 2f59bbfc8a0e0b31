"""Clips of the video-text systems: frames of a listed video, sampled and transformed by either recipe."""
from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from datasets import actionclip_transforms, segment_sampling, xclip_transforms
from datasets.images import read_image
from datasets.video import VideoReader
from datasets.video_text_lists import Entry, ListError


class FrameFolder:
    """Numbered frames of one folder, as ActionCLIP stores videos.

    Args:
        path: the folder.
        count: frames the list promises; None counts the files.
        template: name of a frame by number; ``first`` is that of frame 0.
        where: file and line of the list, for errors.
    """

    def __init__(self, path: Path, count: int | None = None, *, template: str = "img_{:05d}.jpg", first: int = 1,
                 where: str = ""):
        if not path.is_dir():
            raise ListError(f"{where}: {path} is no folder of frames")
        self.path, self.template, self.first, self.where = path, template, first, where
        self.count = count
        if count is None:
            self.count = sum(1 for _ in path.glob(f"*{Path(template).suffix}"))

    def __len__(self) -> int:
        return self.count

    def frames(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """uint8 ``[N, H, W, 3]`` RGB by number from 0; each distinct frame is read once.

        Raises:
            ListError: naming the list's line and the absent file.
        """
        wanted, place = np.unique(np.asarray(indices, np.int64), return_inverse=True)
        pictures = []
        for index in wanted:
            file = self.path / self.template.format(int(index) + self.first)
            if not file.is_file():
                raise ListError(f"{self.where}: {file.name} is missing in {self.path}, which the list says holds "
                                f"{self.count} frames; extract it again or correct the list")
            pictures.append(read_image(file))
        return np.stack(pictures)[place]


def open_entry(entry: Entry, root: Path, *, template: str = "img_{:05d}.jpg", first: int = 1):
    """A reader with ``len`` and ``frames(indices)`` for a listed video: folder of frames, file, or member of a .tar."""
    if root.suffix == ".tar":
        return _open_member(root, entry)
    path = root / entry.name
    if entry.frames is not None or (path.is_dir() and (path / template.format(first)).is_file()):
        return FrameFolder(path, entry.frames, template=template, first=first, where=entry.where)
    if not path.exists():
        raise ListError(f"{entry.where}: {path} does not exist")
    return VideoReader(path)


@lru_cache(maxsize=4)
def _members(archive: str) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(archive) as tar:
        return {Path(member.name).name: member for member in tar.getmembers() if member.isfile()}


def _open_member(archive: Path, entry: Entry) -> VideoReader:
    """A video of a .tar, found by its base name as upstream does; unpacked for the time it is read."""
    if not archive.is_file():
        raise ListError(f"{entry.where}: {archive} does not exist")
    name = Path(entry.name).name
    member = _members(str(archive)).get(name)
    if member is None:
        raise ListError(f"{entry.where}: {archive} holds no member {name}")
    return _Unpacked(archive, member)


class _Unpacked:
    """Reads a member's frames from a temporary file that lives as long as the reader."""

    def __init__(self, archive: Path, member: tarfile.TarInfo):
        self.folder = tempfile.TemporaryDirectory(prefix="clip-")
        file = Path(self.folder.name) / Path(member.name).name
        with tarfile.open(archive) as tar:
            file.write_bytes(tar.extractfile(member).read())
        self.reader = VideoReader(file)

    def __len__(self) -> int:
        return len(self.reader)

    def frames(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        return self.reader.frames(indices)


@dataclass(frozen=True)
class ActionClipRecipe:
    """ActionCLIP's sampling and augmentation; fields are explained in ``systems/actionclip.py``."""

    frames: int = 8
    size: int = 224
    random_shift: bool = True
    augment: int = 2
    strength: float = 9.0
    flip: bool = True
    jitter: float = 0.8
    gray: float = 0.2
    blur: float = 0.0
    solarize: float = 0.0
    per_frame: bool = True
    clips: int = 1
    crops: int = 1

    def train(self, reader, rng) -> np.ndarray:
        """``[T, 3, S, S]``."""
        indices = (segment_sampling.actionclip_train(len(reader), self.frames, rng) if self.random_shift
                   else segment_sampling.actionclip_test(len(reader), self.frames))
        return actionclip_transforms.train(
            reader.frames(_whole_clip(indices, self.frames)), self.size, rng, flip=self.flip, augment=self.augment,
            strength=self.strength, jitter=self.jitter, gray=self.gray, blur=self.blur, solarize=self.solarize,
            per_frame=self.per_frame)

    def views(self, reader, clips: int = 1, crops: int = 1, rng=None) -> np.ndarray:
        """``[V, T, 3, S, S]``, crop after crop, clip after clip."""
        indices = segment_sampling.actionclip_views(len(reader), self.frames, clips)
        return _views(reader, indices, lambda frames: actionclip_transforms.test(frames, self.size, crops=crops))


@dataclass(frozen=True)
class XClipRecipe:
    """X-CLIP's sampling and augmentation; fields are explained in ``systems/xclip.py``."""

    frames: int = 8
    size: int = 224
    jitter: float = 0.8
    gray: float = 0.2
    flip: float = 0.5
    per_frame: bool = True
    clips: int = 1
    crops: int = 1
    random_views: bool = True

    def train(self, reader, rng) -> np.ndarray:
        """``[T, 3, S, S]``."""
        indices = segment_sampling.xclip_train(len(reader), self.frames, rng)
        return xclip_transforms.train(reader.frames(indices), self.size, rng, jitter=self.jitter, gray=self.gray,
                                      flip_share=self.flip, per_frame=self.per_frame)

    def views(self, reader, clips: int = 1, crops: int = 1, rng=None) -> np.ndarray:
        """``[V, T, 3, S, S]``, crop after crop, clip after clip."""
        indices = segment_sampling.xclip_views(len(reader), self.frames, clips, rng if self.random_views else None)
        return _views(reader, indices, lambda frames: xclip_transforms.test(frames, self.size, crops=crops))


def _whole_clip(indices: np.ndarray, count: int) -> np.ndarray:
    """A single-segment test gives one index; a clip needs ``count`` frames."""
    return indices if len(indices) == count else np.resize(indices, count)


def _views(reader, indices: np.ndarray, prepare) -> np.ndarray:
    """Every distinct frame is decoded and transformed once, whatever the number of clips that show it."""
    distinct, place = np.unique(indices.reshape(-1), return_inverse=True)
    prepared = prepare(reader.frames(distinct))  # crops D 3 S S
    chosen = prepared[:, place]
    return chosen.reshape(-1, indices.shape[1], *prepared.shape[2:])


class VideoTextDataset:
    """Listed videos as clips.

    Items: ``frames`` float32, ``[T, 3, S, S]`` in training, ``[V, T, 3, S, S]`` else; ``label`` int64; ``name``.
    """

    def __init__(self, entries: Sequence[Entry], root: str | Path, recipe: ActionClipRecipe | XClipRecipe, split: str,
                 *, template: str = "img_{:05d}.jpg", first: int = 1):
        if split not in ("train", "val", "test"):
            raise ValueError(f"split {split!r}: expected train, val or test")
        self.entries, self.root, self.recipe, self.split = list(entries), Path(root), recipe, split
        self.template, self.first = template, first

    def __len__(self) -> int:
        return len(self.entries)

    def get(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        entry = self.entries[index]
        reader = open_entry(entry, self.root, template=self.template, first=self.first)
        if self.split == "train":
            frames = self.recipe.train(reader, rng)
        else:
            many = self.split == "test"
            frames = self.recipe.views(reader, self.recipe.clips if many else 1, self.recipe.crops if many else 1, rng)
        return {"frames": frames, "label": np.int64(entry.label), "name": entry.name}
