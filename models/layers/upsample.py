"""Bilinear enlargement by a power of two, half-pixel centres (``align_corners=False``), and the argmax after it.

Along an axis the enlarged map consists of ``factor`` interleaved phases; each is one mix of the map and of the map
moved by one place, with weights that binary numbers hold exactly. So this is equal to the built-in interpolation to
rounding, exact in float64 (the built-in keeps coordinates in float32), and runs under oneDNN (whose interpolation
fails in Paddle 3.3's graphs).
"""
from __future__ import annotations

import paddle

from models.layers.warp import sizes


def upsample(x, factor: int):
    """``x [N, C, H, W]`` -> ``[N, C, factor * H, factor * W]``.

    Raises:
        ValueError: if ``factor`` is not a power of two.
    """
    _, channels, height, width = sizes(x)
    rows = _interleaved(phases(_maps(x), 1, factor), 1)
    return _interleaved(phases(rows, 2, factor), 2).reshape([-1, channels, factor * height, factor * width])


def upsampled_argmax(x, factor: int):
    """``upsample(x, factor).argmax(1)``, int64 ``[N, factor * H, factor * W]``, without making the enlarged map.

    The largest channel of each pair of phases is taken by itself and only labels are interleaved: half the time at
    19 x 128 x 256 by 4, as the parts fit the processor's cache and the whole does not.

    Raises:
        ValueError: if ``factor`` is not a power of two.
    """
    _, channels, height, width = sizes(x)
    rows = [_interleaved([part.reshape([-1, channels, height, width]).argmax(1) for part in phases(row, 2, factor)], 2)
            for row in phases(_maps(x), 1, factor)]
    return _interleaved(rows, 1)


def phases(maps, axis: int, factor: int) -> list:
    """Every ``factor``-th row (axis 1) or column (axis 2) of the enlarged ``maps [M, H, W]``, from 0, 1, ... on: as
    many tensors of that shape."""
    if factor < 1 or factor & (factor - 1):
        raise ValueError(f"enlargement by {factor}: expected a power of two")
    before, after = neighbours(maps, axis)
    places = [(phase + 0.5) / factor - 0.5 for phase in range(factor)]  # relative to the source pixel
    return [(before if place < 0 else after) * abs(place) + maps * (1 - abs(place)) for place in places]


def neighbours(maps, axis: int) -> tuple:
    """``maps`` moved by one place to either side, the border repeated: what lies before and after each pixel."""
    if axis == 1:
        return paddle.concat([maps[:, :1], maps[:, :-1]], 1), paddle.concat([maps[:, 1:], maps[:, -1:]], 1)
    return paddle.concat([maps[..., :1], maps[..., :-1]], 2), paddle.concat([maps[..., 1:], maps[..., -1:]], 2)


def _maps(x):
    # Three axes: oneDNN leaves no blocked layout of a convolution in them, which it would reorder for each phase.
    _, _, height, width = sizes(x)
    return x.reshape([-1, height, width])


def _interleaved(parts: list, axis: int):
    """Maps ``[M, H, W]`` -> one in which row (axis 1) or column (axis 2) k comes from part k modulo their number."""
    _, height, width = sizes(parts[0])
    whole = (height * len(parts), width) if axis == 1 else (height, width * len(parts))
    return paddle.stack(parts, axis + 1).reshape([-1, *whole])
