"""Accuracies of classifiers, on arrays."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def softmax(x: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis, in the type of ``x``; nothing overflows."""
    power = np.exp(x - x.max(-1, keepdims=True))
    return power / power.sum(-1, keepdims=True)


def top_k_accuracy(scores: np.ndarray, labels: np.ndarray, k: Sequence[int] = (1, 5)) -> list[float]:
    """Share of samples whose label is among the k best scores, for each k.

    Of equal scores the one with the larger class index counts as better, as in the original (``argsort(score)[-k:]``).

    Args:
        scores: ``[N, K]`` float.
        labels: ``[N]`` int.
        k: sizes; one larger than K counts every class.

    Raises:
        ValueError: for no samples or unequal numbers of them.
    """
    _check(scores, labels)
    order = np.argsort(scores, axis=1)
    return [float((order[:, -size:] == labels[:, None]).any(1).mean()) for size in k]


def confusion_matrix(predictions: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """``[classes, classes]`` int64: rows are labels, columns predictions."""
    return np.bincount(labels * classes + predictions, minlength=classes**2).reshape(classes, classes)


def mean_class_accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean over classes of the share of right predictions (arg max; of equal scores the first).

    The classes are those that occur in predictions *or* labels. One that is only predicted counts as 0, as in the
    original: on a subset the mean is lower than the usual one; on the full lists every class occurs.
    """
    _check(scores, labels)
    matrix = confusion_matrix(scores.argmax(1), np.asarray(labels), scores.shape[1])
    hits, counts = np.diag(matrix), matrix.sum(1)
    occurs = (counts > 0) | (matrix.sum(0) > 0)
    return float((hits[occurs] / np.maximum(counts[occurs], 1)).mean())


def _check(scores: np.ndarray, labels: np.ndarray) -> None:
    if len(labels) == 0 or len(scores) != len(labels):
        raise ValueError(f"{len(scores)} rows of scores for {len(labels)} labels: both must be equal and not zero")
