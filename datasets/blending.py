"""Mixup and CutMix of a batch of clips, as X-CLIP trains (upstream datasets/blending.py). Arrays only.

Zhang et al., arXiv 1710.09412; Yun et al., arXiv 1905.04899. One mixing share and one permutation a batch.
"""
from __future__ import annotations

import numpy as np


def smoothed_one_hot(labels: np.ndarray, classes: int, smoothing: float) -> np.ndarray:
    """``labels [B]`` or ``[B, 1]`` -> float32 ``[B, K]``: 1 - s + s/K for the class, s/K elsewhere."""
    off = smoothing / classes
    target = np.full((labels.size, classes), off, np.float32)
    target[np.arange(labels.size), labels.reshape(-1)] = 1.0 - smoothing + off
    return target


def mixup(images: np.ndarray, target: np.ndarray, share: float, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``share`` of each clip ``[B, T, 3, H, W]`` and the rest of another's; targets likewise."""
    share, rest = np.float32(share), np.float32(1.0 - share)
    return share * images + rest * images[order], share * target + rest * target[order]


def cutmix(images: np.ndarray, target: np.ndarray, share: float, order: np.ndarray,
           centre: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A box of area 1 - ``share`` round ``centre`` (x, y) comes from another clip, in every frame.

    The targets are mixed by the area that really changed: a box may stick out of the frame.
    """
    height, width = images.shape[-2:]
    half_width = int(width * np.sqrt(1.0 - share)) // 2
    half_height = int(height * np.sqrt(1.0 - share)) // 2
    x, y = centre
    left, right = np.clip([x - half_width, x + half_width], 0, width)
    top, bottom = np.clip([y - half_height, y + half_height], 0, height)
    mixed = images.copy()
    mixed[..., top:bottom, left:right] = images[order][..., top:bottom, left:right]
    kept = np.float32(1.0 - (right - left) * (bottom - top) / (width * height))
    return mixed, kept * target + np.float32(1.0 - kept) * target[order]


def blend(images: np.ndarray, labels: np.ndarray, classes: int, rng: np.random.Generator, *, mixup_alpha: float = 0.8,
          cutmix_alpha: float = 1.0, switch: float = 0.5, smoothing: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Blend a batch: CutMix with probability ``switch``, else Mixup.

    ``cutmix_alpha`` 0 means Mixup always (upstream's option fails there).

    Returns:
        images of the same shape, float32 targets ``[B, K]`` whose rows sum to 1.
    """
    target = smoothed_one_hot(labels, classes, smoothing)
    order = rng.permutation(len(images))
    if cutmix_alpha and rng.random() < switch:
        share = float(rng.beta(cutmix_alpha, cutmix_alpha))
        height, width = images.shape[-2:]
        return cutmix(images, target, share, order, (int(rng.integers(0, width)), int(rng.integers(0, height))))
    return mixup(images, target, float(rng.beta(mixup_alpha, mixup_alpha)), order)
