import numpy as np
import paddle
import pytest
from paddle import nn

from models import conversion
from models.conversion import WeightMismatch
from models.layers import BatchNorm2D


class Small(nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2D(3, 4, 3)
        self.bn = BatchNorm2D(4)
        self.square = nn.Linear(4, 4)
        self.norm = nn.LayerNorm([2, 2])
        self.rnn = nn.LSTM(4, 4)


@pytest.fixture
def network():
    paddle.seed(0)
    return Small()


@pytest.fixture
def upstream(network):
    return conversion.to_upstream(conversion.arrays(network), network)


def test_round_trip_is_exact(network, upstream):
    back = conversion.from_upstream(upstream, network)
    own = conversion.arrays(network)
    assert back.keys() == own.keys()
    for name, array in own.items():
        np.testing.assert_array_equal(back[name], array)


def test_square_linear_weight_is_transposed_by_layer_type(network, upstream):
    np.testing.assert_array_equal(upstream["square.weight"], network.square.weight.numpy().T)


def test_batch_norm_statistics_are_renamed_and_counters_dropped(network, upstream):
    assert "bn.running_var" in upstream and "bn._variance" not in upstream
    upstream["bn.num_batches_tracked"] = np.int64(7)
    conversion.from_upstream(upstream, network)


def test_layer_norm_over_two_axes_is_flattened(network, upstream):
    upstream["norm.weight"] = upstream["norm.weight"].reshape(2, 2)
    assert conversion.from_upstream(upstream, network)["norm.weight"].shape == (4,)


def test_an_lstm_lists_each_weight_once(network):
    names = [name for name in conversion.entries(network) if name.startswith("rnn.")]
    assert len(names) == 4
    assert conversion.load(network, conversion.arrays(network)) == len(conversion.entries(network))


def test_everything_wrong_is_listed_together_and_nothing_is_loaded(network, upstream):
    before = conversion.arrays(network)
    del upstream["conv.bias"]
    upstream["stray.weight"] = np.zeros(3)
    upstream["bn.weight"] = np.zeros(5)
    with pytest.raises(WeightMismatch) as error:
        conversion.load(network, conversion.from_upstream(upstream, network, source="file.pth"))
    assert error.value.missing == ["conv.bias"]
    assert error.value.unexpected == ["stray.weight"]
    assert error.value.misshapen == ["bn.weight: [5] in the file, the network needs [4]"]
    assert "file.pth" in str(error.value)
    for name, array in conversion.arrays(network).items():
        np.testing.assert_array_equal(array, before[name])


def test_dropped_entries_are_named(network, upstream):
    upstream["head.weight"] = np.zeros(3)
    conversion.from_upstream(upstream, network, dropped=(r"^head\.",))


def test_two_of_ours_must_not_share_an_upstream_name(network):
    with pytest.raises(ValueError, match="one upstream name"):
        conversion.upstream_names(network, lambda name: name.replace("weight", "bias"))


def test_partial_file_keeps_the_rest(network, upstream):
    part = {name.removeprefix("conv."): array + 1 for name, array in upstream.items() if name.startswith("conv.")}
    state = conversion.from_partial(part, network,
                                    lambda name: name.removeprefix("conv.") if name.startswith("conv.") else None)
    np.testing.assert_array_equal(state["conv.weight"], network.conv.weight.numpy() + 1)
    np.testing.assert_array_equal(state["square.weight"], network.square.weight.numpy())
    with pytest.raises(WeightMismatch):
        conversion.from_partial({"weight": part["weight"]}, network,
                                lambda name: name.removeprefix("conv.") if name.startswith("conv.") else None)


def test_load_casts_half_precision_exactly(network):
    half = {name: array.astype("float16") for name, array in conversion.arrays(network).items()}
    conversion.load(network, half)
    np.testing.assert_array_equal(network.conv.weight.numpy(), half["conv.weight"].astype("float32"))
