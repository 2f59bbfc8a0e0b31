"""Losses of semantic segmentation."""
from __future__ import annotations

import paddle.nn.functional as F

IGNORED = 255
_EPSILON = 1.1920928955078125e-07  # float32's: mmsegmentation adds it to its denominator


def cross_entropy(logits, labels, *, ignore: int = IGNORED, average: str = "valid"):
    """Pixel-wise cross entropy, a 0-d tensor.

    Args:
        logits: ``[N, classes, H, W]``.
        labels: ``[N, H, W]``, int64: a class, or ``ignore``.
        average: ``valid`` divides by the pixels that are not ignored (PyTorch; 0 if there is none), ``all`` by the
            number of all pixels (mmsegmentation, ``avg_non_ignore=False``).

    Raises:
        ValueError: for another ``average``.
    """
    if average == "valid":
        return F.cross_entropy(logits, labels, ignore_index=ignore, axis=1)
    if average == "all":
        total = F.cross_entropy(logits, labels, ignore_index=ignore, axis=1, reduction="sum")
        return total / (labels.size + _EPSILON)
    raise ValueError(f"cross entropy average {average!r}: expected valid or all")


def pixel_accuracy(logits, labels, *, ignore: int = IGNORED):
    """Percentage (0-100, float32) of pixels not ignored whose highest class is right; mmsegmentation's ``acc_seg``."""
    valid = labels != ignore
    right = ((logits.argmax(1) == labels) & valid).astype("float32").sum() + _EPSILON
    return right * (100.0 / (valid.sum().item() + _EPSILON))
