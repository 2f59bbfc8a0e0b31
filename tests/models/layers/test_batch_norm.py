import numpy as np
import paddle
import pytest

from models.layers import BatchNorm1D, BatchNorm2D, BatchNorm3D

torch = pytest.importorskip("torch")

KINDS = [(BatchNorm1D, torch.nn.BatchNorm1d, (4, 3)), (BatchNorm1D, torch.nn.BatchNorm1d, (2, 3, 5)),
         (BatchNorm2D, torch.nn.BatchNorm2d, (2, 3, 2, 3)), (BatchNorm3D, torch.nn.BatchNorm3d, (2, 3, 2, 2, 3))]


@pytest.mark.parametrize(("ours", "theirs", "shape"), KINDS)
def test_three_updates_equal_torch_in_float64(ours, theirs, shape):
    norm, reference = ours(3), theirs(3).double()
    norm.to(dtype="float64")
    rng = np.random.default_rng(0)
    for _ in range(3):
        x = rng.normal(1.0, 2.0, shape)
        y = norm(paddle.to_tensor(x))
        np.testing.assert_allclose(y.numpy(), reference(torch.tensor(x)).detach().numpy(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(norm._mean.numpy(), reference.running_mean.numpy(), rtol=0, atol=1e-14)
    np.testing.assert_allclose(norm._variance.numpy(), reference.running_var.numpy(), rtol=1e-13)
    norm.eval()
    reference.eval()
    np.testing.assert_allclose(norm(paddle.to_tensor(x)).numpy(), reference(torch.tensor(x)).detach().numpy(),
                               rtol=0, atol=1e-12)


def test_biased_variance_on_request():
    norm, paddles = BatchNorm2D(2), paddle.nn.BatchNorm2D(2)
    norm.unbiased = False
    x = paddle.to_tensor(np.random.default_rng(1).normal(size=(1, 2, 2, 2)).astype("float32"))
    norm(x), paddles(x)
    np.testing.assert_allclose(norm._variance.numpy(), paddles._variance.numpy(), rtol=1e-6)


def test_gradients_equal_torch_in_training():
    x = np.random.default_rng(2).normal(size=(3, 2, 4, 5))
    norm, reference = BatchNorm2D(2), torch.nn.BatchNorm2d(2).double()
    norm.to(dtype="float64")
    ours, theirs = paddle.to_tensor(x, stop_gradient=False), torch.tensor(x, requires_grad=True)
    (norm(ours) ** 3).sum().backward()
    (reference(theirs) ** 3).sum().backward()
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=0, atol=1e-11)
    np.testing.assert_allclose(norm.weight.grad.numpy(), reference.weight.grad.numpy(), rtol=1e-11)


def test_one_value_per_channel_is_refused():
    with pytest.raises(ValueError, match="more than one value"):
        BatchNorm2D(2)(paddle.ones([1, 2, 1, 1]))


def test_frozen_statistics_do_not_move():
    norm = BatchNorm2D(2)
    norm.train()
    norm._use_global_stats = True
    norm(paddle.randn([2, 2, 3, 3]) + 5.0)
    assert norm._mean.numpy().tolist() == [0.0, 0.0]
