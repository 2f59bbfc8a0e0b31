"""The golden runner on a bundle that the torch twin wrote: clean, then with one fault planted at a time."""
from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from alignment import __main__ as command
from alignment import golden, worker
from alignment.bundle import Bundle
from alignment.cases import mvf
from alignment.record import record

pytest.importorskip("torch")
KEPT = ("logits", "maxpool", "layer1", "layer2", "loss_cls", "label_smooth_0.1")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Half a ResNet-18 with fusion blocks on two clips of 16x17 pixels, and what the Paddle side answers to it."""
    manifest = mvf._case("tiny", depth=18, frames=2, classes=3, size=(16, 17), clips=2, mvf_freq=[0, 1])
    manifest["config"]["backbone"].update(num_stages=2, out_indices=[1])
    manifest["config"]["cls_head"]["in_channels"] = 128
    manifest["stages"] = {name: manifest["stages"][name] for name in ("forward", "loss")}
    folder = record(manifest, tmp_path_factory.mktemp("bundle") / "tiny")
    described = json.loads((folder / "manifest.json").read_text())
    with np.load(folder / "values.npz") as file:
        values = {key: file[key] for key in file.files if key.split("/")[1] in KEPT}
    described["arrays"] = {key: described["arrays"][key] for key in values}
    np.savez(folder / "values.npz", **values)
    (folder / "manifest.json").write_text(json.dumps(described))
    real, answers = worker.ask, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "ask", lambda *args, **kwargs: answers.append(real(*args, **kwargs)) or answers[-1])
        result = golden.run_bundle(Bundle.read(folder))
    return folder, result, answers[0]


@pytest.fixture
def bundle(recorded, tmp_path, monkeypatch):
    """A copy of the bundle to spoil; the Paddle side answers from memory, and no draw of the twin is excused."""
    folder, _, answer = recorded
    copy = tmp_path / "tiny"
    shutil.copytree(folder, copy)

    def ask(side, manifest, stages, **options):
        labels = {stage["label"] for stage in stages}
        keep = {key: array for key, array in answer.arrays.items() if key.split("/")[0] in labels}
        return worker.Answer(keep, answer.shapes, answer.summaries, answer.finite, {}, None, {}, {})
    monkeypatch.setattr(worker, "ask", ask)
    return copy


def spoil(folder, key, change=None, **facts):
    """Change a recorded value, or what the manifest says of it."""
    with np.load(folder / "values.npz") as file:
        values = {name: file[name] for name in file.files}
    manifest = json.loads((folder / "manifest.json").read_text())
    if change is not None:
        values[key] = change(values[key])
    manifest["arrays"].setdefault(key, {}).update(facts)
    np.savez(folder / "values.npz", **values)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def failed(folder, **options):
    result = golden.run_bundle(Bundle.read(folder), **options)
    return [(verdict.key, verdict.finding) for verdict in result.verdicts if not verdict.passed]


def test_a_clean_bundle_passes(recorded):
    _, result, _ = recorded
    assert [verdict.key for verdict in result.verdicts if not verdict.passed] == []
    assert result.passed
    assert len(result.verdicts) == 2 * len(KEPT)
    assert all(verdict.relative < 1e-11 for verdict in result.verdicts if verdict.key.split("/")[0].endswith("64"))


def test_a_value_off_by_1e_7_is_seen_in_float64_only(bundle):
    for stage in ("forward", "forward64"):
        spoil(bundle, f"{stage}/layer2", lambda array: array + np.asarray(
            1e-7 * np.abs(array).max() * (np.arange(array.size) == 5).reshape(array.shape), array.dtype))
    assert failed(bundle) == [("forward64/layer2", "values")]


def test_one_value_between_the_samples_shows_in_the_summary(bundle):
    manifest = json.loads((bundle / "manifest.json").read_text())
    mean, magnitude, largest = manifest["arrays"]["forward64/layer1"]["summary"]
    spoil(bundle, "forward64/layer1", summary=[mean + 1e-7 * largest, magnitude, largest])
    assert failed(bundle) == [("forward64/layer1", "values")]


def test_a_wrong_shape_is_named(bundle):
    spoil(bundle, "loss64/loss_cls", shape=[1])
    assert failed(bundle) == [("loss64/loss_cls", "shape")]


def test_a_wrong_dtype_is_named(bundle):
    spoil(bundle, "loss/loss_cls", lambda array: array.astype("float64"))
    assert failed(bundle) == [("loss/loss_cls", "dtype")]


def test_a_key_that_is_not_produced_is_a_failure(bundle):
    with np.load(bundle / "values.npz") as file:
        values = {name: file[name] for name in file.files}
    np.savez(bundle / "values.npz", **values, **{"forward/unheard_of": np.ones(1, "float32")})
    spoil(bundle, "forward/unheard_of", shape=[1], dtype="float32", summary=[1, 1, 1])
    assert failed(bundle) == [("forward/unheard_of", "missing")]


def test_nan_in_the_record_fails(bundle):
    spoil(bundle, "forward/logits", lambda array: array * np.nan)
    assert failed(bundle) == [("forward/logits", "finite")]


def test_only_runs_the_named_stages(bundle):
    spoil(bundle, "loss64/loss_cls", lambda array: array + 1)
    assert failed(bundle, only=["forward", "forward64"]) == []
    assert failed(bundle, only=["loss64"]) == [("loss64/loss_cls", "values")]
    with pytest.raises(ValueError, match=r"no stage backwards; it has forward"):
        failed(bundle, only=["backwards"])


def test_exit_status_and_dump(bundle, tmp_path, capsys):
    dump = tmp_path / "computed.npz"
    assert command.main(["golden", str(bundle), "--dump", str(dump)]) == 0
    with np.load(dump) as computed, np.load(bundle / "values.npz") as values:
        assert set(computed.files) == set(values.files)
        for key in values.files:
            assert computed[key].dtype == values[key].dtype
            assert computed[key].size == values[key].size
    spoil(bundle, "forward64/layer2", lambda array: array * 1.01)
    assert command.main(["golden", str(bundle), "--quiet"]) == 1
    printed = capsys.readouterr().out
    assert "FAIL" in printed
    assert "forward64/layer2" in printed


def test_losses_noted_in_float64_by_a_float32_run_are_judged_as_float32(madeup, tmp_path):
    """Also where the bundle has no float64 stage; a rate in the same stage keeps float64's rule."""
    def change(side, dtype, stage, arrays):
        if dtype == "float32" and "losses" in arrays:
            noise = 2e-7 * (1 + len(madeup.asked) % 3) * (-1) ** len(madeup.asked)
            arrays["losses"] = arrays["losses"].astype("float64") * (1 + noise)
        return arrays
    madeup.change = change
    folder = record(madeup.manifest(), tmp_path / "tiny", ["train"])
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["stages"]["train64"]
    manifest["arrays"] = {key: facts for key, facts in manifest["arrays"].items() if key.startswith("train/")}
    with np.load(folder / "values.npz") as file:
        values = {key: file[key] for key in manifest["arrays"]}
    assert values["train/losses"].dtype == np.float64
    np.savez(folder / "values.npz", **values)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert failed(folder) == []
    spoil(folder, "train/rates", lambda array: array * (1 + 1e-8))
    assert failed(folder) == [("train/rates", "values")]


@pytest.mark.parametrize("arguments", [
    ["nowhere"], ["BUNDLE", "--only", "nothing"], ["BUNDLE", "BUNDLE", "--dump", "x"], []])
def test_unusable_arguments(bundle, arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(["golden", *(str(bundle) if word == "BUNDLE" else word for word in arguments)])
    assert stop.value.code == 2
    assert capsys.readouterr().err
