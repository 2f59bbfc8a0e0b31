"""The answer of the AVS system for a video: where it sounds, second by second or frame by frame."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from deploy.drawing import write_mp4
from deploy.files import atomic_files
from deploy.prediction import RESULT, write_json

CHUNK = 32  # frames decoded at a time for the overlay


@dataclass(frozen=True, eq=False)
class SoundMasks:
    """Masks of the sounding pixels.

    Attributes:
        source: the video, as given by the user.
        masks: uint8 ``[M, h, w]``, 1 where it sounds, at the network's size.
        frame_numbers: the frame that each mask was made from.
        read: frame numbers -> uint8 RGB ``[N, H, W, 3]``.
        fps, frame_count: of the video.
        audio, rate: mono samples in [-1, 1] for the overlay; None without sound.
        masks_per: ``second`` or ``frame``.
    """

    source: str
    masks: np.ndarray
    frame_numbers: Sequence[int]
    read: Callable[[list[int]], np.ndarray]
    fps: float
    frame_count: int
    audio: np.ndarray | None = None
    rate: int | None = None
    masks_per: str = "second"

    def shares(self) -> list[float]:
        """Sounding share of the picture, 0 to 1, by mask."""
        return [float(mask.mean()) for mask in self.masks]

    def by_second(self) -> list[float]:
        """Mean sounding share of every second."""
        shares = self.shares()
        if self.masks_per == "second":
            return shares
        interval = max(1, round(self.fps))
        return [float(np.mean(shares[start:start + interval])) for start in range(0, len(shares), interval)]

    def summary(self) -> str:
        lines = [f"{self.source}: {len(self.masks)} masks, one per {self.masks_per}"]
        for second, share in enumerate(self.by_second()):
            lines.append(f"second {second:4d}  {'█' * round(40 * share):<40}  {100 * share:6.2f} % sounding")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "sound masks", "source": self.source, "fps": float(self.fps), "frames": self.frame_count,
                "sound": self.audio is not None, "masks_per": self.masks_per,
                "height": self.masks.shape[1], "width": self.masks.shape[2],
                "share_by_second": self.by_second(),
                "masks": [{"frame": int(number), "pixels": int(mask.sum()), "share": float(mask.mean())}
                          for number, mask in zip(self.frame_numbers, self.masks, strict=True)]}

    def save(self, folder: str | Path) -> Path:
        """Write ``prediction.json``, ``overlay.mp4`` (with the sound) and ``pred_masks/NAME/NAME_0.png`` ... ."""
        name = Path(self.source).stem or "video"
        with atomic_files(folder, last=RESULT) as work:
            for index, mask in enumerate(self.masks):
                write_mask(work / "pred_masks" / name / f"{name}_{index}.png", mask)
            write_mp4(work / "overlay.mp4", self.overlays(), self.fps, audio=self.audio, rate=self.rate)
            write_json(work / RESULT, self.to_dict())
        return Path(folder) / RESULT

    def overlays(self) -> Iterator[np.ndarray]:
        """Every frame of the video with its mask, or with that of its second."""
        interval = max(1, round(self.fps))
        for start in range(0, self.frame_count, CHUNK):
            numbers = list(range(start, min(start + CHUNK, self.frame_count)))
            for number, frame in zip(numbers, self.read(numbers), strict=True):
                place = number if self.masks_per == "frame" else min(number // interval, len(self.masks) - 1)
                yield overlaid(frame, self.masks[place])


def overlaid(frame: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The original's picture: the frame plus half of the white mask; here with the mask's outline in green."""
    height, width = frame.shape[:2]
    white = cv2.resize(mask * np.uint8(255), (width, height), interpolation=cv2.INTER_NEAREST)
    picture = cv2.addWeighted(frame, 1.0, np.repeat(white[:, :, None], 3, 2), 0.5, 0)
    outlines, _ = cv2.findContours(white, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(picture, outlines, -1, (40, 230, 70), max(1, min(height, width) // 160))


def write_mask(path: Path, mask: np.ndarray) -> None:
    """A mask as the original saves it: PNG of mode P, 0 and 255."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((np.asarray(mask) > 0).astype(np.uint8) * np.uint8(255)).convert("P").save(path, format="PNG")
