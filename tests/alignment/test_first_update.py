"""What stands after the first update, by the same names, layouts and values on both sides."""
from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from paddle import nn  # noqa: E402

from alignment import paddle_tools, torch_tools, worker  # noqa: E402
from alignment.bundle import Run  # noqa: E402
from engine.optimization import Group, Optimizer  # noqa: E402
from engine.schedules import constant  # noqa: E402

STATE = {"0.weight": np.arange(6.0).reshape(3, 2) / 7, "0.bias": np.array([0.1, -0.2, 0.3]),
         "1.weight": np.array([[0.5, -0.4, 0.2]]), "1.bias": np.array([0.05])}
X = np.array([[1.0, 2.0], [-0.5, 0.3]])


def ours(dtype, **options):
    network = paddle_tools.build(lambda: nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)), STATE, dtype)
    optimizer = Optimizer([Group("all", network.parameters(), constant(0.1), 0.01)], **options)
    (x,) = paddle_tools.tensors({"x": X.astype(dtype)}, "x")
    for _ in range(3):
        (network(x) ** 2).mean().backward()
        optimizer.step()
        optimizer.clear_grad()


def twin(make):
    network = torch_tools.build(lambda: torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1)), STATE,
                                "float64")
    optimizer = make(network.parameters())
    for _ in range(3):
        optimizer.zero_grad()
        (network(torch.from_numpy(X)) ** 2).mean().backward()
        optimizer.step()


@pytest.mark.parametrize(("options", "make", "slots"), [
    ({"kind": "sgd", "momentum": 0.9}, lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
     ["momentum_buffer"]),
    ({"kind": "adamw"}, lambda p: torch.optim.AdamW(p, 0.1, weight_decay=0.01), ["exp_avg", "exp_avg_sq"])])
def test_both_sides_agree(options, make, slots):
    with paddle_tools.FirstUpdate() as here:
        ours("float64", **options)
    with torch_tools.FirstUpdate() as there:
        twin(make)
    names = [f"first:{name}" for name in STATE] + [f"first:{slot}:{name}" for slot in slots for name in STATE]
    assert list(there.arrays) == names and set(here.arrays) == set(names)
    for name in names:
        np.testing.assert_allclose(here.arrays[name], there.arrays[name], rtol=0, atol=1e-14)
    assert np.abs(here.arrays["first:0.weight"] - STATE["0.weight"].reshape(-1)).max() > 1e-3


def test_later_updates_do_not_count_and_nothing_is_left_behind():
    step = Optimizer.step
    with paddle_tools.FirstUpdate() as one:
        ours("float64", kind="sgd")
    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1)).double()
    network.load_state_dict({name: torch.from_numpy(array) for name, array in STATE.items()})
    (network(torch.from_numpy(X)) ** 2).mean().backward()
    bias = STATE["1.bias"] - 0.1 * (network[1].bias.grad.numpy() + 0.01 * STATE["1.bias"])
    np.testing.assert_allclose(one.arrays["first:1.bias"], bias, rtol=1e-12)
    assert Optimizer.step is step and not paddle_tools.FirstUpdate.active and not torch_tools.FirstUpdate.active


def test_slots_of_float32_kernels_are_left_out():
    with paddle_tools.FirstUpdate() as one:
        ours("float32", kind="adamw")
    assert set(one.arrays) == {f"first:{name}" for name in STATE}


def test_rates_come_first_and_a_bundle_without_such_keys_gets_none():
    class Case:
        @staticmethod
        def stages(network):
            def train(run):
                ours("float64", kind="sgd")
                return {"losses": np.zeros(3), "rates": np.ones(3)}
            return {"train": train}
    manifest = {"system": "x", "stages": {"train": {}}, "config": {}}
    names = list(worker._compute(Case, "paddle", Run(manifest, "train", "float64")))
    assert names[0] == "rates" and names[1] == "first:0.weight" and names[-1] == "losses"
    only = worker._compute(Case, "paddle", Run(manifest, "train", "float64", ["losses"]))
    assert list(only) == ["losses", "rates"]
