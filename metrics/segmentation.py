"""Intersection over union of label maps."""
from __future__ import annotations

import numpy as np


class ConfusionMatrix:
    """Counts of (label, prediction) over any number of maps; pixels whose label is no class drop out.

    Args:
        num_classes: labels 0 ... num_classes - 1 count.
    """

    def __init__(self, num_classes: int):
        self.num_classes = num_classes
        self.counts = np.zeros((num_classes, num_classes), np.int64)  # [label, prediction]

    def update(self, labels: np.ndarray, predictions: np.ndarray) -> None:
        """Add integer maps of one shape, whatever it is.

        Raises:
            ValueError: for maps of two shapes, or a prediction that is no class.
        """
        labels, predictions = np.asarray(labels), np.asarray(predictions)
        if labels.shape != predictions.shape:
            raise ValueError(f"labels are {labels.shape}, predictions {predictions.shape}: one shape is needed")
        valid = (labels >= 0) & (labels < self.num_classes)
        truth, guess = labels[valid].astype(np.int64), predictions[valid].astype(np.int64)
        if guess.size and not 0 <= guess.min() <= guess.max() < self.num_classes:
            raise ValueError(f"predictions span {guess.min()} to {guess.max()}, classes 0 to {self.num_classes - 1}")
        self.counts += np.bincount(truth * self.num_classes + guess, minlength=self.num_classes**2).reshape(
            self.counts.shape)

    def class_iou(self) -> np.ndarray:
        """IoU of each class, float64; nan for a class neither labelled nor predicted, 0 if only predicted."""
        both = np.diag(self.counts)
        union = self.counts.sum(0) + self.counts.sum(1) - both
        return np.where(union > 0, both / np.maximum(union, 1), np.nan)

    def mean_iou(self) -> float:
        """Mean over the classes that occur; nan if none does."""
        iou = self.class_iou()
        return float(np.nanmean(iou)) if not np.isnan(iou).all() else float("nan")

    def pixel_accuracy(self) -> float:
        """Share of counted pixels that are right; nan if there is none."""
        total = self.counts.sum()
        return float(np.trace(self.counts) / total) if total else float("nan")
