"""The command: names, plan, exit statuses, what the console says, and an interrupt."""
from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from alignment import align, processes, worker
from alignment.jobs import BASE
from alignment.results import GOLDEN, TWIN, Outcome, Unit


@pytest.fixture
def only_madeup(madeup, monkeypatch):
    monkeypatch.setattr(align, "available_systems", lambda: ["madeup"])
    return madeup


def test_names_are_systems_and_steps_in_any_order():
    assert align.split_names(["step4", "mvf", "data"]) == (["mvf"], ["data", "backward"], True)
    systems, steps, named = align.split_names([])
    assert "mvf" in systems
    assert (steps, named) == (list(align.STEPS), False)
    assert align.split_names(["all"])[0] == systems


@pytest.mark.parametrize(("guide", "step"), [("step1", "forward"), ("step2", "metric"), ("step3", "loss"),
                                             ("step4", "backward")])
def test_the_guides_step_names(guide, step):
    assert align.split_names(["mvf", guide])[1] == [step]


@pytest.mark.parametrize(("arguments", "message"), [
    (["mfv"], "did you mean mvf"), (["mvf", "fwd"], "neither a system"), (["mvf", "--dtype", "float16"], "float16"),
    (["mvf", "--case", "r18_twh"], "did you mean r18_thw"), (["mvf", "--jobs", "0"], "--jobs 0"),
    (["mvf", "--colour"], "--colour")])
def test_unusable_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        align.align_command(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_memory_is_what_the_cases_say_or_the_estimate():
    memory = {(job.unit.case, job.unit.source): job.memory
              for job in align.plan(["mivos"], ["forward"], ["float64"], ["paddle"], None)}
    assert memory["single_object", TWIN] == 3.7 and memory["fusion_small", TWIN] == BASE
    assert memory["propagation_train", GOLDEN] > 2.2


def test_plan_runs_bundles_on_both_sides_and_the_longest_first():
    jobs = align.plan(["mvf"], ["train"], ["float32", "float64"], ["paddle", "torch"], None)
    assert jobs == sorted(jobs, key=lambda job: -job.weight)
    golden = [(job.unit.case, job.unit.side) for job in jobs if job.unit.source == "golden"]
    assert ("r50_ucf101", "paddle") in golden
    assert ("r50_ucf101", "torch") in golden
    assert {job.unit.case for job in jobs if job.unit.source == TWIN} >= {"r18_thw"}


def test_what_is_left_to_a_thorough_run_is_named_with_its_command():
    every = align.left_out(["actionclip"], ["train"], ["float32", "float64"], ["paddle"])
    name = "python -m alignment golden alignment/golden/actionclip/b32_transf --side paddle --only train64"
    assert name in every
    short, whole = (align.plan(["actionclip"], ["train"], ["float64"], ["paddle"], None, thorough)
                    for thorough in (False, True))
    assert {job.unit.case for job in whole} - {job.unit.case for job in short} >= {"b32_transf"}


def test_plan_leaves_out_what_has_no_such_step():
    jobs = align.plan(["mvf"], ["metric"], ["float32"], [], None)
    assert [job.unit.case for job in jobs] == ["metrics"]


def test_a_clean_run_exits_with_0(only_madeup, capsys):
    assert align.align_command(["madeup", "forward", "--dtype", "float64"]) == 0
    printed = capsys.readouterr().out
    assert "madeup/small: Paddle against the torch twin: 3 tensors agree" in printed


def test_a_fault_exits_with_1_and_names_the_layer(only_madeup, capsys):
    def change(side, dtype, stage, arrays):
        if side == "paddle" and "b" in arrays:
            arrays["b"], arrays["head"] = arrays["b"] * 1.01, arrays["head"] * 1.02
        return arrays
    only_madeup.change = change
    assert align.align_command(["madeup", "forward"]) == 1
    printed = capsys.readouterr().out
    assert "first divergence in forward64: b (1 before it agree)" in printed
    assert "repeat: python -m alignment madeup forward --case small --dtype float64 --no-golden" in printed
    assert "then forward64/head" in printed


def test_a_case_that_raises_is_a_failure_and_spares_the_others(only_madeup, capsys):
    good, bad = only_madeup.manifest(), only_madeup.manifest(case="broken")
    only_madeup.case.manifests = lambda: [bad, good]

    def ask(side, manifest, stages, **options):
        if manifest["case"] == "broken":
            raise RuntimeError("the torch side of madeup/broken failed")
        return only_madeup.ask(side, manifest, stages, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "ask", ask)
        assert align.align_command(["madeup"]) == 1
    printed = capsys.readouterr().out
    assert "error in unit: RuntimeError: the torch side of madeup/broken failed" in printed
    assert "ok " in printed


def test_nothing_to_compare_is_a_failure(only_madeup, capsys):
    assert align.align_command(["madeup", "data"]) == 1
    assert "madeup: nothing was compared" in capsys.readouterr().out
    del only_madeup.values["metric"]
    assert align.align_command(["madeup", "metric", "forward"]) == 1
    assert "madeup: nothing was compared for step metric" in capsys.readouterr().out


def test_an_empty_outcome_does_not_pass():
    assert not Outcome(Unit("mvf", "small", TWIN)).passed


def test_outcomes_come_in_the_systems_order():
    def job(case, weight):
        unit = Unit("mvf", case, TWIN)
        return align.Job(unit, lambda: Outcome(unit), weight)
    outcomes = align.run_jobs([job("b", 9), job("a", 1)], 2, io.StringIO())
    assert [outcome.unit.case for outcome in outcomes] == ["a", "b"]


def test_a_real_run_writes_its_report(tmp_path):
    """The metric case of MVFNet: both frameworks, each in its own process, and reprod_log."""
    pytest.importorskip("torch")
    assert align.align_command(["mvf", "step2", "--case", "metrics", "--report", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert {verdict["tensor"] for verdict in report["verdicts"]} >= {"top1", "mean_class_accuracy"}
    arrays = np.load(tmp_path / "mvf" / "result" / "metric_paddle.npy", allow_pickle=True).item()
    assert "metrics/top1" in arrays
    assert (tmp_path / "mvf" / "result" / "log" / "metric_diff.log").read_text().strip().endswith("diff check passed")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="children are found by /proc")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_children(sent):
    run = subprocess.Popen([sys.executable, "-m", "alignment", "mvf", "forward", "--no-golden", "--jobs", "2"],
                           cwd=processes.ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        children = _wait_for(lambda: _children(run.pid), 60)
        run.send_signal(sent)
        _, errors = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert _wait_for(lambda: not any(os.path.isdir(f"/proc/{child}") for child in children), 20)


def _children(parent: int) -> list[int]:
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat") as file:
                if int(file.read().rsplit(")", 1)[1].split()[1]) == parent:
                    found.append(int(entry))
        except (FileNotFoundError, ProcessLookupError):  # it ended in between
            continue
    return found


def _wait_for(condition, seconds: float):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.1)
    return condition()
