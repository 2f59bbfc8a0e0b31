"""Losses on masks of MiVOS: cross entropy on the hardest pixels.

hkchengrex/Mask-Propagation 7db3902, MiVOS f2600a6 and Scribble-to-Mask 2b55b23, each ``model/losses.py``.
"""
from __future__ import annotations

import paddle
import paddle.nn.functional as F

LEAST_SHARE = 0.15


def hard_share(update: int, start: int, end: int) -> float:
    """Share of the pixels that count at an update: all before ``start``, falling to 0.15 at ``end``."""
    if update < start:
        return 1.0
    if update > end:
        return LEAST_SHARE
    return LEAST_SHARE + (1 - LEAST_SHARE) * (end - update) / (end - start)


def bootstrapped_cross_entropy(logits, target, share: float):
    """Mean cross entropy of the hardest ``share`` of all pixels.

    Args:
        logits: ``[B, C, H, W]``.
        target: int64 ``[B, H, W]``, classes.
        share: in (0, 1], from :func:`hard_share`.
    """
    entropy = F.cross_entropy(logits, target, axis=1, reduction="none").flatten()
    if share >= 1.0:
        return entropy.mean()
    return paddle.topk(entropy, int(entropy.shape[0] * share))[0].mean()


def bootstrapped_by_sample(logits, target, selector, share: float):
    """The same for each sample on its own, averaged over the batch: the loss of propagation and fusion.

    Args:
        logits: ``[B, 3, H, W]`` or, with one object per sample, ``[B, 2, H, W]``.
        target: int64 ``[B, H, W]``.
        selector: ``[B, 2]`` or None. A sample whose second entry is at most 0.5 has no second object: only
            background and object 1 enter its loss.
        share: as above.
    """
    count, total = logits.shape[0], None
    for b in range(count):
        classes = logits.shape[1] if selector is None or float(selector[b, 1]) > 0.5 else 2
        loss = bootstrapped_cross_entropy(logits[b:b + 1, :classes], target[b:b + 1], share) / count
        total = loss if total is None else total + loss
    return total


def moved_mask_loss(moved, target):
    """Mean binary cross entropy of masks that an attention moved from other frames; both ``[B, K, N]`` in [0, 1].

    Not in the original: trained from ImageNet's weights, its attention finds similar places from the start. From random
    ones nothing tells an object from its neighbour until the attention does, and it only learns by that difference.
    """
    moved = paddle.clip(moved, 1e-4, 1 - 1e-4)
    return -(target * paddle.log(moved) + (1 - target) * paddle.log(1 - moved)).mean()


def iou_sums(mask, target):
    """(intersection, union) in pixels of ``mask > 0.5`` and ``target > 0.5``; logged as (i + 1) / (u + 1)."""
    mask, target = mask > 0.5, target > 0.5
    return (mask & target).sum().astype("float32"), (mask | target).sum().astype("float32")
