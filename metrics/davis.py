"""The DAVIS measures: region similarity J, contour accuracy F, their statistics, and the interactive curve.

Perazzi et al., CVPR 2016; Pont-Tuset et al., "The 2017 DAVIS Challenge"; the interactive track of 2018. Written from
the definitions, in agreement with davis2017-evaluation ac7c43f and davis-interactive 1fdb0c8.
"""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

BOUND = 0.008  # tolerance of a contour, as a share of the image diagonal


def jaccard(truth: np.ndarray, guess: np.ndarray) -> float:
    """Intersection over union of boolean ``[H, W]`` masks; 1 where both are empty."""
    union = np.count_nonzero(truth | guess)
    return np.count_nonzero(truth & guess) / union if union else 1.0


def boundary(mask: np.ndarray) -> np.ndarray:
    """Pixels of a boolean mask that differ from their right, lower or lower-right neighbour.

    In the last row only the right, in the last column only the lower neighbour counts; the corner is no boundary.
    """
    edge = np.zeros(mask.shape, bool)
    edge[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    edge[:-1, :] |= mask[:-1, :] != mask[1:, :]
    edge[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return edge


def tolerance(height: int, width: int) -> int:
    """How many pixels a contour may be off: 8 at 480 x 854."""
    return math.ceil(BOUND * math.hypot(height, width))


@lru_cache
def _disk(radius: int) -> np.ndarray:
    axis = np.arange(-radius, radius + 1)
    return (axis[:, None] ** 2 + axis**2 <= radius**2).astype(np.uint8)


def contour_accuracy(truth: np.ndarray, guess: np.ndarray) -> float:
    """F of the contours of boolean ``[H, W]`` masks: harmonic mean of precision and recall of boundary pixels.

    Two empty contours agree (1); an empty and a non-empty one do not (0).
    """
    edges = [boundary(mask) for mask in (guess, truth)]
    counts = [np.count_nonzero(edge) for edge in edges]
    if not all(counts):
        return float(not any(counts))
    disk = _disk(tolerance(*truth.shape))
    near = [cv2.dilate(edge.astype(np.uint8), disk).astype(bool) for edge in edges]
    precision = np.count_nonzero(edges[0] & near[1]) / counts[0]
    recall = np.count_nonzero(edges[1] & near[0]) / counts[1]
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def frame_scores(truth: np.ndarray, guess: np.ndarray, objects: Sequence[int]) -> np.ndarray:
    """J and F of each object in label maps: float64 ``[objects, 2]``.

    Args:
        truth: integer ``[H, W]``.
        guess: the same, of the same size.

    Raises:
        ValueError: if the sizes differ.
    """
    if truth.shape != guess.shape:
        raise ValueError(f"the annotation is {truth.shape[0]} x {truth.shape[1]}, the result "
                         f"{guess.shape[0]} x {guess.shape[1]} pixels: bring the result to the annotation's size first")
    return np.array([(jaccard(truth == i, guess == i), contour_accuracy(truth == i, guess == i)) for i in objects])


@dataclass(frozen=True)
class Statistics:
    """Mean, recall (share above 0.5) and decay (first minus last quarter) over the frames of one object."""

    mean: float
    recall: float
    decay: float


def statistics(values: Sequence[float]) -> Statistics:
    """Statistics of one measure over the frames of one object (NaN frames do not count)."""
    values = np.asarray(values, np.float64)
    cuts = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(int) - 1
    first, last = values[cuts[0]:cuts[1] + 1], values[cuts[3]:cuts[4] + 1]
    valid = values[~np.isnan(values)]
    if not valid.size:
        return Statistics(float("nan"), float("nan"), float("nan"))
    return Statistics(float(valid.mean()), float((valid > 0.5).mean()), float(np.nanmean(first) - np.nanmean(last)))


class SemiSupervised:
    """Collects sequences of the semi-supervised track; the mean is over all objects of the set.

    The first and the last frame do not count (the first is given).
    """

    def __init__(self):
        self.rows: list[dict] = []

    def add(self, sequence: str, truth: np.ndarray, guess: np.ndarray, objects: Sequence[int] | None = None) -> None:
        """Add a sequence of label maps ``[T, H, W]``; ``objects`` default to those of the first annotation.

        Raises:
            ValueError: for fewer than three frames, or if the numbers of frames differ.
        """
        if len(truth) != len(guess):
            raise ValueError(f"{sequence}: {len(truth)} annotations, {len(guess)} results")
        if len(truth) < 3:
            raise ValueError(f"{sequence} has {len(truth)} frames; the first and the last are not judged")
        objects = [i for i in np.unique(truth[0]) if i not in (0, 255)] if objects is None else list(objects)
        scores = np.array([frame_scores(t, g, objects) for t, g in zip(truth[1:-1], guess[1:-1], strict=True)])
        for place, label in enumerate(objects):
            row = {"sequence": sequence, "object": int(label)}
            for column, name in enumerate("JF"):
                found = statistics(scores[:, place, column])
                row |= {f"{name}_mean": found.mean, f"{name}_recall": found.recall, f"{name}_decay": found.decay}
            self.rows.append(row)

    def result(self) -> dict[str, float]:
        """``J&F`` and mean, recall and decay of J and F over all objects."""
        names = [f"{measure}_{kind}" for measure in "JF" for kind in ("mean", "recall", "decay")]
        means = {name: float(np.mean([row[name] for row in self.rows])) for name in names}
        return {"J&F": (means["J_mean"] + means["F_mean"]) / 2, **means}

    def by_sequence(self) -> dict[str, dict[str, float]]:
        """J and F of every sequence, mean over its objects."""
        names = dict.fromkeys(row["sequence"] for row in self.rows)
        return {name: {key: float(np.mean([row[key] for row in self.rows if row["sequence"] == name]))
                       for key in ("J_mean", "F_mean")} for name in names}


def interactive_summary(rows: Mapping[tuple[int, tuple], tuple[Sequence[float], float]], *, interactions: int,
                        max_time: float, threshold: float = 60.0) -> dict[str, float | list[float]]:
    """Quality over time of an interactive session.

    Args:
        rows: (interaction from 0, sample) -> (value of every object, seconds spent). A sample is a sequence with a
            first scribble; one whose session ended early keeps its last values and spends no more time.
        interactions: most of any sample (8).
        max_time: seconds at which the curve ends.
        threshold: seconds at which the curve is read.

    Returns:
        ``auc`` (area under the curve divided by max_time), ``at`` (value at the threshold), ``time``, ``curve``.
    """
    samples = list(dict.fromkeys(sample for _, sample in rows))
    held: dict[tuple, Sequence[float]] = {}
    time, curve = [0.0], [0.0]
    for interaction in range(interactions):
        spent = []
        for sample in samples:
            values, seconds = rows.get((interaction, sample), (held.get(sample), 0.0))
            held[sample] = values
            spent.append(seconds)
        curve.append(float(np.mean(np.concatenate([np.asarray(held[sample]) for sample in samples]))))
        time.append(time[-1] + float(np.mean(spent)))
    time.append(float(max_time))
    curve.append(curve[-1])
    return {"auc": float(np.trapezoid(curve, time)) / max_time, "at": float(np.interp(threshold, time, curve)),
            "time": time, "curve": curve}
