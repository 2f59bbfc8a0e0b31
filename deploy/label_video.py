"""A label for every pixel of a video: to print, to save and to look at."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from deploy.drawing import write_label_png, write_mp4
from deploy.files import atomic_files
from deploy.prediction import RESULT, write_json


@dataclass(frozen=True, eq=False)
class LabelVideoPrediction:
    """Every class is shown in its colour, the first one too (a mask's prediction leaves label 0 clear).

    Attributes:
        source: the video, as given by the user.
        frame: reads frame i as uint8 RGB ``[H, W, 3]``; called again when pictures are drawn.
        labels: uint8 ``[T, H, W]``.
        names: of the classes, by label.
        colours: uint8 ``[classes, 3]`` RGB.
        fps: frames per second of the overlay.
        recode: further folder of PNGs -> function of a label map, e.g. other label numbers.
        facts: further plain data for the JSON file: times, key frames.
        opacity: of the colours.
    """

    source: str
    frame: Callable[[int], np.ndarray]
    labels: np.ndarray
    names: Sequence[str]
    colours: np.ndarray
    fps: float
    recode: Mapping[str, Callable[[np.ndarray], np.ndarray]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    opacity: float = 0.55

    def shares(self) -> dict[str, float]:
        """Class name -> share of all pixels of the video, largest first, absent ones left out."""
        counts = np.bincount(self.labels.reshape(-1), minlength=len(self.names))[:len(self.names)]
        order = np.argsort(-counts, kind="stable")
        return {self.names[index]: float(counts[index] / self.labels.size) for index in order if counts[index]}

    def summary(self) -> str:
        count, height, width = self.labels.shape
        lines = [f"{self.source}: {count} frames of {width}x{height}"]
        lines += [f"{100 * share:6.2f} % {name}" for name, share in self.shares().items()]
        lines += [f"{name}: {value:.4g}" for name, value in self.facts.items() if isinstance(value, int | float)]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        count, height, width = self.labels.shape
        frames = [{name: float(share) for name, share in zip(self.names, self._frame_shares(index), strict=True)
                   if share} for index in range(count)]
        return {"kind": "labels", "source": self.source, "frames": count, "height": height, "width": width,
                "fps": float(self.fps), "labels": list(self.names), "shares": self.shares(), "frame_shares": frames,
                **dict(self.facts)}

    def _frame_shares(self, index: int) -> np.ndarray:
        counts = np.bincount(self.labels[index].reshape(-1), minlength=len(self.names))[:len(self.names)]
        return counts / self.labels[index].size

    def picture(self, index: int) -> np.ndarray:
        """Frame ``index`` under the colours of its classes, uint8 ``[H, W, 3]``."""
        colours = np.concatenate([self.colours, np.zeros((256 - len(self.colours), 3), np.uint8)])
        blend = (1 - self.opacity) * self.frame(index) + self.opacity * colours[self.labels[index]]
        return np.rint(blend).astype(np.uint8)

    def save(self, folder: str | Path) -> Path:
        """Write ``prediction.json``, ``overlay.mp4``, ``prediction.png`` (the middle frame), ``labels/00000.png`` ...
        and a folder for each of ``recode``; returns the path of the JSON file."""
        colours = np.concatenate([self.colours, np.zeros((256 - len(self.colours), 3), np.uint8)])
        with atomic_files(folder, last=RESULT) as work:
            for name in ("labels", *self.recode):
                (work / name).mkdir()
            for index, labels in enumerate(self.labels):
                write_label_png(work / "labels" / f"{index:05d}.png", labels, colours)
                for name, function in self.recode.items():
                    Image.fromarray(function(labels)).save(work / name / f"{index:05d}.png")
            Image.fromarray(self.picture(len(self.labels) // 2)).save(work / "prediction.png")
            write_mp4(work / "overlay.mp4", (self.picture(index) for index in range(len(self.labels))), self.fps)
            write_json(work / RESULT, self.to_dict())
        return Path(folder) / RESULT
