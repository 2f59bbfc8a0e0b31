"""What the article's code does to Cityscapes data, restated in NumPy and ``random`` alone.

Source: github.com/yzfzzz/Deep-Feature-Flow-pytorch, lib/dataset/cityscapes_video_dataset.py, lib/metrics.py,
exp/dff101_1_sup/python/train.py; the down-sampling of github.com/jfzhuang/IFR. Independent of ``datasets``.
"""
from __future__ import annotations

import random

import numpy as np

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def transform(bgr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(segmentation input, flow input), float32 C H W, of a BGR picture (uint8, H W 3)."""
    flow = (bgr.astype(np.float64) / 255.0).transpose(2, 0, 1)
    seg = ((bgr[:, :, ::-1].astype(np.float64) - np.array(MEAN)) / np.array(STD)).transpose(2, 0, 1)
    return seg.astype(np.float32), flow.astype(np.float32)


def crop_starts(size: tuple[int, int], crop: tuple[int, int], seed: int, count: int) -> np.ndarray:
    """(row, column) of ``count`` successive random crops; both bounds of ``randint`` are inclusive."""
    generator = random.Random(seed)
    return np.array([[generator.randint(0, side - part - 1) for side, part in zip(size, crop, strict=True)]
                     for _ in range(count)], np.int64)


def half_image(image: np.ndarray) -> np.ndarray:
    """INTER_LINEAR at exactly 2:1 is the rounded mean of each 2 x 2 square."""
    quads = image.astype(np.int64)
    total = quads[0::2, 0::2] + quads[1::2, 0::2] + quads[0::2, 1::2] + quads[1::2, 1::2]
    return ((total + 2) // 4).astype(np.uint8)


def half_label(label: np.ndarray) -> np.ndarray:
    """INTER_NEAREST at exactly 2:1 keeps even rows and columns."""
    return label[0::2, 0::2].copy()


def pair(line: str, distance: int = 4) -> tuple[int, int]:
    """(key frame, labelled frame) numbers of a list line ``city/city_sequence_frame``."""
    frame = int(line.rsplit("_", 1)[1])
    return frame - distance, frame


def rate(step: int, base: float = 5e-4, start: float = 5e-5, warmup: int = 1000) -> float:
    """Rate used at update ``step``: upstream sets it after the step, so the first uses the full rate."""
    if step == 0 or step > warmup:
        return base
    return start


def confusion(gt: np.ndarray, pred: np.ndarray, classes: int = 19) -> np.ndarray:
    """[gt, pred] counts over pixels whose label is a class."""
    valid = (gt >= 0) & (gt < classes)
    return np.bincount(classes * gt[valid] + pred[valid], minlength=classes**2).reshape(classes, classes)


def class_iou(matrix: np.ndarray) -> np.ndarray:
    """Intersection over union per class; nan where a class is neither labelled nor predicted."""
    union = matrix.sum(0) + matrix.sum(1) - np.diag(matrix)
    return np.where(union > 0, np.diag(matrix) / np.maximum(union, 1), np.nan)
