"""Planting: what is changed comes back, and a fault that changes nothing says so."""
from __future__ import annotations

import types

import numpy as np
import paddle
import pytest
from paddle import nn

from alignment import paddle_tools
from alignment.faults import layers
from alignment.faults.fault import NotPlanted, find, in_network, replaced, wrapped
from models import conversion


class Base:
    def method(self):
        return "base"


class Derived(Base):
    pass


def test_a_replaced_value_comes_back_whatever_happens():
    module = types.SimpleNamespace(constant=1)
    with pytest.raises(KeyError), replaced(module, constant=2):
        assert module.constant == 2
        raise KeyError
    assert module.constant == 1


def test_a_replaced_inherited_method_leaves_nothing_behind():
    with replaced(Derived, method=lambda self: "fault"):
        assert Derived().method() == "fault" and Base().method() == "base"
    assert "method" not in vars(Derived) and Derived().method() == "base"


def test_what_is_absent_cannot_be_replaced():
    with pytest.raises(NotPlanted, match="no attribute rumour"), replaced(Derived, rumour=1):
        pass


def test_a_wrapped_function_that_is_never_called_is_no_fault():
    module = types.SimpleNamespace(__name__="module", double=lambda x: 2 * x)
    with wrapped(module, "double", lambda original, x: original(x) + 1):
        assert module.double(3) == 7
    assert module.double(3) == 6
    with pytest.raises(NotPlanted, match="double of module was never called"), \
            wrapped(module, "double", lambda original, x: x):
        pass


def build():
    return paddle_tools.build(lambda: nn.Sequential(nn.Linear(2, 2), nn.LayerList([nn.Linear(2, 3)])),
                              {"0.weight": paddle.eye(2).numpy(), "0.bias": paddle.zeros([2]).numpy(),
                               "1.0.weight": paddle.ones([3, 2]).numpy(), "1.0.bias": paddle.zeros([3]).numpy()},
                              "float32")


def test_a_layer_is_changed_after_its_weights_are_loaded():
    load = conversion.load
    with in_network("1.0", lambda layer: layer.bias.set_value(paddle.ones([3]))):
        assert build()[1][0].bias.numpy().tolist() == [1, 1, 1]
    assert conversion.load is load
    assert build()[1][0].bias.numpy().tolist() == [0, 0, 0]


@pytest.mark.parametrize("plant", [layers.attributes("0", training=True), layers.attributes("0", rumour=1),
                                   layers.values("0", np.zeros_like, "bias")])
def test_a_change_that_changes_nothing_is_no_fault(plant):
    with pytest.raises(NotPlanted, match="this is no fault"), plant():
        build().eval()


@pytest.mark.parametrize("path", ["1.1", "2", "0.rumour", "rumour.0"])
def test_a_path_without_a_layer_is_no_fault(path):
    assert find(build(), path) is None
    with pytest.raises(NotPlanted, match="no network has a layer"), in_network(path, lambda layer: None):
        build()
