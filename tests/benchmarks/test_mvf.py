import numpy as np
import pytest

from benchmarks import mvf


@pytest.mark.parametrize("name", ["Paddle, eager", "Paddle, exported, oneDNN", "Paddle, exported, without oneDNN"])
def test_contenders_run_and_agree(name):
    shape = mvf.contenders(2, 32, 18)
    values = shape[name](1)()
    values = values["logits"] if isinstance(values, dict) else values
    wanted = shape["Paddle, eager"](1)()
    assert values.shape == (1, mvf.CLASSES)
    assert np.abs(values - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_fusion_modules_run():
    mvf.contenders(2, 32, 18)["Paddle, eager, the fusion modules alone"](1)()
