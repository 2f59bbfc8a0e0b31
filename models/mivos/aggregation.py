"""From independent object probabilities to a distribution over background and objects; padding to multiples of 16.

hkchengrex/MiVOS ``model/aggregate.py``, ``util/tensor_util.py``.
"""
from __future__ import annotations

from functools import reduce

import numpy as np
import paddle
import paddle.nn.functional as F

EDGE = 1e-7  # probabilities are clipped to [EDGE, 1 - EDGE] before their log-odds are taken
DIVISOR = 16


def aggregate_wbg(prob, *, keep_bg: bool = False, hard: bool = False):
    """Soft aggregation over objects; the background is where no object is.

    Args:
        prob: ``[K, ...]`` in [0, 1], one object's probability each.
        keep_bg: return the background as entry 0.
        hard: multiply the log-odds by 1000: nearly one-hot.

    Returns:
        ``[K, ...]``, or ``[K + 1, ...]`` summing to 1.
    """
    return _soften(log_odds(prob, 0, nobody(prob, 0)), keep_bg, hard)


def aggregate_sbg(prob, *, keep_bg: bool = False, hard: bool = False):
    """The same against a background of constant probability 0.5: for free-hand, click and local interactions."""
    return _soften(log_odds(prob, 0, paddle.full_like(prob[:1], 0.5)), keep_bg, hard)


def aggregate_wbg_channel(prob):
    """Over axis 1: ``[B, K, ...]`` -> (log-odds, distribution), both ``[B, K + 1, ...]`` with the background first."""
    logits = log_odds(prob, 1, nobody(prob, 1))
    return logits, F.softmax(logits, axis=1)


def nobody(prob, axis: int):
    """Probability that none of the objects is there, the axis kept with length 1.

    Factors are multiplied one by one: ``paddle.prod`` divides in its gradient, NaN where a factor is 0.
    """
    return reduce(paddle.multiply, paddle.split(1 - prob, prob.shape[axis], axis=axis))


def log_odds(prob, axis: int, background):
    """log(q / (1 - q)) of background and objects joined on ``axis``.

    In float32 the largest value is about 15.94, in float64 16.118: 1 - 1e-7 is not the same number.
    """
    q = paddle.clip(paddle.concat([background, prob], axis), EDGE, 1 - EDGE)
    return paddle.log(q / (1 - q))


def _soften(logits, keep_bg: bool, hard: bool):
    soft = F.softmax(logits * 1000 if hard else logits, axis=0)
    return soft if keep_bg else soft[1:]


def pad_amounts(height: int, width: int, divisor: int = DIVISOR) -> tuple[int, int, int, int]:
    """(left, right, top, bottom) zeros up to multiples of ``divisor``; left and top get the smaller half."""
    extra_h, extra_w = -height % divisor, -width % divisor
    return extra_w // 2, extra_w - extra_w // 2, extra_h // 2, extra_h - extra_h // 2


def pad(x, amounts: tuple[int, int, int, int]):
    """Zero-pad the last two axes of ``[N, C, H, W]``."""
    return F.pad(x, list(amounts)) if any(amounts) else x


def unpad(x: np.ndarray, amounts: tuple[int, int, int, int]) -> np.ndarray:
    """Undo :func:`pad` on an array's (or tensor's) last two axes."""
    left, right, top, bottom = amounts
    return x[..., top:x.shape[-2] - bottom, left:x.shape[-1] - right]
