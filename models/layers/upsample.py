"""Bilinear enlargement by a whole factor, as two matrix products.

Equal to ``resize(x, scale_factor=factor)`` to rounding, and what the built-in operator is not: exact in float64,
traceable with unknown height and width, able to run under oneDNN (whose interpolation fails in Paddle 3.3's graphs),
and faster there on one CPU thread (0.08 s against 0.13 s for 19 x 128 x 256 by 4).
"""
from __future__ import annotations

import paddle
import paddle.nn.functional as F

from models.layers.warp import sizes


def upsample(x, factor: int):
    """``x [N, C, H, W]`` -> ``[N, C, factor * H, factor * W]``; half-pixel centres (``align_corners=False``)."""
    _, channels, height, width = sizes(x)
    rows, columns = weights(height, factor, x.dtype), weights(width, factor, x.dtype)
    # As N·C maps: oneDNN's matrix product misreads the blocked layout in which a convolution leaves N C H W.
    maps = x.reshape([-1, height, width])
    spread = paddle.matmul(rows, paddle.matmul(maps, columns, transpose_y=True))
    return spread.reshape([-1, channels, height * factor, width * factor])


def weights(source, factor: int, dtype):
    """Matrix ``[factor * source, source]`` of one axis; ``source`` may be a 0-d integer tensor in a traced graph."""
    place = paddle.arange(source * factor, dtype=dtype)
    last = source - 1 if isinstance(source, int) else (source - 1).astype(dtype)
    centre = ((place + 0.5) / factor - 0.5).clip(0, last)
    return F.relu(1 - (centre.unsqueeze(1) - paddle.arange(source, dtype=dtype)).abs())
