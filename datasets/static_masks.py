"""Training clips from single images with one mask: three random views of an image make a video.

hkchengrex/Mask-Propagation 7db3902 ``dataset/static_dataset.py``. Layouts: ``FSS/CLASS/N.jpg + N.png``; other sets
``X.jpg + X.png`` in one folder; masks are grey, 0 to 255.
"""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from datasets import mivos_transforms as tf
from datasets.davis import read_image


def find_pairs(folder: str | Path) -> list[tuple[Path, Path]]:
    """(image, mask) of a folder: one level of class folders, or files side by side.

    Raises:
        FileNotFoundError: if the folder holds no pair.
    """
    folder = Path(folder)
    images = sorted(folder.glob("*.jpg")) or sorted(folder.glob("*/*.jpg"))
    pairs = [(image, image.with_suffix(".png")) for image in images if image.with_suffix(".png").is_file()]
    if not pairs:
        raise FileNotFoundError(f"{folder} holds no pair X.jpg + X.png, directly or in class folders")
    return pairs


def read_grey(path: Path) -> Image.Image:
    """A mask as 8-bit grey."""
    with Image.open(path) as image:
        return image.convert("L")


class StaticClips:
    """Three views of an image with its one object; the mask stays soft.

    Args:
        folders: (folder, how often it is repeated); upstream: fss, DUTS-TR, DUTS-TE, ecssd once, BIG and HRSOD 5x.
        size: side of the square crop.
    """

    def __init__(self, folders: Sequence[tuple[str | Path, int]], *, size: int = 384):
        self.size = size
        self.pairs = [pair for folder, repeat in folders for _ in range(repeat) for pair in find_pairs(folder)]

    def __len__(self) -> int:
        return len(self.pairs)

    def get(self, index: int, rng: np.random.Generator) -> dict:
        """``rgb [3, 3, S, S]``, ``gt [3, 1, S, S]`` float32 in [0, 1], ``cls_gt [3, S, S]`` int64, ``name``."""
        image_path, mask_path = self.pairs[index]
        image, mask = read_image(image_path), read_grey(mask_path)
        affine, flipped = tf.Affine.draw(rng, 0, 0, (0.8, 1.5)), rng.random() < 0.5
        jitter = tf.Jitter.draw(rng, 0.1, 0.05, 0.05, 0.05, grey=0.05)
        image, mask = jitter(affine(image, tf.BICUBIC, tf.FILL)), affine(mask, tf.BICUBIC)
        if flipped:
            image, mask = tf.flip(image), tf.flip(mask)
        views = [self._view(rng, image, mask) for _ in range(3)]
        gt = np.stack([np.asarray(view[1], np.float32)[None] / 255.0 for view in views])
        return {"rgb": np.stack([tf.normalize(view[0]) for view in views]), "gt": gt,
                "cls_gt": (gt[:, 0] > 0.5).astype(np.int64), "name": str(image_path)}

    def _view(self, rng, image: Image.Image, mask: Image.Image) -> tuple[Image.Image, Image.Image]:
        affine = tf.Affine.draw(rng, 20, 10, (0.9, 1.1))
        # Bicubic for the mask too: upstream's masks are soft.
        image, mask = affine(image, tf.BICUBIC, tf.FILL), affine(mask, tf.BICUBIC)
        image = tf.pad_to(tf.short_side(image, self.size, tf.BICUBIC), self.size, tf.FILL)
        mask = tf.pad_to(tf.short_side(mask, self.size, tf.NEAREST), self.size)
        crop, jitter = tf.Crop.plain(rng, image.size, self.size), tf.Jitter.draw(rng, 0.1, 0.05, 0.05)
        image, mask = jitter(crop(image, tf.BICUBIC)), crop(mask, tf.NEAREST)
        return tf.thin_plate_warp(rng, image, mask) if rng.random() < 0.33 else (image, mask)
