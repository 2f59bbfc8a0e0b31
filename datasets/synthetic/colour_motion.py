"""A miniature for video-text systems: a coloured shape that moves; its class is a sentence about both.

```
videos/0000.mp4 ...                      train.txt val.txt heldout.txt            path TAB label
frames/0000/img_00001.jpg ...            train_frames.txt val_frames.txt heldout_frames.txt   folder frames label
                                         train_folders.txt val_folders.txt heldout_folders.txt   folder TAB label
labels.csv (18 seen sentences)           heldout.csv (6 sentences of the same words)
```
Six colours times four directions make 24 sentences. Six are held out: three of the colours never move left or right in
training, though these colours and both directions occur there. Among the six, colour alone is right half of the time,
direction alone a third: only who puts the two together knows the class. A single frame never tells the direction.
"""
from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np

from datasets.images import write_image
from datasets.video import write_video

COLOURS = {"red": (220, 40, 40), "green": (40, 190, 60), "blue": (50, 70, 230), "yellow": (230, 220, 50),
           "purple": (160, 50, 190), "white": (240, 240, 240)}
DIRECTIONS = {"moving left": (0, -1), "moving right": (0, 1), "moving up": (-1, 0), "moving down": (1, 0)}
HELD_COLOURS, HELD_DIRECTIONS = ("red", "green", "blue"), ("moving left", "moving right")
SIDE, FRAMES, FPS = 48, 12, 10
CLIPS = {"train": 48, "val": 5, "heldout": 16}  # of each class


def sentences() -> tuple[list[str], list[str]]:
    """Seen and held-out class names."""
    seen, held = [], []
    for colour, direction in itertools.product(COLOURS, DIRECTIONS):
        unseen = colour in HELD_COLOURS and direction in HELD_DIRECTIONS
        (held if unseen else seen).append(f"a {colour} shape {direction}")
    return seen, held


def write(folder: Path, seed: int) -> None:
    """Write the whole layout into the existing ``folder``."""
    seen, held = sentences()
    number = 0
    for part, (name, clips) in enumerate(CLIPS.items()):
        names = held if name == "heldout" else seen
        lines, counted, folders = [], [], []
        for index in range(clips):
            for label, sentence in enumerate(names):
                rng = np.random.default_rng([seed, part, index, label])
                frames = _play(rng, *sentence.removeprefix("a ").split(" shape "))
                write_video(folder / f"videos/{number:04}.mp4", frames, FPS, quality=12)
                (folder / f"frames/{number:04}").mkdir(parents=True)
                for place, frame in enumerate(frames, start=1):
                    write_image(folder / f"frames/{number:04}/img_{place:05}.jpg", frame)
                lines.append(f"videos/{number:04}.mp4\t{label}\n")
                counted.append(f"frames/{number:04} {FRAMES} {label}\n")
                folders.append(f"frames/{number:04}\t{label}\n")
                number += 1
        (folder / f"{name}.txt").write_text("".join(lines))
        (folder / f"{name}_frames.txt").write_text("".join(counted))
        (folder / f"{name}_folders.txt").write_text("".join(folders))
    for file, names in (("labels.csv", seen), ("heldout.csv", held)):
        (folder / file).write_text("id,name\n" + "".join(f"{i},{text}\n" for i, text in enumerate(names)))


def _play(rng: np.random.Generator, colour: str, direction: str) -> np.ndarray:
    """uint8 ``[T, H, W, 3]``: a disc or square on a dim background; its path is random, its direction is not."""
    dim = rng.integers(20, 90, size=(3, 3, 3)).astype(np.uint8)
    background = cv2.resize(dim, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    radius, speed = int(rng.integers(5, 8)), float(rng.uniform(1.8, 2.6))
    step = np.array(DIRECTIONS[direction], float) * speed
    middle = np.array([SIDE / 2, SIDE / 2]) + rng.uniform(-5, 5, 2)
    start = middle - step * (FRAMES - 1) / 2
    tint = tuple(int(v) for v in np.clip(np.array(COLOURS[colour]) + rng.integers(-12, 13, 3), 0, 255))
    square, frames = rng.random() < 0.5, []
    for time in range(FRAMES):
        y, x = (round(v) for v in start + step * time)
        frame = background.copy()
        if square:
            cv2.rectangle(frame, (x - radius, y - radius), (x + radius, y + radius), tint, -1)
        else:
            cv2.circle(frame, (x, y), radius + 1, tint, -1)
        frames.append(frame)
    return np.stack(frames)
