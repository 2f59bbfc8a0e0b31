"""A miniature of Cityscapes sequences: a street that the camera passes, with vehicles and people of their own speed.

Every class has a colour and a smooth texture, so a small network tells it from one frame. All that moves does so by
whole pixels a frame: the flow between two frames is known exactly, and labels copied from a frame four frames
earlier are plainly wrong. Beside the official layout (sequences, and labels of the 20th frame) there are image pairs
with that flow in ``flow/SPLIT``, in the layout of Flying Chairs.
"""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.cityscapes_labels import COLOURS, to_label_ids
from datasets.flow_pairs import write_flow

HEIGHT, WIDTH, FRAMES, LABELLED = 96, 192, 30, 19
SNIPPETS = {"train": 32, "val": 10}
DIFFERENCES = (1, 4, 5)  # of the pairs with known flow
_MARGIN = 3 * FRAMES  # of the street on each side: the camera moves up to 3 pixels a frame
_BACKDROPS, _GROUNDS, _POSTS, _MOVERS = (2, 3, 4, 8), (0, 1, 9), (5, 6, 7), (11, 12, 13, 14, 15, 16, 17, 18)
_SIZES = {11: (26, 14), 12: (28, 18), 13: (22, 40), 14: (34, 48), 15: (38, 62), 16: (36, 76), 17: (22, 26),
          18: (20, 28)}


@dataclass(frozen=True)
class Mover:
    """A patch with its label, texture, place in frame 0 (screen, pixels) and velocity (pixels a frame)."""

    label: int
    patch: np.ndarray
    picture: np.ndarray
    row: int
    column: int
    velocity: int


