"""Training samples of scribble-to-mask: an image, a wrong mask of its object and scribbles that would mend it.

hkchengrex/Scribble-to-Mask 2b55b23 ``dataset``. Static image sets (see :mod:`datasets.static_masks`) and LVIS v1.
"""
from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from datasets import mivos_transforms as tf
from datasets.davis import read_image
from datasets.davis_robot import Robot
from datasets.scribbles import bezier_curve, bresenham
from datasets.static_masks import find_pairs, read_grey

FROM_NOTHING, BY_ROBOT, EXTRA, OTHER_INSTANCE = 0.33, 0.75, 0.3, 0.75  # probabilities
SCALE, LVIS_SCALE = (0.8, 1.25), (0.8, 1.0)  # of the random affine
LVIS_LEAST_AREA = 2500  # pixels


class S2MSamples:
    """Static images, each visited ``repeat`` times, and LVIS instances.

    Args:
        folders: (folder of X.jpg + X.png, repeat).
        size: side of the square crop.
        lvis: the annotation file, or None; ``lvis_images``: folder of its images.
    """

    def __init__(self, folders: Sequence[tuple[str | Path, int]], *, size: int = 480, lvis: Path | None = None,
                 lvis_images: Path | None = None):
        self.size, self.lvis_images = size, lvis_images
        self.items: list = [pair for folder, repeat in folders for _ in range(repeat) for pair in find_pairs(folder)]
        if lvis is not None:
            self.items += read_lvis(lvis)

    def __len__(self) -> int:
        return len(self.items)

    def get(self, index: int, rng: np.random.Generator) -> dict:
        """``input [6, S, S]`` float32 (image, previous mask, own and other scribbles), ``cls_gt [S, S]``, ``name``."""
        item = self.items[index]
        image, mask, other, name = self._load(item)
        image, mask, other = self._views(rng, image, mask, other, LVIS_SCALE if isinstance(item, dict) else SCALE)
        truth, other = np.asarray(mask) > 127, np.asarray(other) > 127
        before = previous_mask(rng, truth, other)
        positive, negative = correcting_scribbles(rng, truth, before, other & ~truth)
        planes = np.stack([before, positive, negative]).astype(np.float32)
        return {"input": np.concatenate([tf.normalize(image), planes]), "cls_gt": truth.astype(np.int64), "name": name}

    def _load(self, item):
        if isinstance(item, dict):
            image = read_image(self.lvis_images / item["file"])
            own, *rest = [Image.fromarray(polygon_mask(shapes, image.size)) for shapes in item["instances"]]
            return image, own, rest[0] if rest else Image.new("L", image.size), item["file"]
        image, mask = read_image(item[0]), read_grey(item[1])
        return image, mask, Image.new("L", image.size), str(item[0])

    def _views(self, rng, image, mask, other, scale: tuple[float, float]):
        affine = tf.Affine.draw(rng, 20, 10, scale)
        flipped, jitter = rng.random() < 0.5, tf.Jitter.draw(rng, 0.1, 0.03, 0.03, 0.0, grey=0.05)
        made = []
        for picture, resample, fill in ((image, tf.BICUBIC, tf.FILL), (mask, tf.NEAREST, 0), (other, tf.NEAREST, 0)):
            picture = tf.short_side(affine(picture, resample, fill), self.size, resample)
            made.append(tf.pad_to(picture, self.size, fill))
        crop = tf.Crop.plain(rng, made[0].size, self.size)
        made = [crop(tf.flip(picture) if flipped else picture, tf.NEAREST) for picture in made]
        return jitter(made[0]), made[1], made[2]


