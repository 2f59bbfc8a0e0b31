"""Backward warping of a map by a flow field.

Source: Resample2d of NVIDIA's FlowNet2, as github.com/yzfzzz/Deep-Feature-Flow-pytorch uses it (kernel size 1).
"""
from __future__ import annotations

import paddle

PADDINGS = ("border", "zeros")


def warp(x, flow, padding: str = "border"):
    """Sample ``x`` bilinearly at (column + flow[:, 0], row + flow[:, 1]).

    The four corners are gathered one by one rather than by ``grid_sample``, whose normalised coordinates cost
    accuracy in float32 (1.5e-5 at a width of 256, against 1e-7 here) and divide by zero for a map of one pixel. The
    gradient by the flow is Resample2d's: right minus left of the clamped corners, so 0 outside the map.

    Args:
        x: ``[N, C, H, W]``.
        flow: ``[N, 2, H, W]``, x then y, in pixels of the map.
        padding: ``border`` clamps the corners to the map (their weights stay those of the unclamped place);
            ``zeros`` takes 0 outside it.

    Returns:
        ``[N, C, H, W]``.

    Raises:
        ValueError: for another padding.
    """
    if padding not in PADDINGS:
        raise ValueError(f"warp padding {padding!r}: expected one of {', '.join(PADDINGS)}")
    batch, channels, height, width = sizes(x)
    column = paddle.arange(width, dtype=flow.dtype) + flow[:, 0]  # N H W
    row = paddle.arange(height, dtype=flow.dtype).unsqueeze(1) + flow[:, 1]
    left, top = paddle.floor(column), paddle.floor(row)
    right_part, bottom_part = column - left, row - top
    left, top = left.detach(), top.detach()
    first = (paddle.arange(batch, dtype=flow.dtype) * (height * width)).reshape([-1, 1, 1]).astype("int32")
    pixels = x.transpose([0, 2, 3, 1]).reshape([-1, channels])  # N C H W → N·H·W C
    total = None
    for y, y_weight in ((top, 1 - bottom_part), (top + 1, bottom_part)):
        for x_, x_weight in ((left, 1 - right_part), (left + 1, right_part)):
            weight = y_weight * x_weight
            if padding == "zeros":
                inside = (y >= 0) & (y <= height - 1) & (x_ >= 0) & (x_ <= width - 1)
                weight = weight * inside.astype(weight.dtype)
            place = _clamp(y, height) * width + _clamp(x_, width) + first
            corner = paddle.gather(pixels, place.reshape([-1])) * weight.reshape([-1, 1])
            total = corner if total is None else total + corner
    return total.reshape([batch, height, width, channels]).transpose([0, 3, 1, 2])


def _clamp(place, size):
    # Clamped while a float: a far-off place would overflow the integers.
    last = size - 1 if isinstance(size, int) else (size - 1).astype(place.dtype)
    return place.clip(0, last).astype("int32")


@paddle.jit.not_to_static  # it looks at what is known while tracing
def sizes(x) -> list:
    """The sizes of ``x``, as integers where they are known and as tensors in a graph traced without them."""
    if all(side >= 0 for side in x.shape):
        return list(x.shape)
    dynamic = paddle.shape(x)
    return [side if side >= 0 else dynamic[axis] for axis, side in enumerate(x.shape)]
