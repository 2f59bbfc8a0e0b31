"""oneDNN fuses float64 operations wrongly (Paddle 3.3): a graph that makes interpolation weights must not hold any."""
import numpy as np
import paddle
import pytest
from paddle.static import InputSpec

from deploy.export import Graph, export
from deploy.inference import Predictor
from models.avs import DoubledConv2D


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("onednn", [True, False])
def test_an_exported_doubled_convolution_takes_any_size(tmp_path, onednn, align_corners):
    paddle.seed(0)
    layer = DoubledConv2D(3, 4, align_corners=align_corners)
    layer.eval()
    export({"inference": Graph(layer, [InputSpec([-1, 3, -1, -1], "float32", "x")], ["y"])}, tmp_path, {})
    predictor = Predictor(tmp_path, onednn=onednn, threads=1)
    for shape in ((2, 3, 5, 6), (1, 3, 9, 1)):
        x = np.random.default_rng(0).normal(size=shape).astype("float32")
        np.testing.assert_allclose(predictor.run({"x": x})["y"], layer(paddle.to_tensor(x)).numpy(), rtol=0, atol=3e-6)
