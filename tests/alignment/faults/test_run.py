"""The reduced form: every fault planted once, caught and located; clean runs stay green."""
from __future__ import annotations

import pytest

pytest.importorskip("torch")

from alignment.faults import catalogue, matrix, page, run
from alignment.faults.manifests import SYSTEMS


@pytest.fixture(scope="module")
def found():
    return run.run_all(catalogue.reduced(list(SYSTEMS)), first_only=True, jobs=2)


def test_every_fault_is_caught_and_located_in_one_system(found):
    assert len(found.findings) == len(catalogue.FAULTS)
    assert [line for line in page.totals(found) if line.startswith("FAIL ")] == []
    assert found.passed


def test_clean_runs_stay_green_before_and_after(found):
    assert found.clean_stages >= 2 * len(catalogue.REDUCED) and not found.alarms


def test_an_unknown_fault_ends_with_status_2(capsys):
    with pytest.raises(SystemExit) as stopped:
        run.faults_command(["mvf", "--fault", "rumour"])
    assert stopped.value.code == 2 and "there are bn_epsilon" in capsys.readouterr().err


@pytest.mark.parametrize("passed", [True, False])
def test_the_exit_status_tells_and_the_report_is_written(tmp_path, monkeypatch, capsys, passed):
    fault, place = catalogue.planted(["mvf"], "measure")["mvf", "metrics"][0]
    stage = {"step": "metric", "passed": not passed, "errors": {}, "first": "mean_class_accuracy", "detail": "",
             "relative": 0.1, "means": {}, "incomparable": []}  # a red stage is what must be
    made = matrix.Matrix((matrix.finding(fault, place, {"stages": {"metric": stage}, "error": ""}),), (), 1)
    asked = []
    monkeypatch.setattr(run, "run_all", lambda planted, **options: asked.append(planted) or made)
    status = run.faults_command(["mvf", "--case", "metrics", "--report", str(tmp_path)])
    assert status == (0 if passed else 1)
    assert list(asked[0]) == [("mvf", "metrics")]
    assert {path.name for path in tmp_path.iterdir()} == {"faults.md", "faults.html", "faults.json"}
    assert ("passed" if passed else "FAILED") in capsys.readouterr().out


def test_what_an_earlier_run_kept_is_not_run_again(tmp_path, monkeypatch):
    planted = {("mvf", "metrics"): catalogue.planted(["mvf"], "measure")["mvf", "metrics"]}
    first = run.run_all(planted, first_only=True, jobs=1, kept=tmp_path, resume=True)
    assert first.passed
    monkeypatch.setattr(run, "_runs", lambda *arguments: pytest.fail("it ran again"))
    assert run.run_all(planted, first_only=True, jobs=1, kept=tmp_path, resume=True) == first
