"""X-CLIP's frames: uint8 RGB ``[T, H, W, 3]`` in, float32 ``[T, 3, S, S]`` out (upstream datasets/pipeline.py).

Resizing is OpenCV's bilinear on uint8; colours are Pillow's; mean and deviation are ImageNet's, not CLIP's.
"""
from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from datasets import color_jitter
from datasets.multi_scale_crop import draw_crop, five_offsets

MEAN = (123.675, 116.28, 103.53)
DEVIATION = (58.395, 57.12, 57.375)
JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1}


def train(frames: np.ndarray, size: int, rng, *, jitter: float = 0.8, gray: float = 0.2,
          flip_share: float = 0.5, per_frame: bool = True) -> np.ndarray:
    """Augmented clip ``[T, 3, S, S]``.

    Args:
        frames: ``[T, H, W, 3]`` uint8.
        size: S.
        rng: the only source of randomness.
        jitter, gray, flip_share: probabilities, one draw a clip each.
        per_frame: colour factors and their order anew for every frame, as upstream; False: once a clip.
    """
    clip = short_side(frames, int(256 / 224 * size))
    clip = multi_scale_crop(clip, size, rng)
    if rng.random() < flip_share:
        clip = flip(clip)
    if rng.random() < jitter:
        steps = None if per_frame else color_jitter.draw(rng, **JITTER)
        clip = color(clip, [steps or color_jitter.draw(rng, **JITTER) for _ in clip])
    if rng.random() < gray:
        clip = grayscale(clip)
    return normalized(clip)


def test(frames: np.ndarray, size: int, *, crops: int = 1) -> np.ndarray:
    """Test clip(s) ``[crops, T, 3, S, S]``: the centre of a short side of 256/224, or three crops of short side S.

    Raises:
        ValueError: for another number of crops.
    """
    if crops == 1:
        return normalized(centre_crop(short_side(frames, int(256 / 224 * size)), size))[None]
    if crops != 3:
        raise ValueError(f"{crops} crops: X-CLIP is tested with 1 or 3")
    return np.stack([normalized(crop) for crop in three_crops(short_side(frames, size), size)])


def short_side(frames: np.ndarray, size: int) -> np.ndarray:
    """Resize so that the short side is ``size``; both sides are rounded half up."""
    height, width = frames.shape[1:3]
    scale = size / min(height, width)
    return _resized(frames, int(width * scale + 0.5), int(height * scale + 0.5))


def multi_scale_crop(frames: np.ndarray, size: int, rng) -> np.ndarray:
    """A drawn crop, resized to the square whatever its aspect."""
    height, width = frames.shape[1:3]
    crop_width, crop_height, x, y = draw_crop(width, height, size, rng, five_offsets)
    return _resized(frames[:, y:y + crop_height, x:x + crop_width], size, size)


def flip(frames: np.ndarray) -> np.ndarray:
    """Left and right exchanged."""
    return np.ascontiguousarray(frames[:, :, ::-1])


def color(frames: np.ndarray, steps: list[list[tuple[str, float]]]) -> np.ndarray:
    """Drawn colour operations, one list a frame."""
    return np.stack([np.asarray(color_jitter.apply(Image.fromarray(frame), drawn))
                     for frame, drawn in zip(frames, steps, strict=True)])


def grayscale(frames: np.ndarray) -> np.ndarray:
    """Luma in all three channels."""
    return np.stack([np.asarray(color_jitter.grayscale(Image.fromarray(frame))) for frame in frames])


def centre_crop(frames: np.ndarray, size: int) -> np.ndarray:
    """The middle square of ``size``."""
    height, width = frames.shape[1:3]
    y, x = (height - size) // 2, (width - size) // 2
    return frames[:, y:y + size, x:x + size]


def three_crops(frames: np.ndarray, size: int) -> list[np.ndarray]:
    """Squares along the longer side in upstream's order: start, end, middle."""
    height, width = frames.shape[1:3]
    wide = width >= height
    step = (max(height, width) - size) // 2
    places = (0, 2 * step, step)
    return [frames[:, :size, p:p + size] if wide else frames[:, p:p + size, :size] for p in places]


def normalized(frames: np.ndarray) -> np.ndarray:
    """uint8 ``[T, H, W, 3]`` -> float32 ``[T, 3, H, W]``, (x - mean) * (1 / deviation), scalars in double."""
    scaled = np.empty(frames.shape, np.float32)
    for channel in range(3):
        shifted = frames[..., channel].astype(np.float32) - MEAN[channel]
        scaled[..., channel] = shifted * (1.0 / DEVIATION[channel])
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def _resized(frames: np.ndarray, width: int, height: int) -> np.ndarray:
    if frames.shape[1:3] == (height, width):
        return frames
    return np.stack([cv2.resize(np.ascontiguousarray(frame), (width, height), interpolation=cv2.INTER_LINEAR)
                     for frame in frames])