def read_lvis(path: str | Path) -> list[dict]:
    """Instances above 2500 pixels: ``{"file", "instances": [polygons of this one, polygons of another]}``.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such LVIS annotation file; set data.lvis to null to train without")
    content = json.loads(path.read_text())
    files = {image["id"]: "/".join(image["coco_url"].split("/")[-1:]) for image in content["images"]}
    by_image: dict[int, list] = {}
    for annotation in content["annotations"]:
        if annotation["area"] > LVIS_LEAST_AREA:
            by_image.setdefault(annotation["image_id"], []).append(annotation["segmentation"])
    return [{"file": files[image], "instances": [own, *(other for other in shapes if other is not own)][:2]}
            for image, shapes in by_image.items() for own in shapes]


def polygon_mask(polygons: list, size: tuple[int, int]) -> np.ndarray:
    """uint8 0/255 ``[H, W]`` of COCO polygons; ``size`` is (width, height)."""
    mask = np.zeros(size[::-1], np.uint8)
    cv2.fillPoly(mask, [np.round(np.reshape(p, (-1, 2))).astype(np.int32) for p in polygons], 255)
    return mask


def previous_mask(rng, truth: np.ndarray, other: np.ndarray) -> np.ndarray:
    """What the user might be correcting: nothing, or the object grown and shrunk in places until it is bad enough."""
    if rng.random() < FROM_NOTHING or not truth.any():
        return np.zeros_like(truth)
    if other.any() and rng.random() < OTHER_INSTANCE:
        return truth | other
    return perturbed(rng, truth, float(rng.uniform(0.4, 0.95)))


def perturbed(rng, mask: np.ndarray, iou: float) -> np.ndarray:
    """Local dilations and erosions of a boolean mask until its IoU with itself falls below ``iou`` (250 at most)."""
    height, width = mask.shape
    changed = mask.copy()
    for _ in range(250):
        lx, ly = int(rng.integers(0, width)), int(rng.integers(0, height))
        w, h = int(rng.integers(lx + 1, width + 1)), int(rng.integers(ly + 1, height + 1))
        patch = changed[ly:h, lx:w].astype(np.uint8)
        side = int(rng.integers(1, 8))
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * side + 1, 2 * side + 1))
        grown = cv2.dilate(patch, kernel) if rng.random() < 0.5 else cv2.erode(patch, kernel)
        changed[ly:h, lx:w] = grown.astype(bool)
        union = (changed | mask).sum()
        if union == 0 or (changed & mask).sum() / union < iou:
            break
    return changed


def correcting_scribbles(rng, truth: np.ndarray, before: np.ndarray, other: np.ndarray
                         ) -> tuple[np.ndarray, np.ndarray]:
    """Boolean maps of scribbles on what is missing (own) and on what is too much (others')."""
    maps = []
    for region, whole in ((truth & ~before, truth), (before & ~truth, ~truth)):
        drawn = np.zeros(truth.shape, np.uint8)
        if region.any():
            if before.any() and rng.random() < BY_ROBOT:
                strokes = [path for _, path in Robot(rng).scribble(region.astype(np.uint8), np.zeros_like(
                    region, np.uint8), [1])]
                _draw(drawn, strokes)
            else:
                _draw(drawn, free_strokes(rng, region))
        if whole.any() and rng.random() < EXTRA:
            _draw(drawn, [random_curve(rng, whole)])
        maps.append(cv2.dilate(drawn, np.ones((3, 3), np.uint8)).astype(bool))
    if other.any() and rng.random() < OTHER_INSTANCE:
        extra = np.zeros(truth.shape, np.uint8)
        _draw(extra, [random_curve(rng, other)])
        maps[1] |= extra.astype(bool)
    return maps[0], maps[1]


def free_strokes(rng, region: np.ndarray) -> list[np.ndarray]:
    """After an opening, one of boundary, skeleton or a random curve for each connected part; the region if none."""
    side = int(rng.integers(5, 21))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    opened = cv2.morphologyEx(region.astype(np.uint8), cv2.MORPH_OPEN, kernel, borderValue=0)
    count, parts = cv2.connectedComponents(opened if opened.any() else region.astype(np.uint8))
    strokes = []
    for label in range(1, count):
        part, kind = parts == label, int(rng.integers(0, 3))
        if kind == 0:
            inner = cv2.erode(part.astype(np.uint8), np.ones((5, 5), np.uint8))
            outline, _ = cv2.findContours(inner if inner.any() else part.astype(np.uint8), cv2.RETR_EXTERNAL,
                                          cv2.CHAIN_APPROX_NONE)
            strokes.append(_scaled(outline[0][:, 0], region.shape))
        elif kind == 1:
            strokes += [path for _, path in Robot(rng).scribble(part.astype(np.uint8), np.zeros_like(part, np.uint8),
                                                                [1])]
        else:
            strokes.append(random_curve(rng, part))
    return strokes


def random_curve(rng, region: np.ndarray) -> np.ndarray:
    """A Bezier curve through up to five random pixels of the region, ``[100, 2]`` in 0..1."""
    pixels = np.argwhere(region)[:, ::-1]
    chosen = pixels[rng.integers(0, len(pixels), int(rng.integers(2, 6)))]
    return bezier_curve(_scaled(chosen, region.shape), 100)


def _scaled(points: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return points / np.maximum((shape[1] - 1, shape[0] - 1), 1)


def _draw(plane: np.ndarray, strokes: list[np.ndarray]) -> None:
    height, width = plane.shape
    for path in strokes:
        pixels = bresenham((path * (width - 1, height - 1)).astype(np.int64))
        plane[pixels[:, 1], pixels[:, 0]] = 1
