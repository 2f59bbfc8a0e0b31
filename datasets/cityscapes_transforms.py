"""From pictures to the inputs of Deep Feature Flow: two normalizations of one RGB image, crops, half-size pictures.

Source: github.com/yzfzzz/Deep-Feature-Flow-pytorch, ``lib/dataset/cityscapes_video_dataset.py``. All pictures here
are uint8 RGB, ``H W 3``; labels are ``H W``.
"""
from __future__ import annotations

import cv2
import numpy as np

SEG_MEAN, SEG_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

# How each published flow network wants its input: channel order, what is subtracted, what divides (0-255 scale).
FLOW_STYLES = {
    "article": ("bgr", (0.0, 0.0, 0.0), 255.0),
    "flownet_pytorch": ("rgb", (0.411 * 255, 0.432 * 255, 0.45 * 255), 255.0),
    "official": ("bgr", (103.06, 115.90, 123.15), 255.0)}


def seg_input(image: np.ndarray) -> np.ndarray:
    """Feature network's input: float32 ``3 H W``, RGB, normalized in double precision."""
    normal = (image.astype(np.float64) - np.array(SEG_MEAN)) / np.array(SEG_STD)
    return np.ascontiguousarray(normal.transpose(2, 0, 1), np.float32)


def flow_input(image: np.ndarray, style: str = "article") -> np.ndarray:
    """Flow network's input: float32 ``3 H W``; the article's is BGR in 0-1 without a mean.

    Raises:
        ValueError: for an unknown style.
    """
    if style not in FLOW_STYLES:
        raise ValueError(f"flow input style {style!r}: expected one of {', '.join(FLOW_STYLES)}")
    order, mean, divisor = FLOW_STYLES[style]
    ordered = image[:, :, ::-1] if order == "bgr" else image
    value = (ordered.astype(np.float64) - np.array(mean)) / divisor
    return np.ascontiguousarray(value.transpose(2, 0, 1), np.float32)


def crop_start(size: tuple[int, int], crop: tuple[int, int], rng, compatible: bool = True) -> tuple[int, int]:
    """First row and column of a random crop.

    Args:
        size, crop: (height, width).
        rng: random generator; one draw for rows, one for columns.
        compatible: as the article, whose crops never reach the last row and column.

    Raises:
        ValueError: if the crop is larger than the picture.
    """
    if crop[0] > size[0] or crop[1] > size[1]:
        raise ValueError(f"a crop of {crop[0]} x {crop[1]} does not fit a picture of {size[0]} x {size[1]} (rows x "
                         "columns); choose a smaller data.crop")
    ends = [side - part + (0 if compatible else 1) for side, part in zip(size, crop, strict=True)]
    row, column = (int(rng.integers(0, max(end, 1))) for end in ends)
    return row, column


def crop(array: np.ndarray, start: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """``array[H, W, ...]`` cut to ``size`` from ``start``."""
    return array[start[0]:start[0] + size[0], start[1]:start[1] + size[1]]


def crowded(label: np.ndarray, ignored: int, share: float) -> bool:
    """Whether one class fills at least ``share`` of the labelled pixels (mmsegmentation's rule for crops, by which a
    crop with a single class, or with none, is crowded too)."""
    counts = np.bincount(label[label != ignored].ravel())
    return np.count_nonzero(counts) < 2 or counts.max() >= share * counts.sum()


def photometric(images: list[np.ndarray], rng) -> list[np.ndarray]:
    """mmsegmentation's ``PhotoMetricDistortion``, one draw for all pictures.

    Each with probability 1/2: brightness by up to 32, contrast by a factor of 0.5 to 1.5 (as often before the
    colours as after them), saturation by such a factor, hue by up to 18 of OpenCV's 180 steps.
    """
    shift = float(rng.uniform(-32, 32)) if rng.random() < 0.5 else 0.0
    contrast, saturation = (float(rng.uniform(0.5, 1.5)) if rng.random() < 0.5 else 1.0 for _ in range(2))
    hue = int(rng.integers(-18, 18)) if rng.random() < 0.5 else 0
    contrast_first = rng.random() < 0.5

    def distorted(image: np.ndarray) -> np.ndarray:
        image = _linear(image, 1.0, shift)
        image = _linear(image, contrast, 0.0) if contrast_first else image
        if saturation != 1:
            hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
            hsv[..., 1] = _linear(hsv[..., 1], saturation, 0.0)
            image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        if hue:
            hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
            hsv[..., 0] = (hsv[..., 0].astype(int) + hue) % 180
            image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        return image if contrast_first else _linear(image, contrast, 0.0)
    return [distorted(image) for image in images]


def _linear(image: np.ndarray, factor: float, shift: float) -> np.ndarray:
    """uint8 of ``factor * image + shift``, clipped and rounded down."""
    return np.clip(image.astype(np.float32) * factor + shift, 0, 255).astype(np.uint8)


def scale_pair(images: list[np.ndarray], label: np.ndarray, factor: float) -> tuple[list[np.ndarray], np.ndarray]:
    """Pictures resized bilinearly and label by nearest neighbour, by one factor."""
    size = (round(label.shape[1] * factor), round(label.shape[0] * factor))
    return ([cv2.resize(image, size, interpolation=cv2.INTER_LINEAR) for image in images],
            cv2.resize(label, size, interpolation=cv2.INTER_NEAREST))


def pad_to(array: np.ndarray, size: tuple[int, int], value: int) -> np.ndarray:
    """Extend at the bottom and right to at least ``size`` with a constant."""
    extra = [max(0, want - have) for want, have in zip(size, array.shape[:2], strict=True)]
    if not any(extra):
        return array
    return cv2.copyMakeBorder(array, 0, extra[0], 0, extra[1], cv2.BORDER_CONSTANT, value=[value] * 4)


def halve_image(image: np.ndarray) -> np.ndarray:
    """Half the sides, bilinear (OpenCV): the article's down-sampled set. Any channel order."""
    return cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_LINEAR)


def halve_label(label: np.ndarray) -> np.ndarray:
    """Half the sides, nearest neighbour: even rows and columns."""
    return cv2.resize(label, (label.shape[1] // 2, label.shape[0] // 2), interpolation=cv2.INTER_NEAREST)
