"""Geometry and normalization of clips: arrays ``T H W C`` in, arrays ``T h w C`` out, every frame treated alike.

Frames stay uint8 until :func:`normalize`. Resizing is OpenCV's bilinear on uint8, as in the originals.
A box is ``(x1, y1, x2, y2)`` in pixels, the last two exclusive.
"""
from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from datasets.clip_sampling import Random

IMAGENET_MEAN = (123.675, 116.28, 103.53)   # RGB, 0-255
IMAGENET_STD = (58.395, 57.12, 57.375)

Box = tuple[int, int, int, int]


def resize(clip: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize every frame to ``height width`` without keeping the ratio."""
    if clip.shape[1:3] == (height, width):
        return clip
    return np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR) for frame in clip])


def short_side_size(height: int, width: int, short: int, long: float = math.inf) -> tuple[int, int]:
    """(height, width) whose short side is ``short``, or less where the long side would pass ``long``."""
    factor = min(long / max(height, width), short / min(height, width))
    return int(height * factor + 0.5), int(width * factor + 0.5)


def resize_short_side(clip: np.ndarray, short: int, long: float = math.inf) -> np.ndarray:
    """Resize keeping the ratio; sides are rounded half up."""
    return resize(clip, *short_side_size(*clip.shape[1:3], short, long))


def crop(clip: np.ndarray, box: Sequence[int]) -> np.ndarray:
    """Cut ``box`` out of every frame (a view).

    Raises:
        ValueError: if it is not inside the frames.
    """
    x1, y1, x2, y2 = (int(side) for side in box)
    height, width = clip.shape[1:3]
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        raise ValueError(f"crop ({x1}, {y1}, {x2}, {y2}) does not lie inside frames of {width}x{height} pixels; "
                         "resize to a larger short side or crop less")
    return clip[:, y1:y2, x1:x2]


def center_crop(clip: np.ndarray, size: int) -> np.ndarray:
    """The middle square of side ``size``; an odd rest goes to the right and below."""
    height, width = clip.shape[1:3]
    x, y = (width - size) // 2, (height - size) // 2
    return crop(clip, (x, y, x + size, y + size))


def three_crops(clip: np.ndarray, size: int) -> np.ndarray:
    """Squares of side ``size`` in the originals' order: first, last, middle along the longer side.

    The last one starts at twice the middle's whole-pixel offset, so it may end a pixel short of the edge; kept.
    Where neither side equals ``size``, offsets are multiples of a quarter of the rest along the middle row.

    Returns:
        ``[3 * T, size, size, C]``, crop after crop.
    """
    height, width = clip.shape[1:3]
    if height == size:
        step = (width - size) // 2
        corners = [(0, 0), (2 * step, 0), (step, 0)]
    elif width == size:
        step = (height - size) // 2
        corners = [(0, 0), (0, 2 * step), (0, step)]
    else:
        across, down = (width - size) // 4, (height - size) // 4
        corners = [(0, 2 * down), (4 * across, 2 * down), (2 * across, 2 * down)]
    return np.concatenate([crop(clip, (x, y, x + size, y + size)) for x, y in corners])


def flip(clip: np.ndarray, probability: float, rng: Random) -> np.ndarray:
    """Mirror the whole clip left to right with ``probability``; one number is drawn in any case."""
    return clip[:, :, ::-1] if rng.random() < probability else clip


def normalize(clip: np.ndarray, mean: Sequence[float] = IMAGENET_MEAN,
              std: Sequence[float] = IMAGENET_STD) -> np.ndarray:
    """``(clip - mean) / std`` as float32.

    Rounded as OpenCV 5 does it in the originals: the difference in float32 with a float32 mean, the product with
    the reciprocal in float64, rounded once.
    """
    if clip.dtype == np.uint8:  # a table of the 256 values of each channel holds exactly what the arithmetic gives
        table = _normalized(np.arange(256, dtype=np.float32)[:, None], mean, std)  # 256 C
        rows = np.ascontiguousarray(clip).reshape(-1, *clip.shape[-2:])
        return cv2.LUT(rows, table[None]).reshape(clip.shape)
    return _normalized(clip.astype(np.float32), mean, std)


def _normalized(values: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    difference = values - np.asarray(mean, np.float32)
    return (difference * (1.0 / np.asarray(std, np.float32).astype(np.float64))).astype(np.float32)


def channels_first(clip: np.ndarray) -> np.ndarray:
    """``T H W C`` to contiguous ``T C H W``."""
    return np.ascontiguousarray(clip.transpose(0, 3, 1, 2))
