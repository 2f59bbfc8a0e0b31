import numpy as np
import paddle
import pytest

from losses.classification import smoothed_cross_entropy

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.35])
@pytest.mark.parametrize("shape", [[4], [4, 1]])
def test_equals_torch_in_float64(smoothing, shape):
    logits, labels = np.random.default_rng(0).normal(size=(4, 7)) * 5, np.array([6, 0, 3, 3])
    ours = smoothed_cross_entropy(paddle.to_tensor(logits), paddle.to_tensor(labels.reshape(shape)), smoothing)
    theirs = torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor(labels), label_smoothing=smoothing)
    assert ours.shape == []
    np.testing.assert_allclose(ours.item(), theirs.item(), rtol=1e-14)


def test_floor_of_the_recipe():
    """A perfect classifier of 101 classes cannot go below 0.779 with smoothing 0.1."""
    target = np.full(101, 0.1 / 101)
    target[0] += 0.9
    loss = smoothed_cross_entropy(paddle.to_tensor(np.log(target)[None]), paddle.to_tensor([0]), 0.1)
    np.testing.assert_allclose(loss.item(), 0.779, atol=5e-4)


def test_a_batch_of_one_stays_a_batch():
    assert smoothed_cross_entropy(paddle.zeros([1, 3]), paddle.to_tensor([[2]]), 0.1).shape == []
