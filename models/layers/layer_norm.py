"""Layer normalization that is exact in float64.

Paddle keeps epsilon as float32 whatever the tensor's type: 2e-11 of the output in a float64 run, which Adam's first
steps (their size hardly depends on the gradient's) make 1e-9.
"""
from __future__ import annotations

import paddle
from paddle import nn


class LayerNorm(nn.LayerNorm):
    """Over the last axis, ``[..., W]``; biased variance; the fast kernel for all but float64."""

    def __init__(self, width: int, epsilon: float = 1e-5):
        super().__init__(width, epsilon=epsilon)
        self.exact_epsilon = epsilon

    def forward(self, x):
        if x.dtype != paddle.float64:
            return super().forward(x)
        centred = x - x.mean(-1, keepdim=True)
        variance = (centred * centred).mean(-1, keepdim=True)
        return centred / paddle.sqrt(variance + self.exact_epsilon) * self.weight + self.bias
