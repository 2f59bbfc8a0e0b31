"""A process for every request: apart from each other, told when they fail, none left behind."""
from __future__ import annotations

import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from alignment import processes


@pytest.fixture(autouse=True)
def echo(tmp_path, monkeypatch):
    """A module to run, and no parents of other tests."""
    monkeypatch.setattr(processes, "FORKS", True)
    monkeypatch.setattr(processes, "_children", set())
    monkeypatch.setattr(processes, "_idle", {})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "echoing.py").write_text(
        "import os, sys, time\nSEEN = []\n"
        "def main(path):\n"
        "    SEEN.append(path.name)\n"
        "    exec(path.read_text())\n"
        "    path.with_suffix('.out').write_text(f'{os.getppid()} {os.getpid()} {len(SEEN)}')\n")
    yield
    processes.close()
    processes._stopping.clear()


def run(folder, name, code="", side="torch"):
    folder = folder / name
    folder.mkdir()
    (folder / "request").write_text(code)
    processes.run_module("echoing", folder / "request", f"the request {name}", side)
    return [int(number) for number in (folder / "request.out").read_text().split()]


def test_every_request_has_a_process_of_its_own_from_one_parent(tmp_path):
    (parent, one, seen), (same_parent, other, seen_again) = (run(tmp_path, name) for name in "ab")
    assert parent == same_parent and len({os.getpid(), parent, one, other}) == 4
    assert (seen, seen_again) == (1, 1)  # nothing of the first is left for the second


def test_requests_at_the_same_time_do_not_wait_for_each_other(tmp_path):
    meet = f"open({str(tmp_path)!r} + '/' + path.parent.name + '.met', 'w')\nwhile len([n for n in " \
           f"os.listdir({str(tmp_path)!r}) if n.endswith('.met')]) < 2: time.sleep(0.01)"
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda name: run(tmp_path, name, meet), "ab"))
    assert found[0][0] != found[1][0]


def test_a_failure_is_told_with_its_last_lines_and_the_parent_lives_on(tmp_path):
    with pytest.raises(RuntimeError, match=r"the request a failed \(exit status 1\):(.*\n)*ValueError: no such frame"):
        run(tmp_path, "a", "raise ValueError('no such frame')")
    with pytest.raises(RuntimeError, match=r"the request b failed \(exit status -9\)"):
        run(tmp_path, "b", "os.kill(os.getpid(), 9)")
    assert run(tmp_path, "c")[2] == 1


def test_without_a_fork_a_request_gets_an_interpreter_of_its_own(tmp_path):
    (tmp_path / "plainly.py").write_text("import os, sys\nopen(sys.argv[1] + '.out', 'w').write(str(os.getppid()))\n")
    (tmp_path / "request").write_text("")
    processes.run_module("plainly", tmp_path / "request", "plain")
    assert int((tmp_path / "request.out").read_text()) == os.getpid()


@pytest.mark.skipif(sys.platform != "linux", reason="children are found by /proc")
def test_a_stop_ends_what_runs_and_nothing_starts_after_it(tmp_path):
    code = "open(str(path) + '.pid', 'w').write(f'{os.getppid()} {os.getpid()}')\ntime.sleep(60)"
    failures = []

    def sleep():
        with pytest.raises(RuntimeError, match="interrupted"):
            run(tmp_path, "a", code)
        failures.append("told")
    thread = threading.Thread(target=sleep)
    thread.start()
    note = tmp_path / "a" / "request.pid"
    _wait_for(lambda: note.is_file() and len(note.read_text().split()) == 2)
    processes.stop()
    thread.join(10)
    assert failures == ["told"]
    _wait_for(lambda: not any(_runs(number) for number in note.read_text().split()))
    with pytest.raises(RuntimeError, match="interrupted"):
        run(tmp_path, "b")


@pytest.mark.skipif(sys.platform != "linux", reason="children are found by /proc")
def test_an_interrupt_does_not_wait_for_what_runs(tmp_path):
    note = tmp_path / "pid"
    (tmp_path / "request").write_text(f"open({str(note)!r}, 'w').write(f'{{os.getpid()}} .')\ntime.sleep(600)")
    with pytest.raises(KeyboardInterrupt), processes._parent("torch", dict(os.environ)) as parent:
        line = json.dumps(["echoing", str(tmp_path / "request"), str(tmp_path / "errors")])
        parent._process.stdin.write(line + "\n")
        parent._process.stdin.flush()
        _wait_for(lambda: note.is_file() and note.read_text().endswith("."))
        raise KeyboardInterrupt
    _wait_for(lambda: not _runs(note.read_text().split()[0]))


def test_a_closed_parent_is_gone(tmp_path):
    parent, *_ = run(tmp_path, "a")
    processes.close()
    with pytest.raises(ProcessLookupError):
        os.kill(parent, 0)


def _runs(number):
    """Whether the process is there and not merely waiting to be buried."""
    stat = Path(f"/proc/{number}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def _wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
