"""Which frames of a video: the rules of ActionCLIP and X-CLIP. Indices only, int64, from 0."""
from __future__ import annotations

import itertools

import numpy as np


def actionclip_train(frames: int, segments: int, rng, *, length: int = 1, loop: bool = False) -> np.ndarray:
    """One random place in each of ``segments`` equal parts, ``length`` consecutive frames there.

    A video of no more than ``segments * length`` frames shows every frame and draws the missing ones
    (``loop``: runs round instead, from a random start).

    Raises:
        ValueError: for an empty video, or ``loop`` on a single frame (upstream cannot draw a start).
    """
    total = _checked(frames, segments, length)
    if frames <= total:
        if loop:
            if frames < 2:
                raise ValueError("sampling with loop needs a video of at least 2 frames")
            return (np.arange(total) + rng.integers(0, frames // 2)) % frames
        return np.sort(np.concatenate([np.arange(frames), rng.integers(0, frames, size=total - frames)]))
    ticks = [i * frames // segments for i in range(segments + 1)]
    chosen = []
    for start, end in itertools.pairwise(ticks):
        if end - start >= length:
            start += rng.integers(0, end - start - length + 1)
        chosen.extend(range(start, start + length))
    return np.asarray(chosen, np.int64)


def actionclip_test(frames: int, segments: int, *, length: int = 1, loop: bool = False) -> np.ndarray:
    """The middle of each part; a single segment is one frame whatever ``length`` says, as upstream.

    Raises:
        ValueError: for an empty video.
    """
    total = _checked(frames, segments, length)
    if segments == 1:
        return np.asarray([frames // 2], np.int64)
    if frames <= total:
        return np.arange(total) % frames if loop else np.arange(total) * frames // total
    offset = (frames / segments - length) / 2.0
    return np.asarray([int(i * frames / segments + offset + j) for i in range(segments) for j in range(length)],
                      np.int64)


def actionclip_views(frames: int, segments: int, clips: int) -> np.ndarray:
    """``clips`` rows of ``segments`` indices: the parts of a video at evenly spread phases (paper's 10-clip test).

    One clip is :func:`actionclip_test`.
    """
    if clips == 1:
        return actionclip_test(frames, segments)[None]
    _checked(frames, segments, 1)
    phase = (np.arange(clips) + 0.5) / clips
    return np.floor((np.arange(segments) + phase[:, None]) * frames / segments).astype(np.int64).clip(0, frames - 1)


def xclip_train(frames: int, count: int, rng) -> np.ndarray:
    """A random frame in each of ``count`` parts of ``frames // count`` frames.

    Shorter videos repeat frames by rounding half to even; the last place can round up to ``frames``, which wraps to the
    first frame (upstream).

    Raises:
        ValueError: for an empty video.
    """
    _checked(frames, count, 1)
    part = frames // count
    if part > 0:
        return np.arange(count) * part + np.asarray(rng.integers(0, part, size=count), np.int64)
    return np.around(np.arange(count) * (frames / count)).astype(np.int64) % frames


def xclip_test(frames: int, count: int) -> np.ndarray:
    """The middle of each of ``count`` equal parts.

    Raises:
        ValueError: for an empty video.
    """
    _checked(frames, count, 1)
    part = frames / count
    return (np.arange(count) * part + part / 2.0).astype(np.int64) % frames


def xclip_views(frames: int, count: int, clips: int, rng=None) -> np.ndarray:
    """``clips`` rows of ``count`` indices.

    One clip is :func:`xclip_test`. More are independent *training* draws, as upstream tests; without ``rng`` they are
    spread evenly over each part instead.
    """
    if clips == 1:
        return xclip_test(frames, count)[None]
    if rng is not None:
        return np.stack([xclip_train(frames, count, rng) for _ in range(clips)])
    _checked(frames, count, 1)
    phase = (np.arange(clips) + 0.5) / clips
    return np.floor((np.arange(count) + phase[:, None]) * frames / count).astype(np.int64).clip(0, frames - 1)


def _checked(frames: int, segments: int, length: int) -> int:
    if frames < 1:
        raise ValueError("the video has no frames")
    return segments * length
