"""The reduced form: every fault planted once, caught and located; clean runs stay green."""
from __future__ import annotations

import pytest

pytest.importorskip("torch")

from alignment.faults import catalogue, page, run
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


def test_what_an_earlier_run_kept_is_not_run_again(tmp_path, monkeypatch):
    planted = {("mvf", "metrics"): catalogue.planted(["mvf"], "measure")["mvf", "metrics"]}
    first = run.run_all(planted, first_only=True, jobs=1, kept=tmp_path, resume=True)
    assert first.passed
    monkeypatch.setattr(run, "_runs", lambda *arguments: pytest.fail("it ran again"))
    assert run.run_all(planted, first_only=True, jobs=1, kept=tmp_path, resume=True) == first
