"""A 3x3 convolution of an enlarged map, without making the enlarged map.

Enlarging is linear in each axis, E = R x C^T, and so is moving a map by one pixel. So

    conv(E) = sum over taps (k, l) of  (S_k R) (w_kl . x) (S_l C)^T

where w_kl . x mixes channels at the small size (a quarter of the multiplications), S_k moves rows by k - 1 and brings
in the border's zeros. What follows mixes rows and columns of the few output channels.
"""
from __future__ import annotations

import functools

import numpy as np
import paddle
import paddle.nn.functional as F

from models.layers.resize import interpolation_matrix
from models.layers.warp import sizes


def doubled_conv(x, weight, bias, *, align_corners: bool):
    """``conv2d(resize(x, scale_factor=2), weight, bias, padding=1)``, equal to it but for rounding.

    Args:
        x: ``[N, C, H, W]``. weight: ``[O, C, 3, 3]``. bias: ``[O]``.
        align_corners: of the bilinear enlargement.

    Returns:
        ``[N, O, 2H, 2W]``.
    """
    _, _, H, W = sizes(x)
    O, C = weight.shape[:2]
    make = moved_interpolation if paddle.in_dynamic_mode() else moved_interpolation_in_graph
    rows, columns = (make(side, align_corners, x.dtype) for side in (H, W))
    taps = weight.transpose([3, 0, 2, 1]).reshape([9 * O, C])  # (l O k) C
    mixed = paddle.matmul(taps, x.flatten(2))
    mixed = mixed.reshape([-1, 3, O * 3 * H, W]).transpose([0, 2, 1, 3]).reshape([-1, O * 3 * H, 3 * W])
    wide = paddle.matmul(mixed, columns, transpose_y=True)  # N (O k H) 2W
    return paddle.matmul(rows, wide.reshape([-1, O, 3 * H, 2 * W])) + bias.reshape([-1, 1, 1])


def moved_interpolation(side: int, align_corners: bool, dtype=paddle.float64):
    """``[2 side, 3 side]``: the matrix that doubles an axis, moved by -1, 0 and 1 places; zeros move in."""
    return paddle.to_tensor(_moved_interpolation(side, align_corners), dtype)


@functools.lru_cache(maxsize=16)
def _moved_interpolation(side: int, align_corners: bool) -> np.ndarray:
    matrix = interpolation_matrix(side, 2 * side, "bilinear", align_corners)
    edge = np.zeros((1, side))
    before, after = np.concatenate([edge, matrix[:-1]]), np.concatenate([matrix[1:], edge])
    return np.concatenate([before, matrix, after], axis=1)


def moved_interpolation_in_graph(side, align_corners: bool, dtype=paddle.float32):
    """The same where ``side`` may be known only when the graph runs.

    In float32, for oneDNN computes wrongly when it fuses float64 operations (Paddle 3.3); with whole numbers until the
    division, so that every entry is as exact as float32 can hold it.
    """
    targets, sources = paddle.arange(2 * side, dtype="float32").unsqueeze(1), paddle.arange(side, dtype="float32")
    if align_corners:
        distances = paddle.abs(targets * (side - 1) - sources * (2 * side - 1)) / (2 * side - 1)
    else:
        centres = paddle.minimum(F.relu(targets / 2 - 0.25), (side - 1) * paddle.ones_like(targets))
        distances = paddle.abs(centres - sources)
    matrix = F.relu(1 - distances).astype(dtype)
    edge = paddle.zeros_like(matrix[:1])
    return paddle.concat([paddle.concat([edge, matrix[:-1]]), matrix, paddle.concat([matrix[1:], edge])], 1)
