"""From decoded frames to MVFNet's input, by its two recipes: random crops, and the three pipelines.

Sources as in :mod:`datasets.clip_sampling`.
"""
from __future__ import annotations

import math

import numpy as np

from datasets.clip_sampling import RECIPES, Random
from datasets.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Box,
    center_crop,
    channels_first,
    crop,
    flip,
    normalize,
    resize,
    resize_short_side,
    three_crops,
)

ATTEMPTS = 10


def random_box_kinetics(height: int, width: int, rng: Random, area: tuple[float, float] = (0.08, 1.0),
                        ratio: tuple[float, float] = (3 / 4, 4 / 3)) -> Box:
    """The original's random crop, which takes height for width and the reverse in tests, places and fall-back.

    The box may reach past the edge; :func:`random_resized_crop` cuts it there, as the original does, so that a crop can
    lose area and be distorted. Kept under the Kinetics recipe because its published weights were trained so.
    Draws, by attempt: area, ratio (uniform, not its logarithm), a coin that swaps the sides; then x and y.
    """
    for _ in range(ATTEMPTS):
        target = rng.uniform(*area) * (height * width)
        shape = rng.uniform(*ratio)
        w, h = round(math.sqrt(target * shape)), round(math.sqrt(target / shape))
        if rng.random() < 0.5:
            w, h = h, w
        if w <= height and h <= width:
            x = int(rng.integers(0, width - h + 1))
            y = int(rng.integers(0, height - w + 1))
            return x, y, x + w, y + h
    return _middle_square(height, width)


def random_box_ucf101(height: int, width: int, rng: Random, area: tuple[float, float] = (0.08, 1.0),
                      ratio: tuple[float, float] = (3 / 4, 4 / 3)) -> Box:
    """The first of ten candidates that fits: all ratios (log-uniform), then all areas are drawn; then x and y."""
    shapes = np.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1]), size=ATTEMPTS))
    targets = rng.uniform(*area, size=ATTEMPTS) * (height * width)
    for w, h in zip(np.round(np.sqrt(targets * shapes)).astype(int), np.round(np.sqrt(targets / shapes)).astype(int),
                    strict=True):
        if h <= height and w <= width:
            x = int(rng.integers(0, width - w + 1))
            y = int(rng.integers(0, height - h + 1))
            return x, y, x + int(w), y + int(h)
    return _middle_square(height, width)


def _middle_square(height: int, width: int) -> Box:
    side = min(height, width)
    x, y = (width - side) // 2, (height - side) // 2
    return x, y, x + side, y + side


def random_resized_crop(clip: np.ndarray, size: int, recipe: str, rng: Random,
                        area: tuple[float, float] = (0.08, 1.0),
                        ratio: tuple[float, float] = (3 / 4, 4 / 3)) -> np.ndarray:
    """One random box for all frames, resized to a square of ``size`` without keeping the ratio."""
    height, width = clip.shape[1:3]
    draw = random_box_kinetics if recipe == "kinetics" else random_box_ucf101
    x1, y1, x2, y2 = draw(height, width, rng, area, ratio)
    return resize(crop(clip, (x1, y1, min(x2, width), min(y2, height))), size, size)


def prepare(clip: np.ndarray, *, view: str, recipe: str, short_side: int = 256, crop_size: int = 224,
            rng: Random | None = None, flip_probability: float = 0.5, area: tuple[float, float] = (0.08, 1.0),
            mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD) -> np.ndarray:
    """The network's input from decoded frames.

    Args:
        clip: uint8 RGB ``T H W 3``.
        view: ``train``: random crop (of the original frame by ``kinetics``, of the resized one by ``ucf101``) and flip;
            ``center``: short side resized, middle cut out;
            ``three``: short side resized, three crops of ``crop_size`` (by the recipes equal to ``short_side``).
        recipe: ``kinetics`` or ``ucf101``.
        short_side, crop_size: pixels.
        rng: needed by ``train``.
        flip_probability: 0 where left and right have a meaning.
        area: share of the frame that a random crop takes.

    Returns:
        float32 ``[T, 3, crop_size, crop_size]``; for ``three`` ``[3 * T, ...]``, crop after crop.

    Raises:
        ValueError: for an unknown view or recipe, or a crop larger than the resized frame.
    """
    if recipe not in RECIPES:
        raise ValueError(f"recipe {recipe!r} is none of {', '.join(RECIPES)}")
    if view == "train":
        if rng is None:
            raise ValueError("training crops are random; give rng, a numpy.random.Generator")
        if recipe == "ucf101":
            clip = resize_short_side(clip, short_side)
        clip = random_resized_crop(clip, crop_size, recipe, rng, area)
        return channels_first(normalize(flip(clip, flip_probability, rng), mean, std))
    clip = resize_short_side(clip, short_side)
    if view == "center":
        return channels_first(normalize(center_crop(clip, crop_size), mean, std))
    if view == "three":
        # The crops overlap; normalizing before cutting them out does it once a pixel.
        return channels_first(three_crops(normalize(clip, mean, std), crop_size))
    raise ValueError(f"view {view!r} is none of train, center, three")
