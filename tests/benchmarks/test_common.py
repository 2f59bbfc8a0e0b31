import functools
import json
import os
import time

import pytest

from benchmarks.common import Timing, race, table, write


def sleeper(threads, *, seconds, block=0):
    assert os.environ["OMP_NUM_THREADS"] == str(threads)

    def run():
        kept = b"x" * block
        time.sleep(seconds)
        return kept
    return run


def failing(threads):
    raise ValueError("no such network")


def test_race_is_interleaved_and_measures_time_and_memory(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    timings = race({"fast": functools.partial(sleeper, seconds=0.01),
                    "slow": functools.partial(sleeper, seconds=0.05, block=80 << 20)}, threads=2, rounds=3, warmup=1)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    fast, slow = timings["fast"], timings["slow"]
    assert len(fast.wall) == len(slow.wall) == 3
    assert min(slow.wall) >= 0.05 and fast.median() < slow.median()
    assert fast.median("cpu") < 0.01
    assert slow.peak - slow.before > 60 > fast.peak - fast.before


def test_a_failing_contender_is_named():
    with pytest.raises(RuntimeError, match="broken failed: ValueError: no such network"):
        race({"broken": failing}, rounds=1)


def test_table_and_files(tmp_path):
    timings = {"a": Timing("a", [0.1, 0.2, 0.3], [0.1], 100, 150), "b": Timing("b", [0.4, 0.4, 0.4], [0.1], 90, 91)}
    lines = table(timings, "a")
    assert lines[2] == "| a | 200.0 | 100 % | 1.000 | 150 | 50 |"
    assert lines[3] == "| b | 400.0 | 0 % | 2.000 | 91 | 1 |"
    write(tmp_path / "r", "x", "Title", lines, {"a": 1})
    assert (tmp_path / "r" / "x.md").read_text().startswith("# Title\n")
    assert json.loads((tmp_path / "r" / "x.json").read_text()) == {"a": 1}
