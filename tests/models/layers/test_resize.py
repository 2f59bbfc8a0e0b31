import numpy as np
import paddle
import pytest

from models.layers import resize

torch = pytest.importorskip("torch")

SIZES = [(11, 5), (7, 9), (3, 20), (1, 20), (14, 18), (1, 1)]


@pytest.mark.parametrize(("mode", "align_corners"), [("bilinear", False), ("bilinear", True), ("bicubic", False),
                                                     ("bicubic", True), ("nearest", False)])
@pytest.mark.parametrize("size", SIZES)
def test_equals_torch(mode, align_corners, size):
    x = np.random.default_rng(0).normal(size=(2, 3, 7, 9))
    reference = torch.nn.functional.interpolate(
        torch.tensor(x), size=size, mode=mode, align_corners=None if mode == "nearest" else align_corners).numpy()
    double = resize(paddle.to_tensor(x), size, mode=mode, align_corners=align_corners).numpy()
    single = resize(paddle.to_tensor(x.astype("float32")), size, mode=mode, align_corners=align_corners).numpy()
    np.testing.assert_allclose(double, reference, rtol=0, atol=1e-13)
    np.testing.assert_allclose(single, reference, rtol=0, atol=5e-6)


@pytest.mark.parametrize("factor", [2.0, 0.5, 1.3, 0.7])
def test_scale_factor_equals_torch(factor):
    x = np.random.default_rng(1).normal(size=(1, 2, 7, 10))
    reference = torch.nn.functional.interpolate(torch.tensor(x), scale_factor=factor, mode="bilinear").numpy()
    double = resize(paddle.to_tensor(x), scale_factor=factor).numpy()
    single = resize(paddle.to_tensor(x.astype("float32")), scale_factor=factor).numpy()
    np.testing.assert_allclose(double, reference, rtol=0, atol=1e-13)
    np.testing.assert_allclose(single, reference, rtol=0, atol=5e-6)


def test_gradient_in_float64_equals_torch():
    x = np.random.default_rng(2).normal(size=(1, 2, 5, 6))
    ours = paddle.to_tensor(x, stop_gradient=False)
    (resize(ours, (8, 11)) ** 2).sum().backward()
    theirs = torch.tensor(x, requires_grad=True)
    (torch.nn.functional.interpolate(theirs, size=(8, 11), mode="bilinear") ** 2).sum().backward()
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=0, atol=1e-12)


def test_needs_one_of_size_and_factor():
    with pytest.raises(ValueError, match="either size or scale_factor"):
        resize(paddle.zeros([1, 1, 2, 2]))
    with pytest.raises(ValueError, match="nearest, bilinear or bicubic"):
        resize(paddle.zeros([1, 1, 2, 2], "float64"), (3, 3), mode="area")
