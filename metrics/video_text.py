"""Scores of videos against sentences, and top-k on them; arrays in, arrays out."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metrics.classification import softmax

TEST_SCALE = 100.0  # ActionCLIP multiplies cosines by this at test, whatever logit_scale was trained to


def unit(x: np.ndarray) -> np.ndarray:
    """Divide by the Euclidean norm of the last axis.

    Raises:
        ValueError: if a vector is zero or not finite, which no direction belongs to.
    """
    norm = np.linalg.norm(x, axis=-1, keepdims=True)
    if not (np.isfinite(norm).all() and (norm > 0).all()):
        raise ValueError("a feature vector is zero or not finite: the weights or the frames are damaged")
    return x / norm


def prompt_probabilities(video: np.ndarray, text: np.ndarray, templates: int) -> np.ndarray:
    """ActionCLIP's test: softmax over classes for each template, averaged over the templates.

    Args:
        video: ``[B, D]`` features.
        text: ``[A*C, D]`` features, template-major (all classes of template 0 first).
        templates: A.

    Returns:
        ``[B, C]``, rows sum to 1.
    """
    cosine = TEST_SCALE * unit(video) @ unit(text).T
    return softmax(cosine.reshape(len(video), templates, -1)).mean(1)


def summed_views(logits: np.ndarray) -> np.ndarray:
    """X-CLIP's test: ``logits [V, B, K]`` -> softmax of each view, summed over views ``[B, K]``."""
    return softmax(logits).sum(0)


def top_k_percent(scores: np.ndarray, labels: np.ndarray, k: Sequence[int] = (1, 5)) -> list[float]:
    """Percent of rows whose label is among the k best; k is cut to the number of classes.

    Of equal scores the smaller class index counts as better, as PyTorch's ``topk`` has it on CPU.
    """
    if len(labels) == 0 or len(scores) != len(labels):
        raise ValueError(f"{len(scores)} rows of scores for {len(labels)} labels: both must be equal and not zero")
    best = np.argsort(-scores, axis=1, kind="stable")
    labels = np.asarray(labels).reshape(-1, 1)
    return [float(100.0 * (best[:, :min(size, scores.shape[1])] == labels).any(1).mean()) for size in k]
