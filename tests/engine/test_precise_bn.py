import numpy as np
import paddle
import pytest
from paddle import nn

from engine.precise_bn import update_statistics
from models.layers import BatchNorm1D, batch_norms

BATCHES = [np.random.default_rng(seed).standard_normal((5, 3)) * (seed + 1) for seed in range(4)]


def build():
    paddle.set_default_dtype("float64")
    network = nn.Sequential(BatchNorm1D(3), nn.Linear(3, 3), BatchNorm1D(3), nn.Dropout(0.5))
    paddle.set_default_dtype("float32")
    return network


@pytest.mark.parametrize("unbiased, ddof", [(False, 0), (True, 1)])
def test_statistics_are_plain_averages_over_the_batches(unbiased, ddof):
    network = build()
    weights = [p.numpy() for p in network.parameters() if not p.stop_gradient]
    used = update_statistics(network, map(paddle.to_tensor, BATCHES), network, count=3, unbiased=unbiased)
    first, second = batch_norms(network)
    assert used == 3
    np.testing.assert_allclose(first._mean.numpy(), np.mean([x.mean(0) for x in BATCHES[:3]], 0), rtol=1e-12)
    np.testing.assert_allclose(first._variance.numpy(), np.mean([x.var(0, ddof=ddof) for x in BATCHES[:3]], 0),
                               rtol=1e-12)
    hidden = []
    for x in BATCHES[:3]:
        normal = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
        hidden.append(normal @ network[1].weight.numpy() + network[1].bias.numpy())
    np.testing.assert_allclose(second._variance.numpy(), np.mean([h.var(0, ddof=ddof) for h in hidden], 0), rtol=1e-9)
    for before, after in zip(weights, [p for p in network.parameters() if not p.stop_gradient], strict=True):
        assert np.array_equal(before, after.numpy())
    assert (first._momentum, first.unbiased) == (0.9, True)


def test_frozen_layers_keep_theirs():
    network = build()
    network[0].eval()
    update_statistics(network, map(paddle.to_tensor, BATCHES), network, count=10)
    assert np.array_equal(network[0]._mean.numpy(), np.zeros(3))
    assert not np.array_equal(network[2]._mean.numpy(), np.zeros(3))


def test_a_network_without_batch_norm_needs_no_batch():
    assert update_statistics(nn.Linear(2, 2), iter([]), None, count=5) == 0


def test_no_batch_is_an_error_and_changes_nothing():
    network = build()
    with pytest.raises(ValueError, match="at least one batch"):
        update_statistics(network, [], network, count=5)
    assert np.array_equal(network[0]._variance.numpy(), np.ones(3)) and network[0]._momentum == 0.9
