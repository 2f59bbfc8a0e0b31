from __future__ import annotations

import numpy as np
import paddle
import pytest

from models.mivos import aggregation


def test_two_objects_by_hand():
    prob = paddle.to_tensor(np.array([0.5, 0.25]))
    odds = np.array([0.375 / 0.625, 1.0, 1 / 3])
    np.testing.assert_allclose(aggregation.aggregate_wbg(prob, keep_bg=True), odds / odds.sum(), atol=1e-15)
    odds[0] = 1.0
    np.testing.assert_allclose(aggregation.aggregate_sbg(prob), (odds / odds.sum())[1:], atol=1e-15)


def test_certain_objects_have_finite_gradients():
    prob = paddle.to_tensor([[0.0, 1.0, 0.5]], stop_gradient=False)
    aggregation.aggregate_wbg_channel(prob)[1][:, 1].sum().backward()
    assert np.isfinite(prob.grad.numpy()).all()


@pytest.mark.parametrize(("size", "amounts"), [((480, 854), (5, 5, 0, 0)), ((97, 113), (7, 8, 7, 8)),
                                               ((479, 480), (0, 0, 0, 1))])
def test_padding_and_back(size, amounts):
    assert aggregation.pad_amounts(*size) == amounts
    x = np.random.default_rng(0).random((1, 2, *size))
    padded = aggregation.pad(paddle.to_tensor(x), amounts)
    assert padded.shape[2] % 16 == 0 and padded.shape[3] % 16 == 0
    np.testing.assert_array_equal(aggregation.unpad(padded.numpy(), amounts), x)
