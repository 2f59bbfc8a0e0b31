"""Adaptive average pooling that stays in the tensor's own precision.

Paddle keeps the size of a pooling window as float32 in its gradient, whatever the tensor's type: 4e-9 relative error
in a float64 run. float32 tensors take the built-in kernel, float64 tensors two small averaging matrices.
"""
from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn


def adaptive_average_pool(x, side: int):
    """``x [N, C, H, W]`` -> ``[N, C, side, side]``: means over windows that may overlap, as PyTorch cuts them."""
    if x.dtype != paddle.float64:
        return F.adaptive_avg_pool2d(x, side)
    rows, columns = (paddle.to_tensor(averaging_matrix(size, side)) for size in x.shape[2:])
    return paddle.matmul(paddle.matmul(rows, x), columns, transpose_y=True)


def averaging_matrix(source: int, target: int) -> np.ndarray:
    """Matrix ``[target, source]`` (float64): row i averages positions floor(i s / t) ... ceil((i + 1) s / t) - 1."""
    matrix = np.zeros((target, source))
    for index in range(target):
        start, end = index * source // target, -(-(index + 1) * source // target)
        matrix[index, start:end] = 1.0 / (end - start)
    return matrix


class AdaptiveAveragePool(nn.Layer):
    """:func:`adaptive_average_pool` as a layer."""

    def __init__(self, side: int):
        super().__init__()
        self.side = side

    def forward(self, x):
        return adaptive_average_pool(x, self.side)
