"""``python -m alignment faults [SYSTEM|all]``: plant every fault, judge the harness, write the matrix."""
from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alignment import processes, worker
from alignment.faults import catalogue, page
from alignment.faults.manifests import SYSTEMS, manifest
from alignment.faults.matrix import GUIDE, Alarm, Finding, Matrix, alarms, customary, finding
from alignment.faults.session import CLEAN, requests
from engine.files import atomic_write


@dataclass
class Progress:
    """Counts runs over all sessions and tells of each."""

    total: int
    started: float = field(default_factory=time.perf_counter)
    done: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def tell(self, text: str) -> None:
        with self.lock:
            self.done += 1
            spent = time.perf_counter() - self.started
            left = spent / self.done * (self.total - self.done)
            _say(f"[{self.done}/{self.total}] {text}  ({60 * self.done / spent:.0f} a minute, about {left:.0f} s left)")


def faults_command(arguments: list[str]) -> int:
    """Run the command; the exit status is 1 if a target is missed, 2 for unusable arguments, 130 after an interrupt."""
    parser = _parser()
    options = parser.parse_args(arguments)
    systems = list(SYSTEMS) if "all" in options.systems or not options.systems else list(
        dict.fromkeys(options.systems))
    try:
        planted = (catalogue.reduced(systems) if options.reduced and not (options.fault or options.case)
                   else catalogue.planted(systems, options.fault, options.case))
    except ValueError as error:
        parser.error(str(error))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // options.jobs)))
    started = time.perf_counter()
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        found = run_all(planted, first_only=options.reduced, jobs=options.jobs,
                        kept=Path(options.report) / "sessions" if options.report else None, resume=options.resume)
    except KeyboardInterrupt:
        processes.stop()
        _say("interrupted; --resume goes on where whole cases were done")
        return 130
    finally:
        signal.signal(signal.SIGTERM, previous)
    seconds = time.perf_counter() - started
    for line in page.totals(found):
        _say(line)
    _say(f"{seconds:.0f} s, {options.jobs} processes at a time")
    if options.report:
        command = " ".join(["python -m alignment faults", *arguments])
        page.write(Path(options.report), found, seconds=seconds, command=command)
        _say(f"report: {Path(options.report) / 'faults.md'}")
    return 0 if found.passed else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m alignment faults",
                                     description="faults of real ports, planted one at a time in our networks, losses, "
                                                 "optimizers and data code: is each caught, and located?")
    parser.add_argument("systems", nargs="*", metavar="SYSTEM|all", choices=[*SYSTEMS, "all", []],
                        help=f"{', '.join(SYSTEMS)} (default: all)")
    parser.add_argument("--reduced", action="store_true", help="each fault in one system and its first stage only")
    parser.add_argument("--fault", metavar="NAME", help="this fault only")
    parser.add_argument("--case", metavar="NAME", help="the faults of this case only")
    parser.add_argument("--report", metavar="DIR", help="write faults.md, faults.html and faults.json")
    parser.add_argument("--resume", action="store_true", help="take cases that DIR has in full from an earlier run")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N",
                        help="processes at a time (default: one a processor)")
    return parser


