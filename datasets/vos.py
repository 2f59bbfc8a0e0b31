"""Training clips of the propagation network from videos with masks: DAVIS 2017, YouTubeVOS, BL30K.

hkchengrex/Mask-Propagation 7db3902 ``dataset/vos_dataset.py``.
"""
from __future__ import annotations


def frame_triple(rng, frames: int, max_jump: int) -> list[int]:
    """Three frame indices of a clip, each at most ``max_jump + 1`` from the one before, in either direction.

    Args:
        rng: a generator; draws three integers and one random number.
        frames: in the video.
        max_jump: upper bound, lowered to the number of frames.
    """
    jump = min(frames, max_jump)
    start = rng.integers(0, frames - jump + 1)
    second = min(start + rng.integers(0, jump + 1) + 1, frames - jump, frames - 1)
    third = min(second + rng.integers(0, jump + 1) + 1, frames - jump // 2, frames - 1)
    triple = [int(start), int(second), int(third)]
    return triple[::-1] if rng.random() < 0.5 else triple
