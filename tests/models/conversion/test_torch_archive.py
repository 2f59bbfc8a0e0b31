"""PyTorch's archives are read without executing or needing anything of theirs."""
import argparse
import os

import numpy as np
import pytest

from models import weights
from models.conversion import torch_archive

torch = pytest.importorskip("torch")


def test_saved_state_equals_torch(tmp_path):
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    state = {"a": base, "view": base.t()[1:3], "half": torch.ones(3, dtype=torch.float16) / 3,
             "brain": torch.tensor([1.5, -2.25], dtype=torch.bfloat16), "scalar": torch.tensor(2.5),
             "ids": torch.tensor([[1, 2]]), "parameter": torch.nn.Parameter(torch.ones(2)), "empty": torch.zeros(0, 3)}
    torch.save({"model": state, "epoch": 3}, tmp_path / "x.pth")
    content = torch_archive.read(tmp_path / "x.pth")
    assert content["epoch"] == 3
    for name, tensor in state.items():
        want = tensor.detach().float().numpy() if name == "brain" else tensor.detach().numpy()
        np.testing.assert_array_equal(content["model"][name], want)
        assert content["model"][name].dtype == want.dtype and content["model"][name].shape == want.shape


def test_torchscript_module_gives_its_state_dict(tmp_path):
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).half()
    module.register_buffer("input_resolution", torch.tensor(224))
    torch.jit.script(module).save(str(tmp_path / "clip.pt"))
    found = weights.read(tmp_path / "clip.pt")
    want = module.state_dict()
    assert sorted(found) == sorted(want)
    for name, tensor in want.items():
        np.testing.assert_array_equal(found[name], tensor.numpy())


class Config(dict):
    """Stands for the yacs node in X-CLIP's files."""


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_unknown_objects_stay_inert(tmp_path):
    torch.save({"model": {"w": torch.ones(2), "v": torch.zeros(1)}, "config": Config(a=1),
                "more": argparse.Namespace(b=2), "bad": Harmful(tmp_path / "made")}, tmp_path / "k400.pth")
    found = weights.read(tmp_path / "k400.pth")
    assert sorted(found) == ["v", "w"]
    assert not (tmp_path / "made").exists()


def test_both_dictionaries_of_actionclip(tmp_path):
    torch.save({"epoch": 1, "model_state_dict": {"logit_scale": torch.tensor(1.0), "ln_final.bias": torch.ones(2)},
                "fusion_model_state_dict": {"module.shift.weight": torch.ones(2, 1, 3)}}, tmp_path / "a.pt")
    assert sorted(weights.read(tmp_path / "a.pt")) == ["ln_final.bias", "logit_scale", "module.shift.weight"]


def test_damaged_archive_is_named(tmp_path):
    torch.save({"w": torch.ones(100)}, tmp_path / "x.pth")
    content = (tmp_path / "x.pth").read_bytes()
    (tmp_path / "x.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"x\.pth"):
        weights.read(tmp_path / "x.pth")
