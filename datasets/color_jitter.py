"""Brightness, contrast, saturation and hue on PIL images, with torchvision's meaning of each factor."""
from __future__ import annotations

import numpy as np
from PIL import Image, ImageEnhance

OPERATIONS = ("brightness", "contrast", "saturation", "hue")


def adjust(image: Image.Image, operation: str, value: float) -> Image.Image:
    """One operation on an RGB image: a factor for the first three, a turn in [-0.5, 0.5] for ``hue``."""
    if operation == "brightness":
        return ImageEnhance.Brightness(image).enhance(value)
    if operation == "contrast":
        return ImageEnhance.Contrast(image).enhance(value)
    if operation == "saturation":
        return ImageEnhance.Color(image).enhance(value)
    hue, saturation, brightness = image.convert("HSV").split()
    turned = (np.asarray(hue, np.int16) + int(value * 255)) % 256
    return Image.merge("HSV", (Image.fromarray(turned.astype(np.uint8)), saturation, brightness)).convert("RGB")


def jitter(image: Image.Image, rng, *, brightness: float, contrast: float, saturation: float,
           hue: float) -> Image.Image:
    """All four in a random order with random factors: 1 +- the given amount (hue: 0 +- it)."""
    return apply(image, draw(rng, brightness=brightness, contrast=contrast, saturation=saturation, hue=hue))


def draw(rng, *, brightness: float, contrast: float, saturation: float, hue: float) -> list[tuple[str, float]]:
    """Operations with their values, in the order to apply them."""
    amounts = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
    values = {name: float(rng.uniform(max(0.0, 1 - amount), 1 + amount)) for name, amount in amounts.items()}
    values["hue"] = float(rng.uniform(-hue, hue))
    return [(OPERATIONS[i], values[OPERATIONS[i]]) for i in rng.permutation(len(OPERATIONS))]


def apply(image: Image.Image, steps: list[tuple[str, float]]) -> Image.Image:
    """Apply drawn operations one after another."""
    for operation, value in steps:
        image = adjust(image, operation, value)
    return image


def grayscale(image: Image.Image) -> Image.Image:
    """Luma (ITU-R 601) in all three channels."""
    return image.convert("L").convert("RGB")
