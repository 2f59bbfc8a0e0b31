"""Several jobs at a time: within the memory, all of them, and none after an error."""
from __future__ import annotations

import threading

import numpy as np
import pytest

from alignment import jobs
from alignment.bundle import Bundle
from alignment.results import TWIN, Outcome, Unit


def job(case, run=None, memory=1.0, weight=1.0):
    unit = Unit("mvf", case, TWIN)
    return jobs.Job(unit, run or (lambda: Outcome(unit)), weight, memory)


def test_a_large_job_lets_small_ones_pass_and_is_not_forgotten():
    waiting = jobs.Waiting([job("large", memory=6), job("other", memory=6), job("small")], 7)
    first, second = waiting.take(), waiting.take()
    assert [first.unit.case, second.unit.case] == ["large", "small"]
    waiting.done(first)
    assert waiting.take().unit.case == "other"
    assert waiting.take() is None


def test_alone_anything_fits():
    waiting = jobs.Waiting([job("small"), job("huge", memory=99)], 7)
    huge = waiting.take()
    assert huge.unit.case == "huge"
    waiting.done(huge)
    assert waiting.take().unit.case == "small"


def test_one_process_prefers_the_large_and_the_others_the_long_among_the_small():
    made = [job("long", weight=9), job("short", weight=1), job("large", memory=4, weight=2), job("larger", memory=5)]

    def order(*preferences):
        waiting = jobs.Waiting(made, 7)
        found = []
        for large in preferences:
            found.append(waiting.take(large))
            waiting.done(found[-1])
        return [one.unit.case for one in found]
    assert order(True, True, True, True) == ["larger", "large", "long", "short"]
    assert order(False, False, False, False) == ["long", "short", "larger", "large"]
    assert order(True, False, True, False) == ["larger", "long", "large", "short"]


def test_what_runs_together_stays_within_the_memory():
    lock, now, most = threading.Lock(), [0], [0]

    def run():
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        threading.Event().wait(0.02)
        with lock:
            now[0] -= 1
        return Outcome(Unit("mvf", "a", TWIN))
    ended = list(jobs.outcomes_of([job("a", run, 3.0) for _ in range(6)], 4, memory=7.0))
    assert (len(ended), most[0]) == (6, 2)


def test_a_broken_case_is_an_outcome_and_a_broken_program_an_error(monkeypatch):
    monkeypatch.setattr(jobs.processes, "stop", lambda: None)

    def broken(error):
        def run():
            raise error
        return run
    (outcome,) = jobs.outcomes_of([job("a", broken(ValueError("no such entry")))], 2)
    assert "no such entry" in outcome.errors["unit"]
    with pytest.raises(TypeError, match="a mistake"):
        list(jobs.outcomes_of([job("a", broken(TypeError("a mistake"))), job("b"), job("c")], 1))


def bundle(tmp_path, million, stages):
    manifest = {"system": "mvf", "case": "x", "state": [["w", [int(million * 1000), 1000], "float32"]],
                "stages": {stage: {} for stage in stages}}
    return Bundle(tmp_path, manifest, {f"{stage}/losses": np.zeros(1) for stage in stages})


STAGES = ["forward", "train", "forward64", "train64"]


@pytest.mark.parametrize(("million", "paddle", "torch"), [
    (9, [], []), (80, ["train"], ["forward", "train", "train64"]),
    (150, ["train", "train64"], ["forward", "train", "train64"])])
def test_only_repetitions_of_large_networks_are_left_to_a_thorough_run(tmp_path, million, paddle, torch):
    found = bundle(tmp_path, million, STAGES)
    assert [stage for stage in STAGES if jobs.repeats(found, stage, "paddle")] == paddle
    assert [stage for stage in STAGES if jobs.repeats(found, stage, "torch")] == torch


def test_a_record_in_float32_only_is_always_run(tmp_path):
    found = bundle(tmp_path, 80, ["forward", "train"])
    assert not any(jobs.repeats(found, stage, side) for stage in found.stages for side in ("paddle", "torch"))


def test_memory_grows_with_what_is_kept(tmp_path):
    small, large = bundle(tmp_path, 9, STAGES), bundle(tmp_path, 100, STAGES)
    assert jobs.memory_of(small, STAGES) == jobs.BASE
    assert jobs.BASE < jobs.memory_of(large, ["forward", "forward64"]) < jobs.memory_of(large, STAGES) < jobs.MEMORY
