"""Which frames of a video make a clip: frame numbers only, nothing is decoded.

A video of N frames is cut into ``clips`` pieces; each gives one clip of ``length`` frames, ``interval`` frames apart.
All numbers count from 0. The two recipes of MVFNet differ past the end of short videos and in rare branches:
``kinetics`` is github.com/whwu95/MVFNet 0ddc7e2 codes/datasets/pipelines/loading.py, ``ucf101`` is
github.com/txyugood/PaddleMVF cabf4f2 datasets/pipelines/transforms.py (mmaction2's). Draws come in their order.
"""
from __future__ import annotations

from typing import Protocol

import numpy as np

RECIPES = ("kinetics", "ucf101")
PAST_THE_END = ("clamp", "wrap", "repeat")


class Random(Protocol):
    """What samplers and transforms draw from: a ``numpy.random.Generator``, or a stand-in for an original's stream."""

    def random(self) -> float: ...
    def uniform(self, low: float, high: float, size=None): ...
    def integers(self, low: int, high: int | None = None, size=None): ...


def dense_clips(frames: int, *, length: int, interval: int = 1, clips: int = 1, training: bool, recipe: str,
                rng: Random | None = None, jitter: bool = False, samples: int = 1, keep_tail: bool = False,
                past_end: str | None = None) -> np.ndarray:
    """Frame numbers of densely sampled clips.

    Args:
        frames: frames of the video, at least 1.
        length, interval, clips: frames a clip, their distance, clips a video.
        training: random instead of evenly spread starts.
        recipe: ``kinetics`` or ``ucf101``.
        rng: needed wherever something is drawn.
        jitter: move each frame by up to ``interval - 1`` frames; ``kinetics`` draws once for all clips.
        samples: when testing, sets of clips: ``kinetics`` 2 adds unshifted starts, 10 takes ten random draws, any
            other number adds random draws of every piece; ``ucf101`` 2 is its ``twice_sample``.
        keep_tail: ``ucf101`` in training: spread starts over the whole video in fractions of frames.
        past_end: ``clamp`` to the last frame, ``wrap`` round to the first, or ``repeat`` the clip's last frame number
            inside the video; None as the recipe does it (``kinetics`` clamps, ``ucf101`` wraps).

    Returns:
        int64 ``[clips * samples, length]``.

    Raises:
        ValueError: for impossible numbers or options the recipe does not have.
    """
    _check(frames, length, interval, clips, recipe, samples, keep_tail, past_end)
    span = length * interval
    if training:
        draw = _tail_starts if keep_tail else _random_starts
        starts = draw(frames, span, clips, recipe, rng)
    else:
        starts = _test_starts(frames, span, clips, recipe, samples, rng)
    numbers = np.asarray(starts, np.int64)[:, None] + np.arange(length) * interval
    if jitter:
        size = length if recipe == "kinetics" else numbers.size
        numbers = numbers + _drawn(rng).integers(0, interval, size=size).reshape(-1, length)
    return _inside(numbers, frames, past_end or ("clamp" if recipe == "kinetics" else "wrap"))


def _inside(numbers: np.ndarray, frames: int, past_end: str) -> np.ndarray:
    """Bring the numbers of each row into the video (below 0 lies only what ``samples`` puts before short ones)."""
    numbers = np.maximum(numbers, 0)
    if past_end == "wrap":
        return numbers % frames
    if past_end == "repeat":
        last = np.where(numbers < frames, numbers, 0).max(1, keepdims=True)
        return np.where(numbers < frames, numbers, last)
    return np.minimum(numbers, frames - 1)


def _random_starts(frames: int, span: int, clips: int, recipe: str, rng: Random | None) -> np.ndarray:
    """A random start in each of ``clips`` equal pieces, as far as the video reaches."""
    piece = (frames - span + 1) // clips
    if piece > 0:
        return np.arange(clips) * piece + _drawn(rng).integers(0, piece, size=clips)
    if frames > max(clips, span):
        return np.sort(_drawn(rng).integers(0, frames - span + 1, size=clips))
    if recipe == "ucf101" and piece == 0:
        return np.around(np.arange(clips) * ((frames - span + 1.0) / clips))
    return np.zeros(clips, np.int64)


def _tail_starts(frames: int, span: int, clips: int, _: str, rng: Random | None) -> np.ndarray:
    if frames < span:
        return np.zeros(clips, np.int64)
    piece = (frames - span + 1) / clips
    return (np.arange(clips) * piece + _drawn(rng).uniform(0, piece, clips)).astype(np.int64)


def _test_starts(frames: int, span: int, clips: int, recipe: str, samples: int, rng: Random | None) -> np.ndarray:
    """The middles of equal pieces; further sets of starts by ``samples``."""
    piece = (frames - span + 1) / clips
    begins = np.arange(clips) * piece
    middles = (begins + piece / 2.0).astype(np.int64)
    if samples == 1:
        return middles if piece > 0 else np.zeros(clips, np.int64)
    if recipe == "ucf101":
        # The original appends the begins unrounded and cuts the fraction off with the frame numbers: the same.
        return np.concatenate([middles, begins.astype(np.int64)]) if piece > 0 else np.zeros(clips, np.int64)
    if samples == 2:
        return np.concatenate([middles, begins.astype(np.int64)])
    if samples == 10:
        return np.concatenate([_random_starts(frames, span, clips, recipe, rng) for _ in range(10)])
    whole = (frames - span + 1) // clips
    if whole < 1:
        raise ValueError(f"samples={samples} draws a start in each of {clips} pieces; a video of {frames} frames "
                         f"is too short for that at a span of {span} frames")
    drawn = [np.arange(clips) * whole + _drawn(rng).integers(0, whole, size=clips) for _ in range(samples - 1)]
    return np.concatenate([middles, *drawn])


def _drawn(rng: Random | None) -> Random:
    if rng is None:
        raise ValueError("this sampling is random; give rng, a numpy.random.Generator")
    return rng


def _check(frames: int, length: int, interval: int, clips: int, recipe: str, samples: int, keep_tail: bool,
           past_end: str | None) -> None:
    for name, value in (("frames", frames), ("length", length), ("interval", interval), ("clips", clips),
                        ("samples", samples)):
        if value < 1:
            raise ValueError(f"dense_clips: {name} must be at least 1, got {value}")
    if recipe not in RECIPES:
        raise ValueError(f"dense_clips: recipe {recipe!r} is none of {', '.join(RECIPES)}")
    if past_end is not None and past_end not in PAST_THE_END:
        raise ValueError(f"dense_clips: past_end {past_end!r} is none of {', '.join(PAST_THE_END)}")
    if recipe == "ucf101" and samples > 2:
        raise ValueError(f"dense_clips: the ucf101 recipe samples once or twice, got samples={samples}")
    if recipe == "kinetics" and keep_tail:
        raise ValueError("dense_clips: the kinetics recipe has no keep_tail")
