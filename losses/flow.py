"""Losses of optical flow (github.com/ClementPinard/FlowNetPytorch, ``multiscaleloss.py``)."""
from __future__ import annotations

from collections.abc import Sequence

import paddle
import paddle.nn.functional as F

SCALE_WEIGHTS = (0.005, 0.01, 0.02, 0.08, 0.32)


def endpoint_error(flow, target):
    """Distance of two flows at each pixel: ``[N, 2, H, W]`` twice -> ``[N, H, W]``."""
    return paddle.linalg.norm(target - flow, p=2, axis=1)


def multiscale_endpoint_error(flows: Sequence, target, weights: Sequence[float] = SCALE_WEIGHTS):
    """Weighted sum over the scales of the endpoint errors, summed over pixels and divided by the batch (0-d).

    Args:
        flows: finest first, each ``[N, 2, h, w]``.
        target: ``[N, 2, H, W]`` in the unit of the flows; averaged over areas down to each scale.
        weights: one for each flow.
    """
    total = 0.0
    for flow, weight in zip(flows, weights, strict=True):
        scaled = F.adaptive_avg_pool2d(target, flow.shape[2:])
        total = total + weight * endpoint_error(flow, scaled).sum() / flow.shape[0]
    return total
