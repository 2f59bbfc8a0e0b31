"""Reading golden bundles, and what a run hands to a stage."""
from __future__ import annotations

import json

import numpy as np
import pytest

from alignment.bundle import Bundle, Run, find_bundles, split_stage

MANIFEST = {"system": "madeup", "case": "tiny", "config": {}, "salt": "s", "state": [["fc.weight", [2, 3], "float32"]],
            "inputs": {"x": {"shape": [2, 3]}, "label": {"values": [1, 0], "dtype": "int64"}},
            "stages": {"forward": {"mode": "eval", "about": "logits"}, "forward64": {"about": "the same in float64"}},
            "arrays": {"forward/y": {"shape": [2], "dtype": "float32", "summary": [1.5, 1.5, 2.0]},
                       "forward64/y": {"shape": [2], "dtype": "float64", "summary": [1.5, 1.5, 2.0]}}}


def write(folder, manifest=MANIFEST, **values):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    found = {"forward/y": np.array([1, 2], "float32"), "forward64/y": np.array([1.0, 2.0])}
    np.savez(folder / "values.npz", **{**found, **values})
    return folder


def test_read(tmp_path):
    bundle = Bundle.read(write(tmp_path))
    assert bundle.stages == ["forward", "forward64"]
    assert bundle.keys("forward64") == ["y"]
    assert bundle.wanted("forward/y").tolist() == [1, 2]
    assert bundle.scale("forward/y") == 2.0


@pytest.mark.parametrize("name", ["manifest.json", "values.npz"])
def test_a_missing_file_is_named(tmp_path, name):
    (write(tmp_path) / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        Bundle.read(tmp_path)


def test_an_incomplete_manifest_says_what_it_lacks(tmp_path):
    write(tmp_path, {key: value for key, value in MANIFEST.items() if key not in ("state", "salt")})
    with pytest.raises(ValueError, match="lacks state"):
        Bundle.read(tmp_path)


def test_files_that_describe_different_keys_are_refused(tmp_path):
    write(tmp_path, **{"forward/z": np.zeros(1)})
    with pytest.raises(ValueError, match="forward/z"):
        Bundle.read(tmp_path)


def test_an_empty_bundle_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({**MANIFEST, "arrays": {}}))
    np.savez(tmp_path / "values.npz")
    with pytest.raises(ValueError, match="nothing to compare"):
        Bundle.read(tmp_path)


def test_find_bundles(tmp_path):
    write(tmp_path / "b")
    write(tmp_path / "a")
    assert [folder.name for folder in find_bundles(tmp_path)] == ["a", "b"]
    assert find_bundles(tmp_path / "a") == [tmp_path / "a"]
    for empty in (tmp_path / "none", tmp_path / "a" / "values.npz"):
        with pytest.raises(FileNotFoundError, match="no golden bundle"):
            find_bundles(tmp_path, empty)


def test_split_stage():
    assert split_stage("backward64") == ("backward", "float64")
    assert split_stage("backward") == ("backward", "float32")


def test_float64_inputs_are_the_float32_values_and_integers_stay():
    single, double = Run(MANIFEST, "forward", "float32"), Run(MANIFEST, "forward", "float64")
    assert single.inputs["x"].dtype == np.float32
    assert double.inputs["x"].dtype == np.float64
    np.testing.assert_array_equal(double.inputs["x"], single.inputs["x"].astype(np.float64))
    assert double.inputs["label"].dtype == np.int64
    assert double.state["fc.weight"].dtype == np.float64


def test_jitter_moves_float_inputs_by_at_most_half_a_unit_in_the_last_place():
    plain, moved = Run(MANIFEST, "forward", "float32").inputs, Run(MANIFEST, "forward", "float32", jitter=1).inputs
    assert np.all(np.abs(moved["x"] - plain["x"]) <= np.spacing(np.abs(plain["x"])))
    assert np.array_equal(moved["label"], plain["label"])


def test_stages_share_the_recipe_but_not_its_arrays():
    store = {}
    first, second = (Run(MANIFEST, name, "float32", store=store) for name in ("forward", "backward"))
    first.state["fc.weight"][:] = 0
    assert np.all(second.state["fc.weight"] != 0)


def test_the_float64_entry_repeats_only_what_differs():
    assert Run(MANIFEST, "forward", "float64").stage == {"mode": "eval", "about": "the same in float64"}
    assert Run(MANIFEST, "forward", "float32").stage["about"] == "logits"


def test_wants():
    assert Run(MANIFEST, "forward", "float32").wants("anything")
    assert not Run(MANIFEST, "forward", "float32", ["y"]).wants("z")


def test_stages_that_read_share_a_network_and_a_stage_that_changes_one_has_it_alone():
    built, networks = [], {}

    def build(run):
        built.append(run.name)
        return object()

    def run(name, dtype="float32"):
        return Run(MANIFEST, name, dtype, networks=networks)
    assert run("forward").reading(build) is run("loss").reading(build)
    assert run("backward").taking(build) is not None and built == ["forward"]
    run("train").taking(build)
    run("metric").reading(build)
    run("forward", "float64").reading(build)
    assert built == ["forward", "train", "metric", "forward"] and list(networks) == [("float64", build)]
    assert run("forward", "float64").reading(lambda run: "the other side's") == "the other side's"