def run_all(planted: catalogue.Planted, *, first_only: bool, jobs: int, kept: Path | None = None,
            resume: bool = False) -> Matrix:
    """Plant everything, ``jobs`` sessions at a time."""
    progress = Progress(sum(len(places) + 2 for places in planted.values()))
    with ThreadPoolExecutor(max(jobs, 1)) as pool:
        futures = {pool.submit(_session, *key, places, first_only, progress, kept, resume): key
                   for key, places in planted.items()}
        made = {}
        try:
            for future in as_completed(futures):
                made[futures[future]] = future.result()
        except BaseException:
            processes.stop()
            raise
    findings: list[Finding] = []
    red: list[Alarm] = []
    rounded: list[dict[str, Any]] = []
    clean, broken = 0, []
    for key, places in planted.items():
        runs, error = made[key]
        broken += [f"{key[0]}/{key[1]}: {error}"] if error else []
        for run in (one for one in runs if one["fault"] == CLEAN):
            red += alarms(*key, run)
            clean += len(run["stages"])
            rounded += run.get("float32", {}).values()
        by_name = {run["fault"]: run for run in runs}
        absent = {"stages": {}, "error": "the session ended before it"}
        findings += [finding(fault, place, by_name.get(fault.name, absent)) for fault, place in places]
    order = {fault.name: index for index, fault in enumerate(catalogue.FAULTS)}
    findings.sort(key=lambda one: (order[one.fault.name], SYSTEMS.index(one.place.system)))
    rejected = sum(customary(one, GUIDE[one["step"]]) for one in rounded)
    return Matrix(tuple(findings), tuple(red), clean, tuple(broken), len(rounded), rejected)


def _session(system: str, case: str, places, first_only: bool, progress: Progress, kept: Path | None,
             resume: bool) -> tuple[list[dict[str, Any]], str]:
    """All runs of one case, and why the session broke off, if it did."""
    names = [CLEAN, *(fault.name for fault, _ in places), CLEAN]
    store = kept / f"{system}-{case}.json" if kept else None
    if resume and store is not None and store.is_file():
        runs = json.loads(store.read_text(encoding="utf-8"))
        if [run["fault"] for run in runs] == names:
            for run in runs:
                progress.tell(f"{system}/{case} {run['fault']}: kept from an earlier run")
            return runs, ""
    stages = list(dict.fromkeys(stage for _, place in places
                                for stage in (place.stages[:1] if first_only else place.stages)))
    runs, error = [], ""
    try:
        with tempfile.TemporaryDirectory(prefix="faults-") as folder:
            for run in _runs(manifest(system, case), stages, names, first_only, Path(folder)):
                runs.append(run)
                progress.tell(f"{system}/{case} {run['fault']}: {_told(run)}")
    except (RuntimeError, KeyError, ValueError) as reason:
        error = f"{type(reason).__name__}: {reason}"
    if store is not None and not error:
        with atomic_write(store) as file:
            json.dump(runs, file)
    return runs, error


def _runs(described: dict[str, Any], stages: list[str], names: list[str], first_only: bool,
          folder: Path) -> Iterator[dict[str, Any]]:
    """The twin once, then a session that plants fault after fault; each run as it ends."""
    answer = worker.ask("torch", described, requests(described, stages), fill_state="state" not in described,
                        folder=folder / "reference")
    if answer.errors:
        raise RuntimeError("the twin stopped:\n" + "\n".join(answer.errors.values()))
    state = described.get("state", answer.state)
    answer.arrays.close()
    request = folder / "request.json"
    request.write_text(json.dumps({"manifest": {**described, "state": state}, "reference": str(folder / "reference"),
                                   "runs": names, "first_only": first_only, "clean_stages": stages}))
    yield from _lines([sys.executable, "-m", "alignment.faults.session", str(request)])


def _lines(command: list[str]) -> Iterator[dict[str, Any]]:
    """What a session prints, line by line.

    Raises:
        RuntimeError: if it fails, with its last lines.
    """
    environment = dict(os.environ, CUDA_VISIBLE_DEVICES="")
    with tempfile.TemporaryFile("w+") as errors, processes.child(
            command, cwd=processes.ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
        for line in process.stdout:
            if line.startswith("{"):
                yield json.loads(line)
        if process.wait() != 0:
            errors.seek(0)
            raise RuntimeError("the Paddle process failed:\n" + "\n".join(errors.read().strip().splitlines()[-15:]))


def _told(run: dict[str, Any]) -> str:
    if run["error"]:
        return run["error"]
    parts = [f"{stage} {'green' if found['passed'] else 'red at ' + found['first']}"
             for stage, found in run["stages"].items()]
    return "; ".join(parts)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
