"""Miniature of what MiVOS is trained and judged on: videos in DAVIS' layout with scribbles, single images with masks,
generated propagations for the fusion.

Two or three discs and boxes of alike texture, brightness and shape move over a textured ground, cross and occlude each
other. Saturation says object or ground; only the memory of the first frame says which object, since the three colours
are dealt out anew in every video.
"""
from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from datasets.davis import write_labels

HEIGHT, WIDTH, FRAMES = 96, 128, 12
SEQUENCES = {"train": 12, "val": 3}
STATIC = {"fss/blob": 12, "DUTS-TR": 12, "DUTS-TE": 4, "ecssd": 4, "BIG_small": 2, "HRSOD_small": 2}
HUES = (0, 25, 115)  # red, yellow, blue (of OpenCV's 180): which object has which differs from video to video
FUSED = 4  # training sequences with generated propagations


def write(folder: Path, seed: int) -> None:
    """``DAVIS/{JPEGImages,Annotations,ImageSets,Scribbles}``, ``static``, ``fusion_data/sep5_m5``, ``YouTubeVOS``."""
    folder, davis = Path(folder), Path(folder) / "DAVIS"
    (davis / "ImageSets" / "2017").mkdir(parents=True)
    (davis / "ImageSets" / "2016").mkdir(parents=True)
    for split, count in SEQUENCES.items():
        names = [f"{split}{number:02d}" for number in range(count)]
        for number, name in enumerate(names):
            rng = np.random.default_rng([seed, split == "val", number])
            images, labels = video(rng, objects=2 + number % 2)
            _write_sequence(davis, name, images, labels)
            if split == "train" and number < FUSED:
                _write_propagations(folder / "fusion_data" / "sep5_m5" / name, rng, labels)
            _write_scribbles(davis / "Scribbles" / name, name, rng, labels)
        (davis / "ImageSets" / "2017" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        (davis / "ImageSets" / "2016" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    _write_youtube(folder / "YouTubeVOS" / "valid", np.random.default_rng([seed, 3]))
    for set_number, (name, count) in enumerate(STATIC.items()):
        (folder / "static" / name).mkdir(parents=True)
        for number in range(count):
            rng = np.random.default_rng([seed, 2, set_number, number])
            images, labels = video(rng, objects=1, frames=1)
            path = folder / "static" / name / f"{number:03d}"
            Image.fromarray(images[0]).save(path.with_suffix(".jpg"), quality=92)
            Image.fromarray((labels[0] > 0).astype(np.uint8) * 255).save(path.with_suffix(".png"))


def video(rng, *, objects: int, frames: int = FRAMES) -> tuple[np.ndarray, np.ndarray]:
    """uint8 images ``[T, H, W, 3]`` and labels ``[T, H, W]`` of objects that cross in the middle of the clip."""
    ground = _texture(rng, (HEIGHT, WIDTH), (70, 95, 75), 22)
    shapes = []
    hues = rng.permutation(HUES)
    for index in range(objects):
        size = rng.uniform(15, 21)
        angle = 2 * np.pi * (index / objects + rng.uniform(-0.08, 0.08)) + 0.3
        way = np.array([np.cos(angle) * 0.36 * WIDTH, np.sin(angle) * 0.30 * HEIGHT])
        colour = cv2.cvtColor(np.uint8([[[hues[index] + rng.integers(0, 8), 190, 230]]]), cv2.COLOR_HSV2RGB)[0, 0]
        shapes.append({"size": size, "way": way, "texture": _texture(rng, (64, 64), colour, 30),
                       "round": rng.random() < 0.5, "turn": rng.uniform(-0.15, 0.15), "phase": rng.uniform(0, 3)})
    images, labels = [], []
    for frame in range(frames):
        # From one side through near the middle to the other side: there they hide one another.
        share = 1 - 2 * frame / max(frames - 1, 1) if frames > 1 else rng.uniform(0.3, 1)
        image, label = ground.copy(), np.zeros((HEIGHT, WIDTH), np.uint8)
        for index, shape in enumerate(shapes):
            centre = np.array([WIDTH / 2, HEIGHT / 2]) + shape["way"] * share
            _draw(image, label, shape, centre, shape["phase"] + shape["turn"] * frame, index + 1)
        images.append(image)
        labels.append(label)
    return np.stack(images), np.stack(labels)


def _draw(image: np.ndarray, label: np.ndarray, shape: dict, centre: np.ndarray, angle: float, number: int) -> None:
    """Put a turned, textured shape over what is there."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] - centre[::-1, None, None]
    u, v = np.cos(angle) * x + np.sin(angle) * y, -np.sin(angle) * x + np.cos(angle) * y
    size = shape["size"]
    inside = u**2 + v**2 <= size**2 if shape["round"] else np.maximum(abs(u) / 1.1, abs(v) / 0.8) <= size * 0.9
    place = (np.round(v + 32).astype(int) % 64, np.round(u + 32).astype(int) % 64)
    image[inside] = shape["texture"][place][inside]
    label[inside] = number


def _texture(rng, size: tuple[int, int], colour, contrast: float) -> np.ndarray:
    """Smooth noise around a colour, uint8 ``[H, W, 3]``."""
    noise = cv2.GaussianBlur(rng.normal(size=size), (0, 0), 2.0)
    noise /= np.abs(noise).max()
    return np.clip(np.asarray(colour) + contrast * noise[..., None], 0, 255).astype(np.uint8)


def _write_sequence(root: Path, name: str, images: np.ndarray, labels: np.ndarray, every: int = 1,
                    resolution: str = "480p") -> None:
    pictures, masks = root / "JPEGImages" / resolution / name, root / "Annotations" / resolution / name
    pictures.mkdir(parents=True)
    masks.mkdir(parents=True)
    for frame, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image).save(pictures / f"{frame:05d}.jpg", quality=92)
        if frame % every == 0:
            write_labels(masks / f"{frame:05d}.png", label)


def _write_youtube(root: Path, rng) -> None:
    """One validation video whose last object appears in the sixth frame: masks of first appearances only."""
    images, labels = video(rng, objects=3)
    late = labels.copy()
    late[:5][late[:5] == 3] = 0
    _write_sequence(root, "video0", images, late, every=5, resolution=".")


def _write_scribbles(folder: Path, name: str, rng, labels: np.ndarray) -> None:
    """Three first scribbles: a stroke through every object and one over the ground, on the first frame."""
    folder.mkdir(parents=True)
    scale = np.array([WIDTH - 1, HEIGHT - 1])
    for number in (1, 2, 3):
        strokes = []
        for label in range(int(labels[0].max()) + 1):
            inner = cv2.erode((labels[0] == label).astype(np.uint8), np.ones((9, 9)), borderValue=0)
            points = np.argwhere(inner if inner.any() else labels[0] == label)[:, ::-1]
            if not len(points):
                continue
            ends = points[rng.integers(0, len(points), 2)]
            steps = np.linspace(ends[0], ends[1], 5)
            kept = [p for p in steps if labels[0][int(p[1]), int(p[0])] == label]
            strokes.append({"path": (np.array(kept) / scale).round(5).tolist(), "object_id": label,
                            "start_time": 0, "end_time": 1})
        frames = [strokes] + [[] for _ in labels[1:]]
        (folder / f"{number:03d}.json").write_text(json.dumps({"sequence": name, "scribbles": frames}))


def _write_propagations(folder: Path, rng, labels: np.ndarray) -> None:
    """Masks as they come from a propagation: exact at the reference, worse with every frame away from it."""
    for reference in range(0, len(labels), 5):
        for label in range(1, int(labels.max()) + 1):
            target = folder / f"{reference:05d}" / f"{label:05d}"
            target.mkdir(parents=True)
            drift = rng.normal(0, 0.9, 2)
            for frame, truth in enumerate(labels):
                distance = abs(frame - reference)
                if not distance:
                    continue
                matrix = np.float32([[1, 0, drift[0] * distance], [0, 1, drift[1] * distance]])
                moved = cv2.warpAffine((truth == label).astype(np.float32), matrix, (WIDTH, HEIGHT))
                soft = cv2.GaussianBlur(moved, (0, 0), 0.6 + 0.2 * distance)
                Image.fromarray((soft * 255).astype(np.uint8)).save(target / f"{frame:05d}.png")
