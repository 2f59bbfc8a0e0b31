"""Convolutions whose bias costs what adding numbers costs.

Paddle adds a convolution's bias as ``[1, C, 1, 1]``, for which its CPU kernel walks element by element: up to 20 times
the time of adding ``[C, 1, 1]``, and more than most convolutions themselves. A static graph keeps the plain form, which
the inference library fuses.
"""
from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import nn


def conv2d(x, weight, bias=None, **options):
    """``paddle.nn.functional.conv2d``: ``x [N, C, H, W]``, ``weight [O, C / groups, k, l]``, ``bias [O]``."""
    if bias is None or not paddle.in_dynamic_mode():
        return F.conv2d(x, weight, bias, **options)
    return F.conv2d(x, weight, **options) + bias.reshape([-1, 1, 1])


class Conv2D(nn.Conv2D):
    """``paddle.nn.Conv2D`` with zeros beyond the border."""

    def forward(self, x):
        return conv2d(x, self.weight, self.bias, stride=self._stride, padding=self._padding,
                      dilation=self._dilation, groups=self._groups)

