"""Cross entropy against class shares: X-CLIP's loss when samples are blended."""
from __future__ import annotations

import paddle.nn.functional as F


def soft_target_cross_entropy(logits, target):
    """Mean over the batch of -sum_k target log softmax(logits).

    Args:
        logits: ``[B, K]``.
        target: ``[B, K]``, rows sum to 1.

    Returns:
        0-d tensor.
    """
    return -(target * F.log_softmax(logits, axis=-1)).sum(-1).mean()
