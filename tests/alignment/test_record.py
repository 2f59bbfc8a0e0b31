"""Recording the twin as a bundle that the golden runner reads."""
from __future__ import annotations

import json

import numpy as np
import pytest

from alignment import __main__ as command
from alignment import golden
from alignment.bundle import Bundle
from alignment.record import GRADIENT_VALUES, record


def test_a_recorded_bundle_is_read_and_passes(madeup, tmp_path):
    madeup.values["backward"]["grad:input"] = np.linspace(-1, 1, 1000)
    folder = record(madeup.manifest(), tmp_path / "bundle")
    bundle = Bundle.read(folder)
    assert bundle.stages == ["forward", "forward64", "backward", "backward64", "train", "train64", "metric", "metric64"]
    assert bundle.values["backward64/grad:input"].size == GRADIENT_VALUES
    assert bundle.manifest["upstream"]["repository"] == "torch twin"
    assert bundle.manifest["state"] == [["first.weight", [3, 2], "float32"], ["second.weight", [2, 3], "float32"]]
    assert bundle.manifest["arrays"]["backward/grad:input"]["shape"] == [1000]


def test_a_case_without_a_network_is_recorded_once(madeup, tmp_path):
    folder = record(madeup.manifest(state=[]), tmp_path / "bundle", ["metric"])
    assert Bundle.read(folder).stages == ["metric"]
    assert golden.run_bundle(Bundle.read(folder)).passed


def test_a_twin_that_stops_records_nothing(madeup, tmp_path):
    madeup.errors["torch", "forward"] = "ValueError: no"
    with pytest.raises(RuntimeError, match="stage forward stopped"):
        record(madeup.manifest(), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_the_command(madeup, tmp_path, capsys):
    assert command.main(["record", "madeup", "small", str(tmp_path / "bundle")]) == 0
    assert json.loads((tmp_path / "bundle" / "manifest.json").read_text())["case"] == "small"
    for arguments in (["nothing", "small"], ["madeup", "large"]):
        with pytest.raises(SystemExit) as stop:
            command.main(["record", *arguments, str(tmp_path / "x")])
        assert stop.value.code == 2
    assert "madeup has no case large; it has small" in capsys.readouterr().err


def test_a_case_on_a_prepared_data_set_cannot_be_recorded(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(["record", "avs", "mini_50_steps", str(tmp_path / "x")])
    assert stop.value.code == 2 and not (tmp_path / "x").exists()
    assert "avs has no case mini_50_steps; it has pvt_small_s4" in capsys.readouterr().err
