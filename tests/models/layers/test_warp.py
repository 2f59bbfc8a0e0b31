"""Warping by a flow."""
import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from models.layers.warp import warp


def by_hand(x, flow, padding):
    n, _, height, width = x.shape
    out = np.zeros_like(x)
    for index in np.ndindex(n, height, width):
        b, row, column = index
        px, py = column + flow[b, 0, row, column], row + flow[b, 1, row, column]
        left, top = int(np.floor(px)), int(np.floor(py))
        for y, wy in ((top, top + 1 - py), (top + 1, py - top)):
            for x_, wx in ((left, left + 1 - px), (left + 1, px - left)):
                inside = 0 <= y < height and 0 <= x_ < width
                if inside or padding == "border":
                    out[b, :, row, column] += wy * wx * x[b, :, np.clip(y, 0, height - 1), np.clip(x_, 0, width - 1)]
    return out


@pytest.mark.parametrize("padding", ["border", "zeros"])
@pytest.mark.parametrize("size", [(5, 7), (1, 4), (1, 1)])
def test_against_loops(padding, size):
    rng = np.random.default_rng(0)
    x, flow = rng.normal(size=(2, 3, *size)), rng.uniform(-4, 4, (2, 2, *size))
    got = warp(paddle.to_tensor(x), paddle.to_tensor(flow), padding).numpy()
    np.testing.assert_allclose(got, by_hand(x, flow, padding), rtol=0, atol=1e-12)


def test_agrees_with_grid_sample():
    rng = np.random.default_rng(1)
    x, flow = paddle.to_tensor(rng.normal(size=(1, 2, 6, 9))), paddle.to_tensor(rng.uniform(-3, 3, (1, 2, 6, 9)))
    columns = (paddle.arange(9, dtype="float64") + flow[:, 0]) * (2 / 8) - 1
    rows = (paddle.arange(6, dtype="float64").unsqueeze(1) + flow[:, 1]) * (2 / 5) - 1
    want = F.grid_sample(x, paddle.stack([columns, rows], -1), padding_mode="border", align_corners=True)
    np.testing.assert_allclose(warp(x, flow).numpy(), want.numpy(), rtol=0, atol=1e-12)


def test_far_flow_clamps_instead_of_overflowing():
    x = paddle.arange(12, dtype="float32").reshape([1, 1, 3, 4])
    flow = paddle.full([1, 2, 3, 4], 1e12)
    assert (warp(x, flow).numpy() == 11).all()


def test_unknown_padding_is_refused():
    x = paddle.zeros([1, 1, 2, 2])
    with pytest.raises(ValueError, match="reflect"):
        warp(x, paddle.zeros([1, 2, 2, 2]), "reflect")
