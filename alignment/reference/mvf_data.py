"""The data code of MVFNet's two recipes, restated frame by frame after the originals.

Independent of ``datasets``: one image at a time, OpenCV calls as the originals make them, the originals' own
random modules. Sources: ``whwu95/MVFNet`` 0ddc7e2 codes/datasets/pipelines; ``txyugood/PaddleMVF`` cabf4f2
datasets/pipelines and custom_lr.
"""
from __future__ import annotations

import math
import random

import cv2
import numpy as np

MEAN = np.array([123.675, 116.28, 103.53], np.float32)
STD = np.array([58.395, 57.12, 57.375], np.float32)


def is_port(manifest: dict) -> bool:
    """Whether the case follows the Paddle port (UCF-101) rather than the original (Kinetics)."""
    return "PaddleMVF" in manifest["upstream"]["repository"]


def sampling(run) -> dict[str, np.ndarray]:
    stage, made = run.stage, {}
    for length, interval, clips in stage["configs"]:
        for mode in ("test", "train"):
            rows = []
            for frames in stage["lengths"]:
                np.random.seed(stage["seed"] + frames)
                rows.append(_frame_numbers(mode, frames, length, interval, clips, is_port(run.manifest)))
            made[f"{mode}:{length}x{interval}x{clips}"] = np.array(rows, "int64")
    return made


def _frame_numbers(mode, frames, length, interval, clips, port):
    span = length * interval
    offsets = [0] * clips
    if mode == "test":
        tick = (frames - span + 1) / float(clips)
        if tick > 0:
            offsets = [int(tick / 2.0 + tick * k) for k in range(clips)]
    else:
        average = (frames - span + 1) // clips
        if average > 0:
            offsets = [k * average + jitter for k, jitter in enumerate(np.random.randint(average, size=clips))]
        elif frames > max(clips, span):
            offsets = sorted(np.random.randint(frames - span + 1, size=clips))
        elif port and average == 0:
            ratio = (frames - span + 1.0) / clips
            offsets = [int(np.around(k * ratio)) for k in range(clips)]
    numbers = []
    for offset in offsets:
        for j in range(length):
            index = offset + j * interval
            numbers.append(index % frames + 1 if port else min(index, frames - 1))
    return numbers


def transform(run) -> dict[str, np.ndarray]:
    port, seed = is_port(run.manifest), run.stage["seed"]
    frames = list(run.inputs["frames"])
    resized = [_short_side_256(frame) for frame in frames]
    crops = [[frame[y:y + 256, x:x + 256] for frame in resized]
             for x, y in _three_offsets(*resized[0].shape[:2])]
    three = [frame for crop in crops for frame in crop]
    height, width = resized[0].shape[:2]
    y, x = (height - 224) // 2, (width - 224) // 2
    centre = [frame[y:y + 224, x:x + 224] for frame in resized]
    source = resized if port else frames
    boxes = [_random_box(source[0], seed + s, port) for s in range(12)]
    cropped = [_crop_and_resize(frame, boxes[0], port) for frame in source]
    return {"resize256": resized[0], "resize256_shape": np.array(resized[0].shape, "int64"),
            "three_crop": np.stack(three), "test": _batch(three, port), "val": _batch(centre, port),
            "random_resized_crop_boxes": np.array(boxes, "int64" if port else "float32"),
            "random_resized_crop": np.stack(cropped), "train": _batch([frame[:, ::-1] for frame in cropped], port)}


def _short_side_256(image):
    height, width = image.shape[:2]
    factor = 256 / min(height, width)
    return cv2.resize(image, (int(width * factor + 0.5), int(height * factor + 0.5)), interpolation=cv2.INTER_LINEAR)


def _three_offsets(height, width):
    if height == 256:
        step = (width - 256) // 2
        return [(0, 0), (2 * step, 0), (step, 0)]
    step = (height - 256) // 2
    return [(0, 0), (0, 2 * step), (0, step)]


def _random_box(image, seed, port):
    random.seed(seed)
    np.random.seed(seed)
    height, width = image.shape[:2]
    if port:
        ratios = np.exp(np.random.uniform(math.log(3 / 4), math.log(4 / 3), size=10))
        areas = np.random.uniform(0.08, 1.0, size=10) * height * width
        for ratio, area in zip(ratios, areas, strict=True):
            w, h = int(np.round(np.sqrt(area * ratio))), int(np.round(np.sqrt(area / ratio)))
            if w <= width and h <= height:
                x, y = random.randint(0, width - w), random.randint(0, height - h)
                return [x, y, x + w, y + h]
        side = min(height, width)
        x, y = (width - side) // 2, (height - side) // 2
        return [x, y, x + side, y + side]
    for _ in range(10):
        area, ratio = random.uniform(0.08, 1.0) * height * width, random.uniform(3 / 4, 4 / 3)
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if random.random() < 0.5:
            w, h = h, w
        if w <= height and h <= width:  # the original's axes, mixed up here and below
            x, y = random.randint(0, width - h), random.randint(0, height - w)
            return [x, y, x + w - 1, y + h - 1]
    side = min(height, width)
    x, y = (width - side) // 2, (height - side) // 2
    return [x, y, x + side - 1, y + side - 1]


def _crop_and_resize(image, box, port):
    height, width = image.shape[:2]
    x1, y1, x2, y2 = box
    if not port:  # mmcv clips the corners into the image, and its boxes include the last pixel
        x2, y2 = min(x2, width - 1) + 1, min(y2, height - 1) + 1
    return cv2.resize(image[y1:y2, x1:x2], (224, 224), interpolation=cv2.INTER_LINEAR)


def _batch(images, port):
    made = []
    for image in images:
        image = image.astype(np.float32)
        if not port:
            image = image[..., ::-1]  # OpenCV decodes BGR
        image = (image - MEAN) * (1.0 / STD.astype(np.float64))
        made.append(image.astype(np.float32).transpose(2, 0, 1))
    return np.stack(made)


def warmup_cosine(step, *, base, warmup_start, warmup_epochs, max_epochs, steps_per_epoch):
    """The port's schedule; its epoch is a running sum of 1 / steps_per_epoch."""
    def cosine(at):
        return base * (math.cos(math.pi * at / max_epochs) + 1.0) * 0.5
    epoch = 0
    for _ in range(step):
        epoch += 1 / steps_per_epoch
    if epoch < warmup_epochs:
        return epoch * (cosine(warmup_epochs) - warmup_start) / warmup_epochs + warmup_start
    return cosine(epoch)
