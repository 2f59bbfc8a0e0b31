"""One resize for all networks.

Paddle computes source coordinates in float32 whatever the tensor's type: 1e-7 to 1e-6 relative error in a
float64 run, enough to hide a mistake. float32 tensors take the built-in kernel, float64 tensors
two small interpolation matrices whose coordinates are float64.
"""
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import paddle
import paddle.nn.functional as F


@paddle.jit.not_to_static  # every condition is on Python numbers: tracing must not turn them into graph branches
def resize(x, size: Sequence[int] | None = None, *, scale_factor: float | None = None, mode: str = "bilinear",
           align_corners: bool = False):
    """Resize ``x [N, C, H, W]`` to ``size`` (H', W'), as ``torch.nn.functional.interpolate`` does.

    Args:
        x: float32 or float64.
        size: the output's height and width; or
        scale_factor: one factor for both axes; the output is ``floor(side * factor)`` and, as in PyTorch,
            the coordinates use the factor itself even where that rounds.
        mode: ``nearest``, ``bilinear`` or ``bicubic`` (a = -0.75).
        align_corners: map corner pixels onto corner pixels (not for ``nearest``).

    Raises:
        ValueError: unless exactly one of ``size`` and ``scale_factor`` is given.
    """
    if (size is None) == (scale_factor is None):
        raise ValueError(f"resize needs either size or scale_factor, got size={size}, scale_factor={scale_factor}")
    if not paddle.in_dynamic_mode():
        return _in_graph(x, size, scale_factor, mode, align_corners)
    height, width = x.shape[2:]
    if scale_factor is not None:
        size = [math.floor(height * scale_factor), math.floor(width * scale_factor)]
        rounded = size[0] != height * scale_factor or size[1] != width * scale_factor
        ratio = 1.0 / scale_factor if rounded else None
    else:
        ratio = None
    # The kernel also takes the first pixel, not the centre, where a side shrinks to one.
    shrinks_to_one = not align_corners and mode != "nearest" and any(
        new == 1 and old != 1 for new, old in zip(size, (height, width), strict=True))
    if x.dtype == paddle.float64 or shrinks_to_one:
        rows = paddle.to_tensor(interpolation_matrix(height, size[0], mode, align_corners, ratio), x.dtype)
        columns = paddle.to_tensor(interpolation_matrix(width, size[1], mode, align_corners, ratio), x.dtype)
        return paddle.matmul(paddle.matmul(rows, x), columns, transpose_y=True)
    if ratio is not None:
        return F.interpolate(x, scale_factor=scale_factor, mode=mode, align_corners=align_corners)
    return F.interpolate(x, size=size, mode=mode, align_corners=align_corners)


def _in_graph(x, size, scale_factor: float | None, mode: str, align_corners: bool):
    """In a static graph sides may be unknown: sizes are computed there (a ``scale_factor`` stops paddle2onnx)."""
    if scale_factor is not None:
        if scale_factor != int(scale_factor):
            return F.interpolate(x, scale_factor=scale_factor, mode=mode, align_corners=align_corners)
        shape = paddle.shape(x)
        size = [shape[2] * int(scale_factor), shape[3] * int(scale_factor)]
    return F.interpolate(x, size=size, mode=mode, align_corners=align_corners)


def interpolation_matrix(source: int, target: int, mode: str, align_corners: bool = False,
                         ratio: float | None = None) -> np.ndarray:
    """Matrix ``[target, source]`` (float64) of one axis: each row holds the weights of one output position.

    ``ratio`` is the source step per output step where it differs from ``source / target``.
    """
    step = ratio if ratio is not None else source / target
    place = np.arange(target, dtype=np.float64)
    matrix = np.zeros((target, source))
    row = np.arange(target)
    if mode == "nearest":
        matrix[row, np.minimum(np.floor(place * step).astype(int), source - 1)] = 1.0
        return matrix
    if align_corners:
        centre = place * ((source - 1) / (target - 1) if target > 1 else 0.0)
    else:
        centre = (place + 0.5) * step - 0.5
    if mode == "bilinear":
        centre = np.maximum(centre, 0.0)
        first = np.minimum(np.floor(centre).astype(int), source - 1)
        fraction = centre - first
        np.add.at(matrix, (row, first), 1.0 - fraction)
        np.add.at(matrix, (row, np.minimum(first + 1, source - 1)), fraction)
        return matrix
    if mode == "bicubic":
        first = np.floor(centre).astype(int)
        for offset in (-1, 0, 1, 2):
            weight = _cubic(np.abs(centre - first - offset))
            np.add.at(matrix, (row, np.clip(first + offset, 0, source - 1)), weight)
        return matrix
    raise ValueError(f"resize mode {mode!r}: expected nearest, bilinear or bicubic")


def _cubic(distance: np.ndarray, a: float = -0.75) -> np.ndarray:
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, far)
