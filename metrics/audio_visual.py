"""AVSBench's metrics: IoU of masks and the best F-measure over 255 thresholds. NumPy only.

Original: OpenNLPLab/AVSBench f7414af, ``utils/utility.py``. Its published numbers average the values of batches of 4
videos (``BatchAverage``), which depends on the batch size; ``DatasetAverage`` does not.
"""
from __future__ import annotations

import numpy as np

THRESHOLDS = 255
BETA2 = 0.3


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """``1 / (1 + exp(-x))`` in the dtype of ``logits``."""
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + np.exp(-logits))


def frame_ious(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    """IoU of every frame ``[N]``, in the dtype of ``logits``; without sound, the share of pixels rightly left out.

    Args:
        logits: ``[N, H, W]``; a pixel is predicted where ``sigmoid`` is above one half (in the logits' dtype, so a
            logit of 1e-8 is not).
        target: ``[N, H, W]`` in [0, 1]; values in between are allowed.
    """
    _check(logits, target)
    predicted = sigmoid(logits) > 0.5
    kind, target = logits.dtype, target.astype(np.float64)  # sums of float32 masks are exact in float64
    inter, union = (predicted * target).sum((1, 2)), np.maximum(predicted, target).sum((1, 2))
    silent = target.sum((1, 2)) == 0
    inter[silent] = (~predicted[silent]).sum((1, 2))
    union[silent] = target.shape[1] * target.shape[2]
    return inter.astype(kind) / (union.astype(kind) + kind.type(1e-7))


def mask_iou(logits: np.ndarray, target: np.ndarray) -> float:
    """Mean of :func:`frame_ious`: the original's ``mask_iou``."""
    return float(frame_ious(logits, target).mean())


def thresholds(count: int = THRESHOLDS) -> np.ndarray:
    """``torch.linspace(0, 1 - 1e-10, count)`` in float32, bit for bit: from both ends, each value rounded once."""
    step, index = float(np.float32(1.0 / (count - 1))), np.arange(count)
    return np.where(index < count / 2, step * index, 1.0 - step * (count - 1 - index)).astype(np.float32)


def precision_recall(probability: np.ndarray, target: np.ndarray,
                     count: int = THRESHOLDS) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall of one frame at every threshold, float32 ``[count]``.

    A histogram of the thresholds that each pixel reaches and its running sum from above replace ``count`` passes over
    the frame; the integers are the same. Masks with values between 0 and 1 are summed as weights.
    """
    reached = np.searchsorted(thresholds(count), probability.astype(np.float32).ravel(), side="right")
    target = target.ravel()
    predicted = np.bincount(reached, minlength=count + 1)[::-1].cumsum()[::-1][1:]
    if ((target == 0) | (target == 1)).all():
        true = np.bincount(reached[target == 1], minlength=count + 1)[::-1].cumsum()[::-1][1:]
    else:
        true = np.bincount(reached, weights=target, minlength=count + 1)[::-1].cumsum()[::-1][1:]
    true, tiny = true.astype(np.float32), np.float32(1e-20)
    return true / (predicted.astype(np.float32) + tiny), true / (np.float32(target.sum(dtype=np.float64)) + tiny)


def f_curves(logits: np.ndarray, target: np.ndarray, count: int = THRESHOLDS) -> np.ndarray:
    """F-measure (beta^2 0.3) by threshold, float32 ``[M, count]``, of the M frames that have a target."""
    _check(logits, target)
    curves = []
    for probability, mask in zip(sigmoid(logits), target, strict=True):
        if mask.mean() == 0.0:
            continue
        precision, recall = precision_recall(probability, mask, count)
        with np.errstate(invalid="ignore"):
            f = np.float32(1 + BETA2) * precision * recall / (np.float32(BETA2) * precision + recall)
        curves.append(np.nan_to_num(f, nan=0.0))
    return np.stack(curves) if curves else np.zeros((0, count), np.float32)


def f_measure(logits: np.ndarray, target: np.ndarray, count: int = THRESHOLDS) -> float:
    """Mean curve over the frames with a target, then its maximum; 0 without such a frame (``Eval_Fmeasure``)."""
    return best_f(f_curves(logits, target, count))


def best_f(curves: np.ndarray) -> float:
    """Maximum of the mean of curves ``[M, count]``; 0 for M = 0."""
    if not len(curves):
        return 0.0
    total = np.zeros(curves.shape[1], np.float32)
    for curve in curves:  # in order, in float32, as the original adds
        total += curve
    return float((total / np.float32(len(curves))).max())


class BatchAverage:
    """The original's numbers: each batch's value counts once, whatever its size; F is maximised within a batch."""

    names = ("miou", "f_score")

    def __init__(self):
        self.ious: list[float] = []
        self.fs: list[float] = []

    def update(self, logits: np.ndarray, target: np.ndarray) -> None:
        self.ious.append(mask_iou(logits, target))
        self.fs.append(f_measure(logits, target))

    def merge(self, parts: list[BatchAverage]) -> None:
        """Take the batches of all parts (one per process, this one among them) instead of its own."""
        self.ious = [value for part in parts for value in part.ious]
        self.fs = [value for part in parts for value in part.fs]

    def values(self) -> dict[str, float]:
        return {"miou": float(np.mean(self.ious)), "f_score": float(np.mean(self.fs))}


class DatasetAverage:
    """Independent of the batch size: mean over all frames; F maximised once over the whole data set."""

    names = ("dataset_miou", "dataset_f_score")

    def __init__(self):
        self.ious: list[np.ndarray] = []
        self.curves: list[np.ndarray] = []

    def update(self, logits: np.ndarray, target: np.ndarray) -> None:
        self.ious.append(frame_ious(logits, target))
        self.curves.append(f_curves(logits, target))

    def merge(self, parts: list[DatasetAverage]) -> None:
        """As :meth:`BatchAverage.merge`."""
        self.ious = [values for part in parts for values in part.ious]
        self.curves = [values for part in parts for values in part.curves]

    def values(self) -> dict[str, float]:
        curves = np.concatenate(self.curves).astype(np.float64)
        return {"dataset_miou": float(np.concatenate(self.ious).mean(dtype=np.float64)),
                "dataset_f_score": float(curves.mean(0).max()) if len(curves) else 0.0}


def _check(logits: np.ndarray, target: np.ndarray) -> None:
    if logits.ndim != 3 or logits.shape != target.shape or not len(logits):
        raise ValueError(f"expected logits and targets of one shape N H W, got {logits.shape} and {target.shape}")
