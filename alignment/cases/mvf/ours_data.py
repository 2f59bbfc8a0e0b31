"""The data stages of MVFNet, by ``datasets``: which frames, and what becomes of their pixels."""
from __future__ import annotations

import numpy as np

from alignment.bundle import Run
from alignment.streams import LegacyNumpy, PythonRandom, Streams
from datasets.clip_sampling import dense_clips
from datasets.mvf_transforms import prepare, random_box_kinetics, random_box_ucf101, random_resized_crop
from datasets.transforms import resize_short_side, three_crops

BOXES = 12


def recipe(manifest: dict) -> str:
    """The port of the original made the UCF-101 recipe, the original the one of Kinetics."""
    return "ucf101" if "PaddleMVF" in manifest["upstream"]["repository"] else "kinetics"


def sampling(run: Run) -> dict[str, np.ndarray]:
    """Frame numbers; from 0 by the Kinetics recipe, from 1 by that of UCF-101."""
    stage, kind, made = run.stage, recipe(run.manifest), {}
    for length, interval, clips in stage["configs"]:
        for mode in ("test", "train"):
            rows = [dense_clips(frames, length=length, interval=interval, clips=clips, training=mode == "train",
                                recipe=kind, rng=LegacyNumpy(stage["seed"] + frames)).reshape(-1)
                    for frames in stage["lengths"]]
            made[f"{mode}:{length}x{interval}x{clips}"] = np.stack(rows) + (kind == "ucf101")
    return made


def transform(run: Run) -> dict[str, np.ndarray]:
    """Resizes, crops and normalization of the recipe; the Kinetics frames are BGR, as the original decodes them."""
    kind, seed, frames = recipe(run.manifest), run.stage["seed"], run.inputs["frames"]
    rgb = frames if kind == "ucf101" else frames[..., ::-1]
    resized = resize_short_side(frames, 256)
    source = resized if kind == "ucf101" else frames
    boxes = [_box(kind, source.shape[1:3], seed + number) for number in range(BOXES)]
    return {
        "resize256": resized[0], "resize256_shape": np.array(resized[0].shape, "int64"),
        "three_crop": three_crops(resized, 256),
        "test": prepare(rgb, view="three", recipe=kind, crop_size=256),
        "val": prepare(rgb, view="center", recipe=kind),
        "random_resized_crop_boxes": np.array(boxes, "int64" if kind == "ucf101" else "float32"),
        "random_resized_crop": random_resized_crop(source, 224, kind, _stream(kind, seed)),
        "train": prepare(rgb, view="train", recipe=kind, rng=_stream(kind, seed), flip_probability=1.0)}


def _stream(kind: str, seed: int):
    """The original of Kinetics draws boxes from Python's ``random``; that of UCF-101 only their places."""
    python = PythonRandom(seed)
    return python if kind == "kinetics" else Streams(python, LegacyNumpy(seed), ("integers",))


def _box(kind: str, size: tuple[int, int], seed: int) -> tuple[int, ...]:
    if kind == "ucf101":
        return random_box_ucf101(*size, _stream(kind, seed))
    x1, y1, x2, y2 = random_box_kinetics(*size, _stream(kind, seed))
    return x1, y1, x2 - 1, y2 - 1  # the original's boxes include their last pixel
