"""The command around PaDiff; PaDiff itself where it is installed."""
from __future__ import annotations

import importlib.util
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import paddle
import pytest
import torch

from alignment import padiff_check
from alignment.__main__ import main

with_padiff = pytest.mark.skipif(importlib.util.find_spec("padiff") is None, reason="needs PaDiff 0.3.0")


def linear_pair() -> padiff_check.Pair:
    twin, ours = torch.nn.Linear(3, 2).double(), paddle.nn.Linear(3, 2).to(dtype="float64")
    ours.weight.set_value(twin.weight.detach().numpy().T)
    ours.bias.set_value(twin.bias.detach().numpy())
    return padiff_check.Pair(twin, ours, {"x": np.ones((4, 3))}, padiff_check._by_position, padiff_check._by_position)


@pytest.fixture
def simple(monkeypatch):
    monkeypatch.setattr(padiff_check, "PAIRS", {"simple": ("a matrix", linear_pair)})


@pytest.fixture
def stand_in(monkeypatch):
    """A module in PaDiff's place that compares outputs; ``answer`` overrides what it finds."""
    module = ModuleType("padiff")
    module.answer = None

    def auto_diff(twin, ours, given, loss_fns, **options):
        assert options["compare_mode"] == "strict" and options["auto_init"] is False
        if isinstance(module.answer, Exception):
            raise module.answer
        found = np.allclose(twin(**given[0]).detach().numpy(), ours(**given[1]).numpy(), options["rtol"],
                            options["atol"])
        return found if module.answer is None else module.answer
    module.auto_diff, module.create_model = auto_diff, lambda network, name: network
    module.__spec__ = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "padiff", module)
    return module


def test_equal_networks_agree_and_a_moved_weight_is_seen(simple, stand_in, capsys):
    assert main(["padiff", "simple"]) == 0
    assert capsys.readouterr().out == "ok   simple, a matrix: agree; with one weight moved by 0.001: differ\n"


def test_a_check_that_never_fails_is_a_failure(simple, stand_in, capsys):
    stand_in.answer = True
    assert main(["padiff"]) == 1
    assert "with one weight moved by 0.001: agree" in capsys.readouterr().out


def test_what_padiff_stops_with_is_its_result(simple, stand_in, capsys):
    stand_in.answer = IndexError("in a hook")
    assert main(["padiff"]) == 1
    assert "FAIL simple, a matrix: IndexError: in a hook" in capsys.readouterr().out


def test_without_padiff_the_command_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as caught:
        main(["padiff"])
    assert caught.value.code == 2
    assert "pip install git+" in capsys.readouterr().err


def test_an_older_padiff_is_refused(stand_in, capsys):
    del stand_in.create_model
    with pytest.raises(SystemExit):
        main(["padiff"])
    assert "older than 0.3.0" in capsys.readouterr().err


def test_an_unknown_system_is_named(capsys):
    with pytest.raises(SystemExit):
        main(["padiff", "bert"])
    assert "bert: no such system" in capsys.readouterr().err


@with_padiff
def test_padiff_itself(simple, capsys):
    assert main(["padiff", "simple"]) == 0, capsys.readouterr().out
