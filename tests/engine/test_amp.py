import numpy as np
import paddle
import pytest

from engine import amp
from engine.amp import LossScale, Precision


def parameter(gradient):
    p = paddle.create_parameter([2], "float32")
    (p * paddle.to_tensor(gradient)).sum().backward()
    return p


def test_off_does_nothing():
    precision = Precision("off", 1024.0)
    loss = paddle.ones([])
    with precision.autocast():
        assert precision.scaled(loss) is loss
    assert precision.unscale([]) and precision.state() == {}
    precision.restore({"scale": 2.0, "good": 1})


@pytest.mark.parametrize("level", ["O1", "O2"])
def test_a_cpu_is_refused(level):
    with pytest.raises(ValueError, match="needs a GPU"):
        Precision(level, 1024.0)


def test_scale_is_divided_out():
    scale = LossScale(4.0)
    p, unused = parameter([8.0, -2.0]), paddle.create_parameter([1], "float32")
    assert scale.unscale([p, unused])
    np.testing.assert_array_equal(p.grad.numpy(), [2.0, -0.5])
    assert (scale.scale, scale.good) == (4.0, 1)


def test_overflow_halves_the_scale_and_skips_the_update():
    scale = LossScale(4.0)
    assert not scale.unscale([parameter([1.0, 1.0]), parameter([float("inf"), 0.0])])
    assert (scale.scale, scale.good) == (2.0, 0)


def test_scale_grows_after_good_updates(monkeypatch):
    monkeypatch.setattr(amp, "GROWTH_EVERY", 2)
    scale = LossScale(4.0)
    for _ in range(2):
        scale.unscale([parameter([1.0, 1.0])])
    assert (scale.scale, scale.good) == (8.0, 0)


def test_scale_must_be_positive():
    with pytest.raises(ValueError, match="must be positive"):
        LossScale(0.0)
