import os
import pickle

import numpy as np
import paddle
import pytest

from models import weights

torch = pytest.importorskip("torch")


def test_pdparams_equal_what_paddle_reads(tmp_path):
    network = paddle.nn.Linear(3, 2)
    paddle.save(network.state_dict(), str(tmp_path / "a.pdparams"))
    read = weights.read(tmp_path / "a.pdparams")
    np.testing.assert_array_equal(read["weight"], network.weight.numpy())
    assert sorted(read) == ["bias", "weight"]


@pytest.mark.parametrize("wrap", [
    lambda s: s, lambda s: {"state_dict": s, "meta": {"epoch": 3}}, lambda s: {"model": s},
    lambda s: {"model_state_dict": s, "epoch": 1}, lambda s: {f"module.{k}": v for k, v in s.items()},
    lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}, "optimizer": {"lr": 0.1}}])
def test_pth_wrappers(tmp_path, wrap):
    state = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}
    torch.save(wrap(state), tmp_path / "x.pth")
    read = weights.read(tmp_path / "x.pth")
    np.testing.assert_array_equal(read["a.weight"], np.arange(6.0).reshape(2, 3))
    assert read["b"].dtype == np.float32


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("suffix", ["pdparams", "pth"])
def test_code_in_a_file_is_never_run(tmp_path, suffix):
    target, file = tmp_path / "made", tmp_path / f"evil.{suffix}"
    content = {"weight": np.zeros(2), "attack": Attack(target)}
    if suffix == "pth":
        torch.save(content, file)
    else:
        file.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=f"evil.{suffix}"):
        weights.read(file)
    assert not target.exists()


def test_missing_file_says_what_is_there(tmp_path):
    (tmp_path / "other.pdparams").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"other\.pdparams"):
        weights.read(tmp_path / "model.pdparams")


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps([1, 2]), pickle.dumps({"epoch": 3})])
def test_damaged_or_foreign_files_are_refused(tmp_path, content):
    (tmp_path / "a.pdparams").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.pdparams"):
        weights.read(tmp_path / "a.pdparams")


def test_truncated_file_is_refused(tmp_path):
    paddle.save(paddle.nn.Linear(30, 20).state_dict(), str(tmp_path / "a.pdparams"))
    whole = (tmp_path / "a.pdparams").read_bytes()
    (tmp_path / "a.pdparams").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"a\.pdparams"):
        weights.read(tmp_path / "a.pdparams")


def test_unknown_suffix(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ValueError, match="unknown kind"):
        weights.read(tmp_path / "a.txt")
