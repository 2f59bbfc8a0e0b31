"""ActionCLIP's frames: uint8 RGB images in, float32 ``[T, 3, S, S]`` out (upstream datasets/transforms_ss.py).

Resizing is Pillow's, which smooths when it shrinks; OpenCV's and Paddle's do not and would give other pixels.
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from datasets import color_jitter
from datasets.multi_scale_crop import draw_crop, thirteen_offsets
from datasets.rand_augment import rand_augment

MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1}


def images(frames: np.ndarray | Sequence[Image.Image]) -> list[Image.Image]:
    """``[T, H, W, 3]`` uint8 -> PIL images."""
    return [frame if isinstance(frame, Image.Image) else Image.fromarray(frame) for frame in frames]


def train(frames, size: int, rng, *, flip: bool = True, augment: int = 0, strength: float = 9,
          jitter: float = 0.8, gray: float = 0.2, blur: float = 0.0, solarize: float = 0.0,
          per_frame: bool = True) -> np.ndarray:
    """Augmented clip.

    Args:
        frames: ``[T, H, W, 3]`` uint8.
        size: S.
        rng: the only source of randomness; draws in upstream's order.
        flip: False for data where left and right differ (something-something); the number is drawn all the same.
        augment, strength: RandAugment's N and M.
        jitter, gray, blur, solarize: probabilities, one draw a clip each.
        per_frame: RandAugment and colour factors anew for every frame, as upstream; False: once a clip.

    Returns:
        float32 ``[T, 3, S, S]``, normalized.
    """
    clip = images(frames)
    if augment:
        clip = _each(clip, rng, per_frame, lambda image, draws: rand_augment(image, draws, count=augment,
                                                                             strength=strength))
    width, height, x, y = draw_crop(*clip[0].size, size, rng, thirteen_offsets)
    clip = [image.crop((x, y, x + width, y + height)).resize((size, size), Image.Resampling.BILINEAR)
            for image in clip]
    if rng.random() < 0.5 and flip:
        clip = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in clip]
    if rng.random() < jitter:
        clip = _each(clip, rng, per_frame, lambda image, draws: color_jitter.jitter(image, draws, **JITTER))
    if rng.random() < gray:
        clip = [color_jitter.grayscale(image) for image in clip]
    if rng.random() < blur:
        sigma = rng.random() * 1.9 + 0.1
        clip = [gaussian_blur(image, sigma) for image in clip]
    if rng.random() < solarize:
        clip = [ImageOps.solarize(image, 128) for image in clip]
    return normalized(clip)


def test(frames, size: int, *, crops: int = 1) -> np.ndarray:
    """Test clip(s): ``[T, H, W, 3]`` uint8 -> float32 ``[crops, T, 3, S, S]``, normalized.

    One crop: short side to 256/224 of ``size``, centre. Three crops: short side likewise, squares of its full height
    (or width) at both ends and the middle, resized to ``size``.

    Raises:
        ValueError: for another number of crops.
    """
    clip = [short_side(image, 256 * size // 224) for image in images(frames)]
    if crops == 1:
        return normalized([centre_crop(image, size) for image in clip])[None]
    if crops != 3:
        raise ValueError(f"{crops} crops: ActionCLIP is tested with 1 or 3")
    width, height = clip[0].size
    side = min(width, height)
    views = []
    for x, y in three_offsets(width, height):
        views.append(normalized([image.crop((x, y, x + side, y + side)).resize((size, size), Image.Resampling.BICUBIC)
                                 for image in clip]))
    return np.stack(views)


def three_offsets(width: int, height: int) -> list[tuple[int, int]]:
    """(x, y) of the three full-side squares: start, middle, end; an upright frame is cut along its height."""
    if height > width:
        return [(y, x) for x, y in three_offsets(height, width)]
    step = (width - height) // 2
    return [(0, 0), (step, 0), (2 * step, 0)]


def short_side(image: Image.Image, size: int) -> Image.Image:
    """Bicubic resize of the short side to ``size``; the long side is cut to an int (torchvision's old rule)."""
    width, height = image.size
    if min(width, height) == size:
        return image
    if width < height:
        return image.resize((size, int(size * height / width)), Image.Resampling.BICUBIC)
    return image.resize((int(size * width / height), size), Image.Resampling.BICUBIC)


def centre_crop(image: Image.Image, size: int) -> Image.Image:
    """The middle square; an odd rest is rounded half to even, as torchvision."""
    width, height = image.size
    x, y = round((width - size) / 2.0), round((height - size) / 2.0)
    return image.crop((x, y, x + size, y + size))


def gaussian_blur(image: Image.Image, sigma: float) -> Image.Image:
    """Pillow's blur of radius ``sigma``."""
    return image.filter(ImageFilter.GaussianBlur(radius=sigma))


def normalized(clip: Sequence[Image.Image]) -> np.ndarray:
    """PIL images -> float32 ``[T, 3, H, W]``, (x / 255 - mean) / deviation in float32 as upstream."""
    stacked = np.stack([np.asarray(image) for image in clip]).transpose(0, 3, 1, 2).astype(np.float32)
    stacked /= np.float32(255)
    stacked -= np.asarray(MEAN, np.float32)[:, None, None]
    stacked /= np.asarray(DEVIATION, np.float32)[:, None, None]
    return stacked


def _each(clip: list[Image.Image], rng, per_frame: bool, operation) -> list[Image.Image]:
    if per_frame:
        return [operation(image, rng) for image in clip]
    seed = int(rng.integers(0, 2**31))  # the same draws for every frame
    return [operation(image, np.random.default_rng(seed)) for image in clip]
