import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from models.layers import Conv2D, conv2d
from models.layers.enlarged import doubled_conv, moved_interpolation, moved_interpolation_in_graph
from models.layers.resize import resize


def draw(*shape):
    return paddle.to_tensor(np.random.default_rng(sum(shape)).normal(size=shape))


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1}, {"padding": 2, "dilation": 2, "groups": 2}])
def test_the_bias_is_the_only_difference(options):
    x, weight, bias = draw(2, 4, 7, 6), draw(6, 4 // options.get("groups", 1), 3, 3), draw(6)
    np.testing.assert_allclose(conv2d(x, weight, bias, **options).numpy(), F.conv2d(x, weight, bias, **options).numpy(),
                               rtol=0, atol=1e-13)
    layer = Conv2D(4, 6, 3, **options)
    plain = paddle.nn.Conv2D(4, 6, 3, **options)
    plain.set_state_dict(layer.state_dict())
    layer.bias.set_value(paddle.rand([6]))
    plain.bias.set_value(layer.bias)
    single = x.astype("float32")
    np.testing.assert_allclose(layer(single).numpy(), plain(single).numpy(), rtol=1e-5, atol=1e-5)


def test_a_layer_without_bias():
    layer = Conv2D(3, 2, 3, bias_attr=False)
    x = paddle.rand([1, 3, 5, 5])
    np.testing.assert_array_equal(layer(x).numpy(), F.conv2d(x, layer.weight).numpy())


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("height, width", [(5, 4), (1, 3), (2, 1)])
def test_a_doubled_convolution_is_the_convolution_of_the_doubled_map(align_corners, height, width):
    x, weight, bias = draw(2, 3, height, width), draw(4, 3, 3, 3), draw(4)
    for tensor in (x, weight, bias):
        tensor.stop_gradient = False
    found = {}
    for name, run in (("ours", lambda: doubled_conv(x, weight, bias, align_corners=align_corners)),
                      ("plain", lambda: F.conv2d(resize(x, scale_factor=2, align_corners=align_corners), weight, bias,
                                                 padding=1))):
        out = run()
        (out * out).sum().backward()
        found[name] = [out.numpy(), *(tensor.grad.numpy() for tensor in (x, weight, bias))]
        for tensor in (x, weight, bias):
            tensor.clear_gradient(False)
    for ours, plain in zip(found["ours"], found["plain"], strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("side", [1, 2, 7, 56])
def test_the_graph_makes_the_same_matrix(side, align_corners):
    known = moved_interpolation(side, align_corners)
    assert known.shape == [2 * side, 3 * side]
    np.testing.assert_allclose(moved_interpolation_in_graph(side, align_corners).numpy(), known.numpy(), rtol=0,
                               atol=1e-7)


@pytest.mark.parametrize("align_corners", [True, False])
def test_a_graph_takes_any_size(align_corners):
    weight, bias = draw(4, 3, 3, 3).astype("float32"), draw(4).astype("float32")

    @paddle.jit.to_static(input_spec=[paddle.static.InputSpec([-1, 3, -1, -1], "float32")], full_graph=True)
    def graph(x):
        return doubled_conv(x, weight, bias, align_corners=align_corners)
    for shape in ((1, 3, 4, 6), (2, 3, 5, 3)):
        x = draw(*shape).astype("float32")
        np.testing.assert_allclose(graph(x).numpy(), doubled_conv(x, weight, bias, align_corners=align_corners).numpy(),
                                   rtol=1e-4, atol=1e-5)
