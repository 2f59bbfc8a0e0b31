"""What was seen in a stream: masks with their delays, frames per second."""
from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deploy.drawing import write_mp4
from deploy.files import atomic_files
from deploy.prediction import RESULT, write_json
from deploy.sound_masks import overlaid, write_mask

KEPT = 300  # newest masks with their pictures: five minutes at one a second, 0.3 GB at 640x480


@dataclass
class StreamReport:
    """Grows while a stream is watched; then printed and saved like any prediction. A stream may run for days, so only
    the newest masks and pictures are kept; the numbers are kept of all.

    Attributes:
        source: what was watched.
        seconds, latencies, shares: of every mask: the time of its frame in the stream; the delay until the mask was
            there; its part of the picture, 0 to 1.
        pictures, masks: the newest ``KEPT``.
        arrived, elapsed: frames that came in, in how many seconds.
    """

    source: str
    seconds: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    pictures: deque[np.ndarray] = field(default_factory=lambda: deque(maxlen=KEPT))
    masks: deque[np.ndarray] = field(default_factory=lambda: deque(maxlen=KEPT))
    arrived: int = 0
    elapsed: float = 0.0

    def add(self, seconds: float, latency: float, frame: np.ndarray, mask: np.ndarray) -> None:
        self.seconds.append(seconds)
        self.latencies.append(latency)
        self.shares.append(float(mask.mean()))
        self.masks.append(mask.astype(np.uint8))
        self.pictures.append(overlaid(frame, self.masks[-1]))

    def finish(self, arrived: int, elapsed: float) -> None:
        self.arrived, self.elapsed = arrived, elapsed

    def speed(self) -> dict[str, float]:
        """Frames in and masks out per second, and delays in milliseconds."""
        elapsed = max(self.elapsed, 1e-9)
        delays = 1000 * np.array(self.latencies or [0.0])
        return {"frames_per_second": self.arrived / elapsed, "masks_per_second": len(self.seconds) / elapsed,
                "latency_ms_median": float(np.median(delays)), "latency_ms_worst": float(delays.max())}

    def summary(self) -> str:
        speed = self.speed()
        return (f"{self.source}: {self.arrived} frames in {self.elapsed:.1f} s ({speed['frames_per_second']:.1f} a "
                f"second), {len(self.seconds)} masks ({speed['masks_per_second']:.2f} a second), latency "
                f"{speed['latency_ms_median']:.0f} ms, at worst {speed['latency_ms_worst']:.0f} ms")

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "stream", "source": self.source, "frames": self.arrived, "elapsed": self.elapsed,
                **self.speed(),
                "masks": [{"seconds": moment, "latency_ms": 1000 * latency, "share": share}
                          for moment, latency, share in zip(self.seconds, self.latencies, self.shares, strict=True)]}

    def save(self, folder: str | Path) -> Path:
        """Write ``prediction.json``, the kept masks, and an overlay with one picture per kept mask."""
        with atomic_files(folder, last=RESULT) as work:
            for index, mask in enumerate(self.masks, len(self.seconds) - len(self.masks)):
                write_mask(work / "pred_masks" / f"stream_{index:05d}.png", mask)
            if self.pictures:
                rate = max(1.0, self.speed()["masks_per_second"])
                write_mp4(work / "overlay.mp4", self.pictures, round(rate, 3))
            write_json(work / RESULT, self.to_dict())
        return Path(folder) / RESULT
