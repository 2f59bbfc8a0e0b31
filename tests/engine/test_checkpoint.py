import json
import os
import pickle

import numpy as np
import paddle
import pytest

from engine import checkpoint
from engine.checkpoint import NonFiniteWeights, State, find, is_better, load, read_state, revision, save
from engine.optimization import Group, Optimizer
from engine.schedules import constant
from models.conversion import WeightMismatch


def build(width=3, kind="adam"):
    network = paddle.nn.Sequential(paddle.nn.Linear(2, width), paddle.nn.BatchNorm1D(width))
    return network, Optimizer([Group("all", network.named_parameters(), constant(0.1))], kind=kind, momentum=0.9)


def trained(steps=2):
    network, optimizer = build()
    for _ in range(steps):
        network(paddle.rand([5, 2])).square().sum().backward()
        optimizer.step()
        optimizer.clear_grad()
    return network, optimizer


def test_round_trip(tmp_path):
    network, optimizer = trained()
    state = State(epoch=3, step=4, updates=2, best=0.5, best_epoch=2, config={"a": [1, 2]})
    save(tmp_path / "latest", network, optimizer, state)
    other, fresh = build()
    assert load(tmp_path / "latest", other, fresh) == state
    assert fresh.updates == 2
    for (name, wanted), found in zip(network.state_dict().items(), other.state_dict().values(), strict=True):
        assert np.array_equal(wanted.numpy(), found.numpy()), name
    for name, wanted in optimizer.slots().items():
        assert np.array_equal(wanted.numpy(), fresh.slots()[name].numpy()), name


def test_paddle_reads_the_files(tmp_path):
    network, optimizer = trained()
    save(tmp_path / "best", network, optimizer, State())
    weights = paddle.load(str(tmp_path / "best" / "model.pdparams"))
    assert network.set_state_dict(weights) == ([], [])
    assert np.array_equal(paddle.load(str(tmp_path / "best" / "model.pdopt"))["exp_avg:0.weight"].numpy(),
                          optimizer.slots()["exp_avg:0.weight"].numpy())


def test_non_finite_weights_are_not_written(tmp_path):
    network, optimizer = trained()
    save(tmp_path / "latest", network, optimizer, State(updates=1))
    network[0].weight.set_value(paddle.full([2, 3], float("inf")))
    with pytest.raises(NonFiniteWeights, match=r"latest is left as it is: after 2 updates 0\.weight"):
        save(tmp_path / "latest", network, optimizer, State(updates=2))
    assert read_state(tmp_path / "latest").updates == 1


def test_find(tmp_path):
    save(tmp_path / "out" / "latest", *trained(), State())
    latest = tmp_path / "out" / "latest"
    for path in (latest, tmp_path / "out", latest / "model.pdparams", latest / "state.json"):
        assert find(path) == latest


def test_find_says_what_is_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere is no checkpoint: .* but there is no such folder"):
        find(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(FileNotFoundError, match=r"but it holds notes\.txt"):
        find(tmp_path)


def test_a_swap_cut_in_two_is_mended(tmp_path):
    save(tmp_path / "latest", *trained(), State(updates=7))
    os.rename(tmp_path / "latest", tmp_path / ".latest.old")
    assert read_state(tmp_path / "latest").updates == 7


def test_another_network_or_optimizer_is_refused(tmp_path):
    save(tmp_path / "latest", *trained(), State())
    with pytest.raises(WeightMismatch, match=r"model\.pdparams"):
        load(tmp_path / "latest", *build(width=4))
    with pytest.raises(ValueError, match=r"model\.pdopt: optimizer state of another kind"):
        load(tmp_path / "latest", *build(kind="sgd"))


def test_a_file_that_runs_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "hacked"),)

    save(tmp_path / "latest", *trained(), State())
    (tmp_path / "latest" / "model.pdopt").write_bytes(pickle.dumps({"updates": Evil()}))
    with pytest.raises(ValueError, match="mkdir"):
        load(tmp_path / "latest", *build())
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("text", ["{", json.dumps({"epoch": 1, "surprise": 2})])
def test_a_damaged_state(tmp_path, text):
    save(tmp_path / "latest", *trained(), State())
    (tmp_path / "latest" / "state.json").write_text(text)
    with pytest.raises(ValueError, match=r"state\.json is not the state of a run"):
        read_state(tmp_path / "latest")


def test_revision_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "")
    revision.cache_clear()
    assert revision() is None
    revision.cache_clear()


def test_is_better():
    assert is_better(-5.0, None) and is_better(2.0, 1.0)
    assert not is_better(1.0, 1.0) and not is_better(float("nan"), None) and not is_better(0.0, 1.0)
    assert checkpoint.LATEST == "latest" and checkpoint.BEST == "best"
