"""Image and mask transforms of the MiVOS trainings; every random choice comes from the generator that is passed.

torchvision's transforms on PIL images, re-stated (RandomAffine, RandomResizedCrop, ColorJitter, RandomCrop with
padding), and the thin-plate warp of hkchengrex/Mask-Propagation ``util/tps.py``. A transform is drawn once and then
applied to as many images and masks as belong together.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageEnhance

MEAN, STD = np.array((0.485, 0.456, 0.406), np.float32), np.array((0.229, 0.224, 0.225), np.float32)
FILL = (124, 116, 104)  # the mean colour, where an image is moved out of the frame
BICUBIC, NEAREST = Image.Resampling.BICUBIC, Image.Resampling.NEAREST


def normalize(image: Image.Image | np.ndarray) -> np.ndarray:
    """RGB uint8 ``[H, W, 3]`` -> float32 ``[3, H, W]`` with ImageNet's mean and deviation."""
    scaled = np.asarray(image, np.float32) / 255.0
    return np.ascontiguousarray(((scaled - MEAN) / STD).transpose(2, 0, 1))


def denormalize(image: np.ndarray) -> np.ndarray:
    """The inverse of :func:`normalize`, uint8."""
    return (image.transpose(1, 2, 0) * STD + MEAN).clip(0, 1).__mul__(255).round().astype(np.uint8)


@dataclass(frozen=True)
class Affine:
    """Rotation and shear in degrees and a scale about the centre."""

    angle: float = 0.0
    shear: float = 0.0
    scale: float = 1.0

    @classmethod
    def draw(cls, rng, degrees: float = 0.0, shear: float = 0.0, scale: tuple[float, float] | None = None) -> Affine:
        """Uniform within ±degrees, ±shear and the scale's range; drawn in torchvision's order."""
        angle = float(rng.uniform(-degrees, degrees))
        size = float(rng.uniform(*scale)) if scale else 1.0
        return cls(angle, float(rng.uniform(-shear, shear)) if shear else 0.0, size)

    def __call__(self, image: Image.Image, resample, fill=0) -> Image.Image:
        return image.transform(image.size, Image.Transform.AFFINE, self._inverse(image.size), resample, fillcolor=fill)

    def _inverse(self, size: tuple[int, int]) -> list[float]:
        """Output pixel -> input pixel: the inverse of rotation · shear · scale about the centre."""
        cx, cy = size[0] * 0.5, size[1] * 0.5
        rotation, shear = math.radians(self.angle), math.radians(self.shear)
        a, b = math.cos(rotation), -math.cos(rotation) * math.tan(shear) - math.sin(rotation)
        c, d = math.sin(rotation), -math.sin(rotation) * math.tan(shear) + math.cos(rotation)
        matrix = [d / self.scale, -b / self.scale, 0.0, -c / self.scale, a / self.scale, 0.0]
        matrix[2] = matrix[0] * -cx + matrix[1] * -cy + cx
        matrix[5] = matrix[3] * -cx + matrix[4] * -cy + cy
        return matrix


@dataclass(frozen=True)
class Jitter:
    """Brightness, contrast, saturation factors and a hue shift, in a random order; then perhaps grey."""

    steps: tuple[tuple[str, float], ...]
    grey: bool = False

    @classmethod
    def draw(cls, rng, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, grey: float = 0.0) -> Jitter:
        ranges = {"brightness": (1 - brightness, 1 + brightness), "contrast": (1 - contrast, 1 + contrast),
                  "saturation": (1 - saturation, 1 + saturation), "hue": (-hue, hue)}
        order = [list(ranges)[i] for i in rng.permutation(4)]
        steps = tuple((name, float(rng.uniform(*ranges[name]))) for name in order if ranges[name][0] != ranges[name][1])
        return cls(steps, bool(grey) and float(rng.random()) < grey)

    def __call__(self, image: Image.Image) -> Image.Image:
        enhance = {"brightness": ImageEnhance.Brightness, "contrast": ImageEnhance.Contrast,
                   "saturation": ImageEnhance.Color}
        for name, factor in self.steps:
            image = _shift_hue(image, factor) if name == "hue" else enhance[name](image).enhance(factor)
        return image.convert("L").convert("RGB") if self.grey else image


def _shift_hue(image: Image.Image, shift: float) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    turned = (np.asarray(hue, np.int16) + int(shift * 255)) % 256
    return Image.merge("HSV", (Image.fromarray(turned.astype(np.uint8)), saturation, value)).convert("RGB")


