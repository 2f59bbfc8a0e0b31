"""What a system says about a video: to print, to save as JSON and to look at."""
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from deploy.drawing import class_bars, overlay, palette, text_bars, write_label_png, write_mp4
from deploy.files import atomic_files

RESULT = "prediction.json"


@runtime_checkable
class Prediction(Protocol):
    """Every system's ``predict`` returns one."""

    def summary(self) -> str:
        """Lines for the console."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as ``save`` writes it to ``prediction.json``."""

    def save(self, folder: str | Path) -> Path:
        """Write ``prediction.json`` and pictures, all or nothing; returns the path of the JSON file."""


@dataclass(frozen=True, eq=False)
class ClassPrediction:
    """One class for a clip.

    Attributes:
        source: the video, as given by the user.
        scores: probabilities ``[K]``.
        labels: class names, K of them.
        frame: uint8 ``[H, W, 3]`` that the picture shows; None for no picture.
        top: how many classes are shown; all K scores are in the JSON file.

    Raises:
        ValueError: scores that do not fit the labels, are not finite or not in [0, 1].
    """

    source: str
    scores: np.ndarray
    labels: Sequence[str]
    frame: np.ndarray | None = None
    top: int = 5

    def __post_init__(self):
        if self.scores.ndim != 1 or len(self.scores) != len(self.labels) or not len(self.labels):
            raise ValueError(f"{self.source}: scores of shape {list(self.scores.shape)} for {len(self.labels)} labels")
        if not np.isfinite(self.scores).all() or self.scores.min() < 0 or self.scores.max() > 1 + 1e-6:
            raise ValueError(f"{self.source}: scores must be probabilities, got values from {self.scores.min()} to "
                             f"{self.scores.max()}")

    @property
    def order(self) -> np.ndarray:
        """Class indices, best first; of equal scores the lower index comes first."""
        return np.argsort(-self.scores, kind="stable")[:self.top]

    @property
    def best(self) -> tuple[str, float]:
        """Name and probability of the best class."""
        return self.labels[self.order[0]], float(self.scores[self.order[0]])

    def summary(self) -> str:
        name, score = self.best
        names = [self.labels[index] for index in self.order]
        return "\n".join([f"Top1 class:{name} prob:{score:.6f}", *text_bars(names, self.scores[self.order])])

    def to_dict(self) -> dict[str, Any]:
        top = [{"class": self.labels[index], "index": int(index), "prob": float(self.scores[index])}
               for index in self.order]
        return {"kind": "class", "source": self.source, "top": top, "labels": list(self.labels),
                "scores": [float(score) for score in self.scores]}

    def picture(self) -> np.ndarray:
        """The frame with bars, uint8 ``[H, W, 3]``.

        Raises:
            ValueError: made without a frame.
        """
        if self.frame is None:
            raise ValueError(f"{self.source}: this prediction was made without a frame to draw on")
        names = [self.labels[index] for index in self.order]
        return class_bars(self.frame, names, self.scores[self.order].tolist())

    def save(self, folder: str | Path) -> Path:
        with atomic_files(folder, last=RESULT) as work:
            if self.frame is not None:
                Image.fromarray(self.picture()).save(work / "prediction.png")
            write_json(work / RESULT, self.to_dict())
        return Path(folder) / RESULT


@dataclass(frozen=True, eq=False)
class MaskVideoPrediction:
    """One label map for every frame.

    Attributes:
        source: the video, as given by the user.
        frames: uint8 RGB ``[T, H, W, 3]``, or any sequence of T frames ``[H, W, 3]``: they are asked for one by one.
        masks: uint8 ``[T, H, W]``: 0 background, 1.. objects or classes, 255 no answer; or a sequence of T maps with
            that ``shape``.
        names: label -> name, without the background.
        fps: frames per second of the overlay.
        audio: mono samples in [-1, 1] for the overlay, with ``rate`` samples per second.
        scores: further numbers for the JSON file, e.g. metrics.
        colours: ``[256, 3]`` uint8; None for the palette of DAVIS.

    Raises:
        ValueError: frames and masks that do not fit, or a label without a name.
    """

    source: str
    frames: Sequence[np.ndarray]
    masks: Sequence[np.ndarray]
    names: Mapping[int, str]
    fps: float
    audio: np.ndarray | None = None
    rate: int | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    colours: np.ndarray | None = None

    def __post_init__(self):
        found = getattr(self.frames, "shape", (len(self.frames), *self.masks.shape[1:], 3))
        if len(self.masks.shape) != 3 or found != (*self.masks.shape, 3):
            raise ValueError(f"{self.source}: frames {list(found)} do not fit masks {list(self.masks.shape)}; "
                             "expected T H W 3 and T H W")
        nameless = set(np.flatnonzero(self._counts.any(0)).tolist()) - {0, 255} - set(self.names)
        if nameless:
            raise ValueError(f"{self.source}: the masks hold labels without a name: {sorted(nameless)}")

    @cached_property
    def _counts(self) -> np.ndarray:
        """Pixels of every label in every frame, ``[T, 256]``."""
        return np.stack([np.bincount(labels.reshape(-1), minlength=256) for labels in self.masks])

    def areas(self) -> dict[int, list[int]]:
        """Label -> its pixels in every frame."""
        return {label: self._counts[:, label].tolist() for label in sorted(self.names)}

    def summary(self) -> str:
        size = self.masks.shape[1] * self.masks.shape[2]
        lines = [f"{self.source}: {len(self.masks)} frames of {self.masks.shape[2]}x{self.masks.shape[1]}"]
        for label, pixels in self.areas().items():
            seen = sum(area > 0 for area in pixels)
            share = 100 * sum(pixels) / size / len(self.masks)
            lines.append(f"{label:3d} {self.names[label]}: in {seen} frames, {share:.2f} % of the picture on average")
        return "\n".join([*lines, *(f"{name}: {value:.4f}" for name, value in self.scores.items())])

    def to_dict(self) -> dict[str, Any]:
        colours = palette() if self.colours is None else self.colours
        areas = self.areas()
        return {"kind": "masks", "source": self.source, "frames": len(self.masks), "height": self.masks.shape[1],
                "width": self.masks.shape[2], "fps": float(self.fps),
                "labels": [{"label": int(label), "name": self.names[label], "colour": colours[label].tolist(),
                            "area": areas[label]} for label in areas],
                "scores": {name: float(value) for name, value in self.scores.items()}}

    def save(self, folder: str | Path) -> Path:
        """Write ``prediction.json``, ``overlay.mp4`` (with sound, if there is some) and ``masks/00000.png`` ..."""
        with atomic_files(folder, last=RESULT) as work:
            (work / "masks").mkdir()
            for index, labels in enumerate(self.masks):
                write_label_png(work / "masks" / f"{index:05d}.png", labels, self.colours)
            pictures = (overlay(frame, labels, colours=self.colours)
                        for frame, labels in zip(self.frames, self.masks, strict=True))
            write_mp4(work / "overlay.mp4", pictures, self.fps, audio=self.audio, rate=self.rate)
            write_json(work / RESULT, self.to_dict())
        return Path(folder) / RESULT


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
