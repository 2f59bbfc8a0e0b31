"""Losses of classifiers."""
from __future__ import annotations

import paddle.nn.functional as F


def smoothed_cross_entropy(logits, labels, smoothing: float = 0.0):
    """Cross entropy with label smoothing, mean over the batch.

    The target gives the true class 1 - e + e/K and every other class e/K. Written out because Paddle's own
    ``label_smooth`` keeps e as float32 (2e-8 in a float64 run).

    Args:
        logits: ``[B, K]`` float.
        labels: ``[B]`` or ``[B, 1]`` int64 (a batch of one stays a batch).
        smoothing: e in [0, 1).

    Returns:
        0-d tensor.
    """
    log_probability = F.log_softmax(logits, axis=-1)
    true = F.nll_loss(log_probability, labels.reshape([-1]))
    if smoothing == 0.0:
        return true
    return (1.0 - smoothing) * true - smoothing * log_probability.mean(-1).mean()
