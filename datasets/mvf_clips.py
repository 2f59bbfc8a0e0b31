"""Clips of videos by MVFNet's two recipes."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from datasets.clip_sampling import dense_clips
from datasets.mvf_transforms import prepare
from datasets.transforms import IMAGENET_MEAN, IMAGENET_STD
from datasets.video_list import Video, open_video


class Frames(Protocol):
    """A video: its length, and frames by number from 0."""

    def __len__(self) -> int: ...

    def frames(self, indices: Sequence[int] | np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class ClipRecipe:
    """How clips are cut from a video; the fields are explained in ``systems/mvf.py``."""

    name: str = "ucf101"
    clip_len: int = 16
    interval: int = 4
    short_side: int = 256
    train_size: int = 224
    test_size: int = 256
    test_clips: int = 10
    test_crops: int = 3
    temporal_jitter: bool = False
    flip: float = 0.5
    min_area: float = 0.08

    def train_frames(self, count: int, rng) -> np.ndarray:
        """Frame numbers ``[L]`` of a training clip."""
        return dense_clips(count, length=self.clip_len, interval=self.interval, training=True, recipe=self.name,
                           rng=rng, jitter=self.temporal_jitter)[0]

    def test_frames(self, count: int, clips: int) -> np.ndarray:
        """Frame numbers ``[clips, L]`` of evenly spread clips."""
        return dense_clips(count, length=self.clip_len, interval=self.interval, clips=clips, training=False,
                           recipe=self.name)

    def prepare(self, frames: np.ndarray, view: str, rng=None) -> np.ndarray:
        """Crop and normalise ``[T, H, W, 3]`` uint8 for a view: ``train``, ``val`` or ``test``."""
        name = {"train": "train", "val": "center", "test": "three" if self.test_crops == 3 else "center"}[view]
        return prepare(frames, view=name, recipe=self.name, short_side=self.short_side, rng=rng,
                       crop_size=self.test_size if view == "test" else self.train_size, flip_probability=self.flip,
                       area=(self.min_area, 1.0))

    def describe(self) -> dict[str, Any]:
        """Plain data for ``deploy.yaml``."""
        return {**asdict(self), "mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD),
                "channels": "RGB", "resize": "OpenCV bilinear on uint8"}


class ClipDataset:
    """One clip a video for training (random) and validation (middle), all views for the test.

    Items: ``frames [M, 3, H, W]`` float32 normalised, ``label`` int64, ``name``.
    """

    def __init__(self, videos: Sequence[Video], recipe: ClipRecipe, split: str):
        if split not in ("train", "val", "test"):
            raise ValueError(f"split {split!r}: expected train, val or test")
        self.videos, self.recipe, self.split = videos, recipe, split

    def __len__(self) -> int:
        return len(self.videos)

    def get(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        video = self.videos[index]
        reader = open_video(video)
        if self.split == "test":
            frames = test_views(reader, self.recipe)
        elif self.split == "train":
            frames = self.recipe.prepare(reader.frames(self.recipe.train_frames(len(reader), rng)), "train", rng)
        else:
            frames = self.recipe.prepare(reader.frames(self.recipe.test_frames(len(reader), 1)[0]), "val")
        return {"frames": frames, "label": np.int64(video.label), "name": video.name}


def test_views(reader: Frames, recipe: ClipRecipe) -> np.ndarray:
    """All views of a video, ``[crops * clips * L, 3, S, S]`` float32: crop after crop, clip after clip.

    Short videos repeat most of their frames: each distinct one is decoded, resized and normalised once.
    """
    indices = recipe.test_frames(len(reader), recipe.test_clips).reshape(-1)
    distinct, place = np.unique(indices, return_inverse=True)
    views = recipe.prepare(reader.frames(distinct), "test")  # crops*D 3 S S
    views = views.reshape(recipe.test_crops, len(distinct), *views.shape[1:])
    return views[:, place].reshape(-1, *views.shape[2:])


test_views.__test__ = False  # not a test, whatever pytest thinks of its name
