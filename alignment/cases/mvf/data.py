"""The data stages on our side: the same functions that training and tests use."""
from __future__ import annotations

import numpy as np

from alignment.bundle import Run
from alignment.reference.mvf_data import is_port
from alignment.streams import LegacyNumpy, PythonRandom, Streams
from datasets import clip_sampling, mvf_transforms, transforms


def sampling(run: Run) -> dict[str, np.ndarray]:
    """Frame numbers of every length, configuration and mode; the port counts from 1."""
    stage, port, made = run.stage, is_port(run.manifest), {}
    for length, interval, clips in stage["configs"]:
        for mode in ("test", "train"):
            rows = [clip_sampling.dense_clips(
                frames, length=length, interval=interval, clips=clips, training=mode == "train", recipe=_recipe(port),
                rng=LegacyNumpy(stage["seed"] + frames)).reshape(-1) + port for frames in stage["lengths"]]
            made[f"{mode}:{length}x{interval}x{clips}"] = np.stack(rows).astype("int64")
    return made


def transform(run: Run) -> dict[str, np.ndarray]:
    """Every step of the recipe on the input frames (BGR as the original decodes them; the port's are RGB)."""
    port, seed = is_port(run.manifest), run.stage["seed"]
    frames = run.inputs["frames"]
    rgb = frames if port else frames[..., ::-1]
    resized = transforms.resize_short_side(frames, 256)
    source, always = (resized if port else frames), np.random.default_rng(0)
    boxes = [_box(source, _streams(seed + s, port), port) for s in range(12)]
    cropped = mvf_transforms.random_resized_crop(source, 224, _recipe(port), _streams(seed, port))
    flipped = transforms.flip(cropped if port else cropped[..., ::-1], 1.0, always)
    # The original's boxes name their last pixel, the port's the one behind it.
    corners = np.array(boxes) - (0 if port else np.array([0, 0, 1, 1]))
    return {"resize256": resized[0], "resize256_shape": np.array(resized[0].shape, "int64"),
            "three_crop": transforms.three_crops(resized, 256),
            "test": mvf_transforms.prepare(rgb, view="three", recipe=_recipe(port), crop_size=256),
            "val": mvf_transforms.prepare(rgb, view="center", recipe=_recipe(port)),
            "random_resized_crop_boxes": corners.astype("int64" if port else "float32"),
            "random_resized_crop": cropped,
            "train": transforms.channels_first(transforms.normalize(flipped))}


def _recipe(port: bool) -> str:
    return "ucf101" if port else "kinetics"


def _streams(seed: int, port: bool):
    """The port draws sizes from NumPy and places from ``random``; the original all from ``random``."""
    if not port:
        return PythonRandom(seed)
    return Streams(PythonRandom(seed), LegacyNumpy(seed), python_names=("integers",))


def _box(frames: np.ndarray, rng, port: bool) -> transforms.Box:
    draw = mvf_transforms.random_box_ucf101 if port else mvf_transforms.random_box_kinetics
    return draw(*frames.shape[1:3], rng)
