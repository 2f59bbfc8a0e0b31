"""The guide's files are what reprod_log itself reads and judges: a reader can repeat the acceptance without us."""
from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from alignment import official
from alignment.compare import Verdict
from alignment.results import GOLDEN, TWIN, UPSTREAM, Line, Outcome, Unit

STEPS = {"forward": "forward", "metric": "metric", "loss": "loss", "sampling": "data", "train": "train"}
# What a reader would type; no line of this project is imported. Exit status 3 stands for reprod_log's own failure.
READER = """
import sys
from reprod_log import ReprodDiffHelper
helper = ReprodDiffHelper()
helper.compare_info(helper.load_info(sys.argv[1]), helper.load_info(sys.argv[2]))
helper.report(diff_method="mean", diff_threshold=1e-6, path=sys.argv[3])
sys.exit(0 if open(sys.argv[3]).read().rstrip().endswith("diff check passed") else 3)
"""


def outcome(source=TWIN, off=0.0, system="madeup"):
    """One case with a stage of every step; ``off`` is added to what Paddle gave."""
    draw = np.random.default_rng(0)
    ref = {"forward/logits": draw.normal(size=(2, 3)).astype("float32"), "metric/top1": np.float64(50.0),
           "loss/total": np.array(0.7, "float32"), "sampling/frames": np.arange(6), "train/rates": np.full(3, 0.1),
           "train/losses": np.array([0.9, 0.8, 0.7], "float32"), "forward64/logits": draw.normal(size=(2, 3))}
    unit = Unit(system, "small", source)
    made = Outcome(unit, kept={"ref": {key: np.asarray(value) for key, value in ref.items()}})
    made.kept["paddle"] = {key: value + value.dtype.type(off) if value.dtype.kind == "f" else value
                           for key, value in made.kept["ref"].items()}
    made.lines = [Line(unit, key.split("/")[0], STEPS[key.split("/")[0].removesuffix("64")],
                       Verdict(key, True, 0.0, 1.0)) for key in ref]
    return made


def read(folder, point):
    """The exit status of a reader's own script."""
    files = [str(folder / f"{point}_{side}.npy") for side in ("ref", "paddle")]
    return subprocess.run([sys.executable, "-c", READER, *files, str(folder / "own.log")], check=False,
                          capture_output=True, cwd=folder).returncode


def test_every_point_of_the_guide_passes_reprod_log_itself(tmp_path):
    assert official.write(tmp_path, [outcome()]) == dict.fromkeys(official.POINTS, "passed")
    assert {path.name for path in (tmp_path / "log").iterdir()} == {f"{log}_diff.log" for log in
                                                                    official.POINTS.values()}
    assert [read(tmp_path, point) for point in ("forward", "losses")] == [0, 0]


def test_a_difference_fails_in_reprod_log_itself(tmp_path):
    told = official.write(tmp_path, [outcome(off=1e-4)])
    assert told["data"] == "passed"
    assert {told[point] for point in ("forward", "metric", "loss", "losses", "train_align")} == {"failed"}
    assert read(tmp_path, "forward") == 3


def test_losses_and_rates_of_every_step_are_entries_of_their_own(tmp_path):
    official.write(tmp_path, [outcome()])
    stored = np.load(tmp_path / "losses_ref.npy", allow_pickle=True).item()
    assert list(stored) == [f"small/{name}_{i}" for name in ("lr", "loss") for i in range(3)]


@pytest.mark.parametrize(("source", "count"), [(TWIN, 1), (UPSTREAM, 1), (GOLDEN, 0)])
def test_the_reference_is_the_twin_or_the_original_run_here(source, count):
    ref, paddle = official.collect("forward", [outcome(source)])
    assert len(ref) == len(paddle) == count


def test_rates_of_groups_are_losses_entries_and_no_result_of_training():
    picked = official._iterations("train", "rates:text", np.array([0.1, 0.2]))
    assert {name: value.tolist() for name, value in picked.items()} == {"lr:text_0": [0.1], "lr:text_1": [0.2]}
    for name in ("rates", "rates:text"):
        assert official._after_training("train", name, np.array([0.1, 0.2])) == {}
