"""Scribbles in the form of the DAVIS interactive track, and from them to pixel maps.

A file: ``{"sequence": name, "scribbles": [one list per frame of {"path": [[x, y], ...], "object_id": id, ...}]}``
with x, y in 0..1 and object 0 for background.
"""
from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from scipy.special import comb

NOTHING = -1  # label of a pixel without a scribble


def read_scribbles(path: str | Path) -> dict:
    """A checked scribble file.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is not of the form above; it names the file and the entry.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such scribble file")
    try:
        content = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    return check_scribbles(content, str(path))


def check_scribbles(content: dict, source: str) -> dict:
    """``content`` itself, if it is a scribble dictionary.

    Raises:
        ValueError: naming ``source`` and what is wrong.
    """
    frames = content.get("scribbles") if isinstance(content, dict) else None
    if not isinstance(frames, list):
        raise ValueError(f"{source}: expected an object with a list 'scribbles', one list of strokes per frame")
    for index, strokes in enumerate(frames):
        for stroke in strokes:
            points = np.asarray(stroke.get("path", ()), np.float64)
            if points.ndim != 2 or points.shape[1] != 2 or "object_id" not in stroke:
                raise ValueError(f"{source}: a stroke of frame {index} needs 'path' [[x, y], ...] and 'object_id'")
            if points.min() < 0 or points.max() > 1:
                raise ValueError(f"{source}: a stroke of frame {index} leaves the image: x and y go from 0 to 1, "
                                 f"found {points.min():g} to {points.max():g}")
    return content


def annotated_frames(scribbles: dict) -> list[int]:
    """Frames that have a stroke."""
    return [index for index, strokes in enumerate(scribbles["scribbles"]) if strokes]


def strokes_of(scribbles: dict, frame: int) -> list[tuple[int, np.ndarray]]:
    """(object, points ``[n, 2]``) of a frame in drawing order."""
    return [(int(stroke["object_id"]), np.asarray(stroke["path"], np.float64))
            for stroke in scribbles["scribbles"][frame]]


def bezier_curve(points: np.ndarray, count: int = 1000) -> np.ndarray:
    """``count`` points ``[count, 2]`` on the Bezier curve of ``points [n, 2]``, from the last one to the first."""
    degree = len(points) - 1
    t = np.linspace(0.0, 1.0, count)[:, None]
    power = np.arange(degree + 1)
    basis = comb(degree, power) * t ** (degree - power) * (1 - t) ** power
    return basis @ np.asarray(points, np.float64)


def bresenham(points: np.ndarray) -> np.ndarray:
    """Pixels ``[m, 2]`` of the lines through integer points ``[n, 2]``; inner points come twice."""
    points = np.asarray(points, np.int64)
    if len(points) < 2:
        return points
    return np.concatenate([_line(start, end) for start, end in pairwise(points)])


def _line(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Bresenham's line with both ends: the longer axis advances by one, the shorter one at the middle or later."""
    delta = np.abs(end - start)
    sign = np.where(end > start, 1, -1)
    long = 0 if delta[0] > delta[1] else 1
    steps = np.arange(delta[long] + 1)
    line = np.empty((len(steps), 2), np.int64)
    line[:, long] = start[long] + sign[long] * steps
    longest = max(int(delta[long]), 1)
    line[:, 1 - long] = start[1 - long] + sign[1 - long] * ((2 * steps * delta[1 - long] + longest) // (2 * longest))
    return line


def scribble_map(strokes: Iterable[tuple[int, np.ndarray]], height: int, width: int) -> np.ndarray:
    """int16 ``[H, W]``: the object of the last stroke over a pixel, -1 where nothing is drawn."""
    drawn = np.full((height, width), NOTHING, np.int16)
    for label, path in strokes:
        pixels = bresenham((path * (width - 1, height - 1)).astype(np.int64))
        drawn[pixels[:, 1], pixels[:, 0]] = label
    return drawn


def positive_negative(drawn: np.ndarray, objects: int, *, dilate: int = 3, nothing: int = NOTHING) -> np.ndarray:
    """Scribbles of each object and of anything else: uint8 0/1 ``[objects, 2, H, W]``.

    Args:
        drawn: labels from :func:`scribble_map`.
        dilate: side of the square that widens the lines (odd); 1 leaves them.
        nothing: label of untouched pixels.
    """
    kernel = np.ones((dilate, dilate), np.uint8)
    maps = [[drawn == i, (drawn != i) & (drawn != nothing)] for i in range(1, objects + 1)]
    return np.array([[cv2.dilate(plane.astype(np.uint8), kernel) for plane in pair] for pair in maps])


def from_clicks(clicks: Sequence[tuple[int, float, float, int, bool]], frames: int, height: int, width: int, *,
                radius: float = 3.0) -> dict[int, list[tuple[int, np.ndarray]]]:
    """Clicks as small crosses that the scribble network understands.

    Args:
        clicks: (frame, x, y, object, positive), x and y in pixels. A negative click says "not this object": it
            becomes a stroke of the background.
        frames, height, width: of the video, to refuse clicks outside it.
        radius: arm of the cross in pixels.

    Returns:
        strokes by frame, in the order of the clicks.

    Raises:
        ValueError: for a click outside the video, naming it.
    """
    strokes: dict[int, list[tuple[int, np.ndarray]]] = {}
    for frame, x, y, label, positive in clicks:
        if not (0 <= frame < frames and 0 <= x < width and 0 <= y < height):
            raise ValueError(f"click {frame},{x:g},{y:g} is outside the video: frames 0 to {frames - 1}, "
                             f"x below {width}, y below {height}")
        scale = (max(width - 1, 1), max(height - 1, 1))
        for dx, dy in ((radius, 0.0), (0.0, radius)):
            ends = np.array([[x - dx, y - dy], [x + dx, y + dy]]) / scale
            strokes.setdefault(frame, []).append((label if positive else 0, np.clip(ends, 0.0, 1.0)))
    return strokes