@dataclass(frozen=True)
class Scene:
    """A street ``[H, W + 2 * margin]`` and what moves before it."""

    labels: np.ndarray
    picture: np.ndarray
    camera: int  # pixels a frame, to the right
    movers: list[Mover]

    def frame(self, time: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(picture uint8 H W 3, trainIds uint8 H W, screen velocity float32 H W) of a frame."""
        start = _MARGIN + self.camera * time
        picture = self.picture[:, start:start + WIDTH].copy()
        labels = self.labels[:, start:start + WIDTH].copy()
        velocity = np.full((HEIGHT, WIDTH), -self.camera, np.float32)
        for mover in self.movers:
            left = mover.column + (mover.velocity - self.camera) * time
            height, width = mover.patch.shape
            first, last = max(left, 0), min(left + width, WIDTH)
            if first >= last:
                continue
            here = (slice(mover.row, mover.row + height), slice(first, last))
            inside = mover.patch[:, first - left:last - left]
            picture[here][inside] = mover.picture[:, first - left:last - left][inside]
            labels[here][inside] = mover.label
            velocity[here][inside] = mover.velocity - self.camera
        return picture, labels, velocity


def write(folder: Path, seed: int) -> None:
    """Write the miniature: 42 snippets of 30 frames of 96 x 192 pixels, lists, and pairs with flow."""
    for split, count in SNIPPETS.items():
        lines = []
        for index in range(count):
            rng = np.random.default_rng([seed, index, len(split)])
            city, sequence, first = _numbering(split, index)
            scene = make_scene(rng, index)
            write_snippet(folder, split, city, sequence, first, scene)
            write_pair(folder / "flow" / split, index, scene)
            lines.append(f"{city}/{city}_{sequence:06d}_{first + LABELLED:06d}")
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n", "utf-8")


def _numbering(split: str, index: int) -> tuple[str, int, int]:
    """(city, sequence, first frame): half by sequence, half numbered through the city, as in the original."""
    if index % 2 == 0:
        return ("aachen" if split == "train" else "munster"), index // 2, 0
    return ("hamburg" if split == "train" else "frankfurt"), 0, 275 + 300 * (index // 2)


def write_snippet(folder: Path, split: str, city: str, sequence: int, first: int, scene: Scene) -> None:
    images = folder / "leftImg8bit_sequence" / split / city
    labels = folder / "gtFine" / split / city
    images.mkdir(parents=True, exist_ok=True)
    labels.mkdir(parents=True, exist_ok=True)
    for time in range(FRAMES):
        picture, train_ids, _ = scene.frame(time)
        name = f"{city}_{sequence:06d}_{first + time:06d}"
        _save(images / f"{name}_leftImg8bit.png", picture)
        if time == LABELLED:
            _save(labels / f"{name}_gtFine_labelTrainIds.png", train_ids)
            _save(labels / f"{name}_gtFine_labelIds.png", to_label_ids(train_ids))


def write_pair(folder: Path, index: int, scene: Scene) -> None:
    """The labelled frame, an earlier one, and the flow from the first into the second."""
    folder.mkdir(parents=True, exist_ok=True)
    difference = DIFFERENCES[index % len(DIFFERENCES)]
    current, _, velocity = scene.frame(LABELLED)
    earlier = scene.frame(LABELLED - difference)[0]
    flow = np.stack([-velocity * difference, np.zeros_like(velocity)], -1)
    _save(folder / f"{index:05d}_img1.png", current)
    _save(folder / f"{index:05d}_img2.png", earlier)
    write_flow(folder / f"{index:05d}_flow.flo", flow)


def make_scene(rng: np.random.Generator, index: int) -> Scene:
    """A street of random blocks; the camera goes 1 to 3 pixels a frame to one side."""
    width = WIDTH + 2 * _MARGIN
    labels = np.full((HEIGHT, width), 10, np.uint8)  # sky
    horizon, kerb = int(rng.integers(50, 58)), int(rng.integers(70, 78))
    _blocks(labels, rng, _BACKDROPS, top=(14, 34), bottom=horizon, widths=(24, 64))
    _blocks(labels, rng, _GROUNDS[1:], top=(horizon, horizon), bottom=kerb, widths=(40, 100))
    labels[kerb:] = 0
    place = int(rng.integers(10, 30))
    while place < width - 20:
        _post(labels, place, horizon, int(rng.choice(_POSTS)))
        place += int(rng.integers(28, 60))
    picture = _painted(labels, rng)
    camera = int(rng.integers(1, 4)) * (1 if rng.random() < 0.5 else -1)
    kinds = [_MOVERS[(index + step * 3) % len(_MOVERS)] for step in range(3)]
    return Scene(labels, picture, camera, [_mover(rng, kind, camera) for kind in kinds])


def _blocks(labels: np.ndarray, rng, kinds, *, top, bottom: int, widths) -> None:
    place = 0
    while place < labels.shape[1]:
        width = int(rng.integers(*widths))
        labels[int(rng.integers(top[0], top[1] + 1)):bottom, place:place + width] = int(rng.choice(kinds))
        place += width


def _post(labels: np.ndarray, place: int, horizon: int, kind: int) -> None:
    """A pole of 4 pixels; a traffic light or sign sits on top of it."""
    labels[horizon - 36:horizon + 14, place:place + 4] = 5
    if kind != 5:
        labels[horizon - 44:horizon - 28, place - 5:place + 9] = kind


def _mover(rng, kind: int, camera: int) -> Mover:
    height, width = _SIZES[kind]
    patch = np.ones((height, width), bool)
    rows, columns = np.ogrid[:height, :width]
    if kind in (11, 12, 17, 18):  # people and two-wheelers are oval, vehicles boxes
        patch = ((rows - height / 2 + 0.5) / (height / 2)) ** 2 + ((columns - width / 2 + 0.5) / (width / 2)) ** 2 <= 1
    picture = _painted(np.full((height, width), kind, np.uint8), rng)
    velocity = int(rng.choice([-2, -1, 1, 2]))
    # On the screen at the labelled frame, wherever it began.
    shown = int(rng.integers(10, WIDTH - width - 10))
    return Mover(kind, patch, picture, int(rng.integers(HEIGHT - 8 - height, HEIGHT - height)),
                 shown - (velocity - camera) * LABELLED, velocity)


def _painted(labels: np.ndarray, rng) -> np.ndarray:
    """Class colours with a smooth texture of waves and squares (compresses well, moves visibly)."""
    height, width = labels.shape
    rows, columns = np.mgrid[:height:2, :width:2]  # in squares of 2 pixels, which PNG packs well
    waves = sum(np.sin(rows * rng.uniform(-0.5, 0.5) + columns * rng.uniform(0.2, 0.6) + rng.uniform(0, 6))
                for _ in range(3))
    squares = rng.integers(-2, 3, (height // 6 + 1, width // 6 + 1))
    texture = 8 * np.round(waves * 1.5).repeat(2, 0).repeat(2, 1)[:height, :width]
    texture = texture + 10 * squares.repeat(6, 0).repeat(6, 1)[:height, :width]
    return np.clip(COLOURS[labels] * 0.8 + 30 + texture[..., None], 0, 255).astype(np.uint8)


def _save(path: Path, pixels: np.ndarray) -> None:
    # OpenCV packs PNGs loosely; the miniature would be twice as large.
    Image.fromarray(pixels).save(path, compress_level=9)
