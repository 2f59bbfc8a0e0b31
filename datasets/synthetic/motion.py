"""Clips whose class is a direction of motion and nothing else.

A layer of textured shapes slides over a still background and re-enters at the opposite side, so that every frame is
the same scene shifted round a torus. A scene is drawn without knowledge of the class and used for all classes:
one frame says nothing about the class, and a clip of one class shown backwards *is* the clip of the opposite class,
so that an unordered set of frames cannot tell the two apart.
"""
from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np


class Direction(NamedTuple):
    name: str         # as UCF-101 writes class names
    sentence: str     # as Kinetics writes them
    step: tuple[int, int]    # unit step (down, right)


# In alphabetical order, as both data sets number their classes. Neighbours in time: each has its opposite.
DIRECTIONS = (
    Direction("DriftDown", "shapes falling straight down", (1, 0)),
    Direction("DriftDownLeft", "shapes sinking down to the left", (1, -1)),
    Direction("DriftDownRight", "shapes sinking down to the right", (1, 1)),
    Direction("DriftLeft", "shapes sliding to the left", (0, -1)),
    Direction("DriftRight", "shapes sliding to the right", (0, 1)),
    Direction("DriftUp", "shapes rising straight up", (-1, 0)),
    Direction("DriftUpLeft", "shapes climbing up to the left", (-1, -1)),
    Direction("DriftUpRight", "shapes climbing up to the right", (-1, 1)),
)


class Scene(NamedTuple):
    background: np.ndarray   # uint8 RGB H W 3
    shapes: np.ndarray       # uint8 RGB H W 3, round a torus
    cover: np.ndarray        # bool H W, where shapes hides background
    speed: int               # pixels a frame along each axis that moves


def opposite(index: int) -> int:
    """Number of the class that moves the other way."""
    down, right = DIRECTIONS[index].step
    return next(other for other, direction in enumerate(DIRECTIONS) if direction.step == (-down, -right))


def draw_scene(rng: np.random.Generator, height: int, width: int, speeds: tuple[int, int]) -> Scene:
    """A random background with 4 to 6 random shapes; ``speeds``: lowest and highest, both included."""
    low = rng.integers(40, 160, size=(3, 4, 3)).astype(np.uint8)
    background = cv2.resize(low, (width, height), interpolation=cv2.INTER_CUBIC)
    shapes, cover = np.zeros_like(background), np.zeros((height, width), bool)
    for _ in range(int(rng.integers(4, 7))):
        size = int(rng.integers(height // 6, height // 3))
        inside, texture = _shape(rng, size), _texture(rng, size)
        rows, columns = ((int(rng.integers(0, side)) + np.arange(size)) % side for side in (height, width))
        place = np.ix_(rows, columns)
        shapes[place] = np.where(inside[..., None], texture, shapes[place])
        cover[place] |= inside
    return Scene(background, shapes, cover, int(rng.integers(speeds[0], speeds[1] + 1)))


def play(scene: Scene, step: tuple[int, int], count: int) -> np.ndarray:
    """``count`` frames of the scene moving by ``step``, uint8 RGB ``T H W 3``.

    A step that points down, or straight to the right, plays the scene forwards; its opposite plays the same frames
    backwards.
    """
    forwards = step > (0, 0)
    frames = []
    for time in range(count):
        shift = [scene.speed * time * (part if forwards else -part) for part in step]
        shapes, cover = (np.roll(layer, shift, (0, 1)) for layer in (scene.shapes, scene.cover))
        frames.append(np.where(cover[..., None], shapes, scene.background))
    return np.stack(frames if forwards else frames[::-1])


def _shape(rng: np.random.Generator, size: int) -> np.ndarray:
    """bool ``size size``: a disc, square, triangle or ring."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size * 2 - 1
    radius = np.hypot(y, x)
    return (radius < 1, (np.abs(y) < 0.9) & (np.abs(x) < 0.9), np.abs(x) < (y + 1) / 2,
            (radius < 1) & (radius > 0.45))[int(rng.integers(0, 4))]


def _texture(rng: np.random.Generator, size: int) -> np.ndarray:
    """uint8 ``size size 3``: plain, stripes or checks in two bright or dark colours."""
    y, x = np.mgrid[:size, :size] // max(2, size // 4) % 2
    pattern = (np.zeros_like(y), y, x, y ^ x)[int(rng.integers(0, 4))]
    colours = np.where(rng.random((2, 3)) < 0.5, rng.integers(0, 60, (2, 3)), rng.integers(190, 256, (2, 3)))
    return colours.astype(np.uint8)[pattern]
