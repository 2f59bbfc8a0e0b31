"""X-CLIP's data code restated with NumPy, OpenCV and Pillow; our ``datasets`` unused (only its label lists are read).

Upstream (microsoft/VideoX, X-CLIP): utils/tools.py, datasets/pipeline.py, datasets/blending.py, utils/optimizer.py,
main.py.
"""
from __future__ import annotations

import csv
import math
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageEnhance

from alignment.reference.actionclip_data import encode

LABELS = Path(__file__).resolve().parents[2] / "datasets" / "label_lists"


def token_table(names: list[str]) -> np.ndarray:
    table = np.zeros((len(names), 77), np.int64)
    for row, name in zip(table, names, strict=True):
        ids = encode(name)
        row[:len(ids)] = ids
    return table


def tokens(run) -> dict[str, np.ndarray]:
    made = {"ids": token_table(run.stage["names"])}
    for name in ("kinetics_400", "kinetics_600", "hmdb_51", "ucf_101"):
        with (LABELS / f"{name}.csv").open() as file:
            table = token_table([row["name"] for row in csv.DictReader(file)])
        made[f"end_{name}"] = table.argmax(1)
        made[f"sum_{name}"] = table.sum(1)
    return made


def _train_clip(n: int, t: int, u: np.ndarray) -> np.ndarray:
    interval = n // t
    if interval > 0:
        return (np.arange(t) * interval + np.floor(u[:t] * interval).astype(np.int64)) % n
    return np.around(np.arange(t) * (n / t)).astype(np.int64) % n


def sampling(run) -> dict[str, np.ndarray]:
    u, made = run.inputs["u"], {}
    for n, t in run.stage["cases"]:
        interval = n / float(t)
        made[f"test_{n}_{t}"] = (np.arange(t) * interval + interval / 2.0).astype(np.int64) % n
        made[f"train_{n}_{t}"] = _train_clip(n, t, u[0])
        made[f"multiview4_{n}_{t}"] = np.concatenate([_train_clip(n, t, row) for row in u])
    return made


def _resize(frames, short: int) -> np.ndarray:
    h, w = frames.shape[1:3]
    factor = short / min(h, w)
    size = (int(w * factor + 0.5), int(h * factor + 0.5))
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR) for frame in frames])


def _normalize(frames) -> np.ndarray:
    made = []
    for frame in frames:
        image = frame.astype(np.float32)
        mean = np.float64([[123.675, 116.28, 103.53]])
        inverse = 1 / np.float64([[58.395, 57.12, 57.375]])
        cv2.subtract(image, mean, image)
        cv2.multiply(image, inverse, image)
        made.append(image.transpose(2, 0, 1))
    return np.stack(made)


def _jitter(frame: np.ndarray, given: dict) -> np.ndarray:
    image = Image.fromarray(frame)
    for index in given["order"]:
        if index == 0:
            image = ImageEnhance.Brightness(image).enhance(given["brightness"])
        elif index == 1:
            image = ImageEnhance.Contrast(image).enhance(given["contrast"])
        elif index == 2:
            image = ImageEnhance.Color(image).enhance(given["saturation"])
        else:
            h, s, v = image.convert("HSV").split()
            turned = (np.array(h).astype(int) + int(given["hue"] * 255)) % 256
            image = Image.merge("HSV", (Image.fromarray(turned.astype(np.uint8)), s, v)).convert("RGB")
    return np.asarray(image)


