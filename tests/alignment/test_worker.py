"""One side in its own process: a stage that stops, arrays left on disk, a process that fails."""
from __future__ import annotations

import pytest

from alignment import worker

pytest.importorskip("torch")
MANIFEST = {"system": "mvf", "case": "tiny", "network": "mvf", "config": {}, "state": [], "salt": "s", "inputs": {},
            "stages": {"schedule": {"mode": "train", "keys": ["0.01:0.001:1:2:3"]}}}


def request(name):
    return {"label": name, "name": name, "dtype": "float32", "wanted": None, "limits": None}


def test_arrays_stay_on_disk_and_a_stage_that_stops_spares_the_others(tmp_path):
    answer = worker.ask("torch", MANIFEST, [request("rumour"), request("schedule")], folder=tmp_path)
    assert list(answer.arrays) == ["schedule/0.01:0.001:1:2:3"]
    assert answer.arrays["schedule/0.01:0.001:1:2:3"].shape == (7,)
    assert "has no stage 'rumour'" in answer.errors["rumour"]
    assert worker.because(answer, "rumour/x").startswith(": the stage stopped with ValueError")
    assert worker.because(answer, "schedule/x") == ""
    assert answer.revision["torch"]
    answer.arrays.close()


def test_a_process_that_fails_tells_its_last_lines():
    with pytest.raises(RuntimeError, match=r"paddle side of nothing/tiny failed.*(\n.*)*nothing"):
        worker.ask("paddle", {**MANIFEST, "system": "nothing"}, [request("schedule")])
