"""Stand-ins serve imports of absent packages, and nothing else."""
from __future__ import annotations

import sys

import pytest
import torch

from alignment.upstream import shims


@pytest.fixture
def finder(monkeypatch):
    """Stand-ins of two packages that do not exist, and of one that does."""
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    before = set(sys.modules)
    yield shims.install(("neverwas", "json"), {"neverwas.cnn": {"twice": lambda x: 2 * x}})
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_what_is_installed_is_left_alone(finder):
    sys.modules.pop("json.tool", None)
    import json.tool
    assert hasattr(json.tool, "main")
    assert finder.stood_in == []


def test_names_of_the_table_work(finder):
    from neverwas.cnn import twice
    assert twice(4) == 8
    assert finder.stood_in == ["neverwas"]


def test_a_submodule_is_found_as_a_name_of_its_package(finder):
    from neverwas import cnn
    assert cnn.twice(1) == 2


def test_other_names_can_be_inherited_from_and_raise_when_made(finder):
    from neverwas.runner import Hook

    class Mine(Hook):
        pass
    with pytest.raises(shims.NotProvided, match=r"calls neverwas\.runner\.Hook, .* pip install neverwas"):
        Mine()


def test_names_of_absent_names_are_absent_too(finder):
    import neverwas.data as data
    with pytest.raises(shims.NotProvided, match=r"neverwas\.data\.erasing\.Erase"):
        data.erasing.Erase()


def test_other_packages_are_still_missing(finder):
    with pytest.raises(ModuleNotFoundError):
        import certainlynothing  # noqa: F401


def test_a_stand_in_can_be_forced(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.delitem(sys.modules, "this", raising=False)
    used = shims.install((), {"this": {"s": 5}}, forced=["this"])
    import this
    assert this.s == 5
    assert used.stood_in == ["this"]
    del sys.modules["this"]


def test_a_float64_run_does_not_round_through_float32():
    x = torch.full((2,), 1 / 3, dtype=torch.float64)
    assert not torch.equal(x.float().double(), x)
    with shims.precision("float64"):
        assert x.float().dtype == x.type(torch.float32).dtype == torch.zeros(1).dtype == torch.float64
        assert x.type(torch.int64).dtype == torch.int64
        assert (x > 0).float().dtype == torch.float32
        assert torch.arange(2).float().dtype == torch.float64
        assert torch.empty(2, 3, dtype=torch.float32).dtype == torch.float64
        assert torch.zeros(1, dtype=torch.uint8).dtype == torch.uint8
    assert torch.zeros(1, dtype=torch.float32).dtype == torch.float32
    assert x.float().dtype == torch.zeros(1).dtype == torch.float32


def test_a_float32_run_is_left_as_it_is():
    with shims.precision("float32"):
        assert torch.ones(1, dtype=torch.float64).float().dtype == torch.float32


def test_the_losses_of_timm_are_those_of_their_formula():
    names = shims.torch_names()["timm.loss"]
    logits, labels = torch.tensor([[2.0, 0.5, -1.0], [0.1, 0.2, 0.3]]), torch.tensor([0, 2])
    soft = torch.full((2, 3), 0.1 / 3)
    soft[[0, 1], labels] += 0.9
    expected = -(soft * torch.log_softmax(logits, 1)).sum(1).mean()
    torch.testing.assert_close(names["SoftTargetCrossEntropy"]()(logits, soft), expected)
    torch.testing.assert_close(names["LabelSmoothingCrossEntropy"](0.1)(logits, labels), expected)


def test_drop_path_that_drops_asks_for_the_real_one():
    layer = shims.torch_names()["timm.models.layers"]["DropPath"](0.5)
    assert layer.eval()(torch.ones(1)) == 1
    with pytest.raises(shims.NotProvided, match="install timm"):
        layer.train()(torch.ones(1))
