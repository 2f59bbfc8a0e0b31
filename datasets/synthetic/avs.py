"""A miniature of AVSBench (S4 and MS3) in which only listening tells the mask.

Two or three coloured shapes move over a dim background. Every kind of shape has a timbre of its own (buzz, whistle,
hiss, pulses); the mask covers the shapes that sound. Which of the visible ones sound is drawn after the picture, so a
picture alone does not say. S4: one source in each clip, training masks for the first frame. MS3: any number of
sources, none included. Sound and sources stay the same through a clip: TPAVI compares every frame with every second
of sound and could not tell which second belongs to a frame.
"""
from __future__ import annotations

import csv
import wave
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from datasets.avsbench import COLUMNS, SECOND_FRAME, Clip, Layout
from datasets.images import write_image
from datasets.log_mel import RATE, fit_patches, log_mel_patches
from datasets.video import write_video

SIDE = 64  # pixels
SECONDS = 5
FPS = 8
COUNTS = {"train": 72, "val": 8, "test": 16}  # clips of each task
RAW_VIDEOS = 3  # of every task, from the test split, for preprocessing and prediction
COLOURS = {"buzz": (225, 60, 50), "whistle": (60, 205, 80), "hiss": (70, 95, 235), "pulse": (235, 210, 60)}
KINDS = tuple(COLOURS)


class Shape(NamedTuple):
    kind: str
    radius: float  # pixels
    start: np.ndarray  # x, y
    speed: np.ndarray  # pixels a second


def write(folder: str | Path, seed: int = 0) -> None:
    """Write both tasks below ``folder`` (``Single-source``, ``Multi-sources``)."""
    for number, task in enumerate(("S4", "MS3")):
        layout = Layout.of(task, folder)
        rows = [COLUMNS[task]]
        for split, count in COUNTS.items():
            for index in range(count):
                rng = np.random.default_rng([seed, number, len(rows)])
                clip = _write_clip(layout, split, index, rng, raw=split == "test" and index < RAW_VIDEOS)
                rows.append((clip.name, 0, clip.category, split) if task == "S4" else (clip.name, split))
        layout.csv.parent.mkdir(parents=True, exist_ok=True)
        with layout.csv.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)


def _write_clip(layout: Layout, split: str, index: int, rng: np.random.Generator, raw: bool) -> Clip:
    shapes = _shapes(rng)
    if layout.task == "S4":
        sounding = [shapes[int(rng.integers(len(shapes)))].kind]
    else:
        sounding = [shape.kind for shape in shapes if rng.random() < 0.55]
    clip = Clip(f"{split}_{index:03d}", split, f"{sounding[0]}_shape" if layout.task == "S4" else "")
    background = _background(rng)
    sound = _sound(sounding, rng)
    masked = 1 if layout.task == "S4" and split == "train" else SECONDS
    for second in range(SECONDS):
        picture, mask = draw(background, shapes, sounding, second + SECOND_FRAME)
        _write_png(layout.frame(clip, second + 1), picture)
        if second < masked:
            _write_png(layout.mask(clip, second + 1), mask)
    path = layout.log_mel(clip).with_suffix(".npy")
    path.parent.mkdir(parents=True, exist_ok=True)
    # float16 is exact to 1e-3 and halves the miniature.
    np.save(path, fit_patches(log_mel_patches(sound / 32768.0), SECONDS)[:, None].astype(np.float16))
    if raw:
        write_wave(layout.wave(clip), sound)
        layout.video(clip).parent.mkdir(parents=True, exist_ok=True)
        frames = (draw(background, shapes, sounding, k / FPS)[0] for k in range(SECONDS * FPS))
        write_video(layout.video(clip), frames, FPS, audio=sound / 32768.0, rate=RATE)
    return clip


def draw(background: np.ndarray, shapes: list[Shape], sounding: list[str],
         seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """The picture at a time, uint8 RGB, and its mask, uint8 0 or 255; earlier shapes lie below later ones."""
    picture, mask = background.copy(), np.zeros((SIDE, SIDE), np.uint8)
    for shape in shapes:
        # Reflected at the borders: a triangle wave of the free path.
        free = SIDE - 2 * shape.radius
        place = shape.radius + np.abs((shape.start + shape.speed * seconds - free) % (2 * free) - free)
        inside = _outline(shape, place)
        picture[inside] = COLOURS[shape.kind]
        mask[inside] = 255 if shape.kind in sounding else 0
    return picture, mask


def _outline(shape: Shape, place: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE]
    dx, dy, r = x - place[0], y - place[1], shape.radius
    if shape.kind == "buzz":
        return dx**2 + dy**2 <= r**2
    if shape.kind == "whistle":
        return np.maximum(np.abs(dx), np.abs(dy)) <= 0.85 * r
    if shape.kind == "hiss":
        return (dy <= 0.7 * r) & (dy >= -r + 1.7 * np.abs(dx))
    return (dx**2 + dy**2 <= r**2) & (dx**2 + dy**2 >= (0.45 * r) ** 2)


def _shapes(rng: np.random.Generator) -> list[Shape]:
    kinds = rng.permutation(len(KINDS))[:int(rng.integers(2, 4))]
    return [Shape(KINDS[kind], float(rng.uniform(8, 13)), rng.uniform(0, 2 * SIDE, 2), rng.uniform(-14, 14, 2))
            for kind in kinds]


def _background(rng: np.random.Generator) -> np.ndarray:
    coarse = rng.integers(20, 110, (6, 6, 3)).astype(np.uint8)
    smooth = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    return np.clip(smooth + rng.integers(-1, 2, smooth.shape), 0, 255).astype(np.uint8)


def _sound(kinds: list[str], rng: np.random.Generator) -> np.ndarray:
    """int16 at 16 kHz, the sum of the timbres over faint noise."""
    t = np.arange(SECONDS * RATE) / RATE
    total = rng.normal(0, 0.001, t.size)
    for kind in kinds:
        level, phase = rng.uniform(0.12, 0.22), rng.uniform(0, 2 * np.pi)
        if kind == "buzz":
            pitch = rng.uniform(150, 220)
            tone = sum(np.sin(2 * np.pi * pitch * k * t + phase * k) / k for k in range(1, 7))
        elif kind == "whistle":
            pitch = rng.uniform(1700, 2100)
            tone = np.sin(2 * np.pi * pitch * t + 8 * np.sin(2 * np.pi * 5 * t + phase))
        elif kind == "hiss":
            tone = np.diff(rng.normal(0, 0.5, t.size + 2), n=2)  # high frequencies
        else:
            pitch = rng.uniform(600, 800)
            tone = np.sin(2 * np.pi * pitch * t + phase) * (np.sin(2 * np.pi * 9 * t) > 0)
        total = total + level * tone
    return np.clip(np.round(total * 32767), -32768, 32767).astype(np.int16)


def write_wave(path: Path, samples: np.ndarray) -> None:
    """int16 mono at 16 kHz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.astype("<i2").tobytes())


def _write_png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, pixels)