@dataclass(frozen=True)
class Crop:
    """A box (left, top, width, height) and the size it is brought to."""

    box: tuple[int, int, int, int]
    size: int

    @classmethod
    def resized(cls, rng, image_size: tuple[int, int], size: int, scale: tuple[float, float]) -> Crop:
        """Area within ``scale`` of the image's, aspect 3/4 to 4/3; the middle if ten tries do not fit."""
        width, height = image_size
        for _ in range(10):
            area = width * height * float(rng.uniform(*scale))
            aspect = math.exp(float(rng.uniform(math.log(3 / 4), math.log(4 / 3))))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
                return cls((left, top, w, h), size)
        aspect = min(max(width / height, 3 / 4), 4 / 3)
        w, h = min(width, round(height * aspect)), min(height, round(width / aspect))
        return cls(((width - w) // 2, (height - h) // 2, w, h), size)

    @classmethod
    def plain(cls, rng, image_size: tuple[int, int], size: int) -> Crop:
        """A square anywhere; a side shorter than ``size`` is padded around (call :func:`pad_to` first)."""
        width, height = image_size
        top, left = int(rng.integers(0, height - size + 1)), int(rng.integers(0, width - size + 1))
        return cls((left, top, size, size), size)

    def __call__(self, image: Image.Image, resample) -> Image.Image:
        left, top, width, height = self.box
        image = image.crop((left, top, left + width, top + height))
        return image if image.size == (self.size, self.size) else image.resize((self.size, self.size), resample)


def pad_to(image: Image.Image, size: int, fill=0) -> Image.Image:
    """Zeros (or ``fill``) on both ends of a side that is shorter than ``size``, as RandomCrop(pad_if_needed)."""
    width, height = image.size
    extra = max(size - width, 0), max(size - height, 0)
    if not any(extra):
        return image
    padded = Image.new(image.mode, (width + 2 * extra[0], height + 2 * extra[1]), fill)
    padded.paste(image, extra)
    return padded


def short_side(image: Image.Image, size: int, resample) -> Image.Image:
    """The shorter side brought to ``size``, the longer one truncated to an integer, as torchvision does."""
    width, height = image.size
    if width <= height:
        return image.resize((size, int(size * height / width)), resample)
    return image.resize((int(size * width / height), size), resample)


def flip(image: Image.Image) -> Image.Image:
    """Left and right exchanged."""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def thin_plate_warp(rng, image: Image.Image, mask: Image.Image, *, sigma: float = 0.02, points: int = 12
                    ) -> tuple[Image.Image, Image.Image]:
    """Bend image (bilinear) and mask (nearest) by a thin-plate spline through randomly moved points."""
    width, height = image.size
    target = np.stack([rng.permutation(width)[:points] / width, rng.permutation(height)[:points] / height], 1)
    source = target + rng.normal(0.0, sigma, target.shape)
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    moved = _thin_plate(target, source, np.stack([x.ravel(), y.ravel()], 1))
    grid_x = (moved[:, 0].reshape(height, width) * (width - 1)).astype(np.float32)
    grid_y = (moved[:, 1].reshape(height, width) * (height - 1)).astype(np.float32)
    return (Image.fromarray(cv2.remap(np.asarray(image), grid_x, grid_y, cv2.INTER_LINEAR, borderValue=FILL)),
            Image.fromarray(cv2.remap(np.asarray(mask), grid_x, grid_y, cv2.INTER_NEAREST)))


def _thin_plate(points: np.ndarray, values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The smoothest map with points -> values, at ``places``; all ``[n, 2]``."""
    def radial(a, b):
        square = ((a[:, None] - b[None]) ** 2).sum(-1)
        return 0.5 * square * np.log(square + 1e-12)

    count = len(points)
    affine = np.hstack([np.ones((count, 1)), points])
    system = np.block([[radial(points, points), affine], [affine.T, np.zeros((3, 3))]])
    weights = np.linalg.solve(system + 1e-9 * np.eye(count + 3), np.vstack([values, np.zeros((3, 2))]))
    return radial(places, points) @ weights[:count] + weights[count] + places @ weights[count + 1:]


def one_mask(label: np.ndarray, target: int) -> np.ndarray:
    """float32 ``[1, H, W]``: 1 where ``label`` is ``target``."""
    return (label == target).astype(np.float32)[None]


def pick_targets(rng, present: Sequence[int]) -> list[int]:
    """A random label and, if there is another, a second one."""
    order = [present[i] for i in rng.permutation(len(present))]
    return [int(label) for label in order[:2]]
