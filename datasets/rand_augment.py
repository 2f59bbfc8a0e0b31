"""RandAugment as ActionCLIP trains with it: the package ildoonet/pytorch-randaugment, commit 48b8f50.

Cubuk et al., arXiv 1909.13719. Sixteen operations, each with a range of values; N of them are drawn with
replacement and always applied, at the value M / 30 of the way through the range.
"""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

FILL = (125, 123, 114)  # colour of a cut-out
STRONGEST = 30


def _either_way(value: float, rng) -> float:
    return -value if rng.random() > 0.5 else value


def _affine(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix)  # nearest pixel, black outside


def cutout(image: Image.Image, size: float, rng) -> Image.Image:
    """A square of ``size`` pixels round a random centre, filled; the first corner is an int, the second may not be."""
    width, height = image.size
    # The package calls uniform(width), which is uniform from width down to 1.
    x, y = width + (1.0 - width) * rng.random(), height + (1.0 - height) * rng.random()
    left, top = int(max(0, x - size / 2.0)), int(max(0, y - size / 2.0))
    image = image.copy()
    ImageDraw.Draw(image).rectangle((left, top, min(width, left + size), min(height, top + size)), FILL)
    return image


def _solarize_add(image: Image.Image, value: float) -> Image.Image:
    brighter = np.clip(np.asarray(image).astype(np.int64) + int(value), 0, 255).astype(np.uint8)
    return ImageOps.solarize(Image.fromarray(brighter), 128)


# name: (least, greatest value, whether the sign is drawn, operation); in the package's order, which the draw uses
Operation = Callable[[Image.Image, float], Image.Image]
OPERATIONS: dict[str, tuple[float, float, bool, Operation | None]] = {
    "AutoContrast": (0, 1, False, lambda image, value: ImageOps.autocontrast(image)),
    "Equalize": (0, 1, False, lambda image, value: ImageOps.equalize(image)),
    "Invert": (0, 1, False, lambda image, value: ImageOps.invert(image)),
    "Rotate": (0, 30, True, lambda image, value: image.rotate(value)),
    "Posterize": (0, 4, False, lambda image, value: ImageOps.posterize(image, max(1, int(value)))),
    "Solarize": (0, 256, False, lambda image, value: ImageOps.solarize(image, value)),
    "SolarizeAdd": (0, 110, False, _solarize_add),
    "Color": (0.1, 1.9, False, lambda image, value: ImageEnhance.Color(image).enhance(value)),
    "Contrast": (0.1, 1.9, False, lambda image, value: ImageEnhance.Contrast(image).enhance(value)),
    "Brightness": (0.1, 1.9, False, lambda image, value: ImageEnhance.Brightness(image).enhance(value)),
    "Sharpness": (0.1, 1.9, False, lambda image, value: ImageEnhance.Sharpness(image).enhance(value)),
    "ShearX": (0.0, 0.3, True, lambda image, value: _affine(image, (1, value, 0, 0, 1, 0))),
    "ShearY": (0.0, 0.3, True, lambda image, value: _affine(image, (1, 0, 0, value, 1, 0))),
    "CutoutAbs": (0, 40, False, None),  # draws its centre: see apply
    "TranslateXabs": (0.0, 100, True, lambda image, value: _affine(image, (1, 0, value, 0, 1, 0))),
    "TranslateYabs": (0.0, 100, True, lambda image, value: _affine(image, (1, 0, 0, 0, 1, value))),
}


def magnitude(name: str, strength: float) -> float:
    """Value of an operation at ``strength`` M of 30, before a sign is drawn."""
    low, high, _, _ = OPERATIONS[name]
    return strength / STRONGEST * (high - low) + low


def operate(image: Image.Image, name: str, value: float, rng=None) -> Image.Image:
    """One operation at a final value; only the cut-out needs ``rng``."""
    operation = OPERATIONS[name][3]
    return cutout(image, value, rng) if operation is None else operation(image, value)


def draw(rng, count: int) -> list[str]:
    """``count`` names, with replacement."""
    names = list(OPERATIONS)
    return [names[int(rng.random() * len(names))] for _ in range(count)]  # as random.choices draws


def rand_augment(image: Image.Image, rng, *, count: int, strength: float) -> Image.Image:
    """``count`` random operations on one RGB image at ``strength`` (N and M of the paper)."""
    for name in draw(rng, count):
        value = magnitude(name, strength)
        if OPERATIONS[name][2]:
            value = _either_way(value, rng)
        image = operate(image, name, value, rng)
    return image