def transform(run) -> dict[str, np.ndarray]:
    frames, size = run.inputs["frames"], 224
    resized = _resize(frames, 256)
    h, w = resized.shape[1:3]
    top, left = (h - size) // 2, (w - size) // 2
    centre = resized[:, top:top + size, left:left + size]
    small = _resize(frames, size)
    step = (small.shape[2] - size) // 2
    three = np.concatenate([small[:, :, x:x + size] for x in (0, 2 * step, step)])
    sizes = [int(min(h, w) * scale) for scale in (1, 0.875, 0.75, 0.66)]
    sizes = [size if abs(s - size) < 3 else s for s in sizes]
    pairs = [(cw, ch) for i, ch in enumerate(sizes) for j, cw in enumerate(sizes) if abs(i - j) <= 1]
    cw, ch = pairs[4]
    x = 4 * ((w - cw) // 4)
    scaled = np.stack([cv2.resize(frame[0:ch, x:x + cw], (size, size), interpolation=cv2.INTER_LINEAR)
                       for frame in resized])
    flipped = scaled[:, :, ::-1]
    colored = np.stack([_jitter(np.ascontiguousarray(frame), given)
                        for frame, given in zip(flipped, run.stage["jitter"], strict=True)])
    gray = np.stack([np.asarray(Image.merge("RGB", [Image.fromarray(frame).convert("L")] * 3)) for frame in colored])
    return {"resize": resized, "center": _normalize(centre), "three": _normalize(three),
            "crop_box": np.array([x, 0, x + cw, ch], np.int64), "multiscale": scaled, "flip": flipped,
            "jitter": colored, "gray": gray, "train": _normalize(colored)}


def blending(run) -> dict[str, np.ndarray]:
    spec, images = run.stage, run.inputs["blend_images"]
    classes, label = spec["classes"], run.inputs["blend_label"].reshape(-1)
    target = np.full((len(label), classes), 0.1 / classes, np.float32)
    for row, index in zip(target, label, strict=True):
        row[index] = 1 - 0.1 + 0.1 / classes
    order, lam = spec["permutation"], np.float32(spec["lam_mixup"])
    rest = np.float32(1 - spec["lam_mixup"])
    made = {"mixup_images": lam * images + rest * images[order], "mixup_label": lam * target + rest * target[order]}
    height, width = images.shape[-2:]
    ratio = math.sqrt(1 - spec["lam_cutmix"])
    cut_w, cut_h = int(width * ratio), int(height * ratio)
    cx, cy = spec["centre"]
    x1, x2 = max(cx - cut_w // 2, 0), min(cx + cut_w // 2, width)
    y1, y2 = max(cy - cut_h // 2, 0), min(cy + cut_h // 2, height)
    cut = images.copy()
    cut[..., y1:y2, x1:x2] = images[order][..., y1:y2, x1:x2]
    lam = 1 - (x2 - x1) * (y2 - y1) / (width * height)
    made["cutmix_images"] = cut
    made["cutmix_label"] = np.float32(lam) * target + np.float32(1 - lam) * target[order]
    return made


def metric(run) -> dict[str, np.ndarray]:
    views, label = run.inputs["views"], run.inputs["label"]
    total = np.zeros(views.shape[1:], views.dtype)
    for view in views:
        power = np.exp(view - view.max(1, keepdims=True))
        total += power / power.sum(1, keepdims=True)
    rank = np.argsort(-total, 1, kind="stable")
    hits = {k: [label[i] in rank[i, :k] for i in range(len(label))] for k in (1, 5)}
    return {"similarity": total, **{f"top{k}": np.float64(100 * np.mean(hits[k])) for k in (1, 5)}}


def group(name: str, axes: int) -> int:
    """Upstream's set_weight_decay: which of the eight groups, in the order it appends them."""
    no_decay = axes == 1 or name.endswith(".bias") or "positional_embedding" in name
    if "message_" in name:
        return 7 if no_decay else 6
    if "mit" in name:
        return 3 if no_decay else 2
    if "prompts" in name:
        return 5 if no_decay else 4
    return 1 if no_decay else 0


def schedule(run) -> dict[str, np.ndarray]:
    """timm's scheduler, and the training loop's own calls of it."""
    spec = run.stage
    n, w = spec["epochs"] * spec["iters"], spec["warmup"] * spec["iters"]
    low, bases = spec["lr"] / 100, (spec["lr"], spec["lr"] * 10)

    def at(t: int) -> list[float]:
        if t < w:
            return [t * base / w for base in bases]
        if t < n:
            return [low + 0.5 * (base - low) * (1 + math.cos(math.pi * t / n)) for base in bases]
        return [low for _ in bases]

    made = {"rates": np.array([at(t) for t in range(n + 3)])}
    for accumulate in (1, spec["accumulation"]):
        current, used = [0.0, 0.0], []
        for epoch in range(spec["epochs"]):
            for idx in range(spec["iters"]):
                if (idx + 1) % accumulate == 0:
                    used.append(current)
                    current = at(epoch * spec["iters"] + idx)
        made[f"used_accumulation{accumulate}"] = np.array(used)
    return made
