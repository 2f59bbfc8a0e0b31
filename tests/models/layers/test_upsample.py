"""Enlargement by interleaved phases, pooling as matrix products."""
import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from models.layers.pool import adaptive_average_pool
from models.layers.upsample import upsample, upsampled_argmax


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("size", [(3, 5), (1, 2)])
def test_equals_the_operator(factor, size):
    x = paddle.to_tensor(np.random.default_rng(0).normal(size=(2, 3, *size)).astype("float32"))
    want = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(upsample(x, factor).numpy(), want.numpy(), rtol=0, atol=1e-6)


def test_the_argmax_of_the_enlarged_map_is_found_without_making_it():
    x = paddle.to_tensor(np.random.default_rng(1).normal(size=(2, 5, 3, 4)))
    np.testing.assert_array_equal(upsampled_argmax(x, 4).numpy(), upsample(x, 4).argmax(1).numpy())


def test_other_factors_are_refused():
    with pytest.raises(ValueError, match="enlargement by 3"):
        upsample(paddle.zeros([1, 1, 2, 2]), 3)


def test_pooling_in_double_precision_follows_the_windows():
    x = np.random.default_rng(0).normal(size=(1, 2, 5, 7))
    got = adaptive_average_pool(paddle.to_tensor(x), 3).numpy()
    assert got[0, 1, 0, 0] == pytest.approx(x[0, 1, :2, :3].mean(), abs=1e-14)
    assert got[0, 0, 1, 2] == pytest.approx(x[0, 0, 1:4, 4:].mean(), abs=1e-14)
    single = F.adaptive_avg_pool2d(paddle.to_tensor(x.astype("float32")), 3).numpy()
    np.testing.assert_allclose(got, single, rtol=0, atol=1e-6)
