"""One Paddle process that plants fault after fault in one case: ``python -m alignment.faults.session REQUEST.json``.

The twin's arrays lie on disk, computed once by the torch process. Every fault builds its own networks from the recipe;
clean runs before the first and after the last fault show that nothing of a fault stays behind. A line of JSON is
printed for each run as it ends, so that a broken session keeps what it has.
"""
from __future__ import annotations

import contextlib
import importlib
import json
import math
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from alignment import twins, worker
from alignment.faults import catalogue
from alignment.faults.fault import NotPlanted, Place
from alignment.results import Outcome, step_of

CLEAN = "clean"


def run(request: dict[str, Any], write) -> None:
    """Plant and judge what a request asks for; ``write`` gets a dict for each run."""
    manifest, reference = request["manifest"], worker.read(Path(request["reference"]))
    session, rounded = Session(manifest, reference), False
    for name in request["runs"]:
        if name == CLEAN:
            made = {"fault": CLEAN, **session.judge(contextlib.nullcontext(), request["clean_stages"])}
            write(made if rounded else {**made, "float32": session.rounding(request["clean_stages"])})
            rounded = True
            continue
        place = catalogue.place(name, manifest["system"])
        write({"fault": name, **session.judge_place(place, request["first_only"])})
    reference.arrays.close()


class Session:
    """A case whose reference is known; its networks are built anew for every run."""

    def __init__(self, manifest: dict[str, Any], reference: worker.Answer):
        self.manifest, self.reference = manifest, reference
        self.case = importlib.import_module(f"alignment.cases.{manifest['system']}")
        self.store: dict[str, Any] = {}

    def judge_place(self, place: Place, first_only: bool) -> dict[str, Any]:
        stages = place.stages[:1] if first_only else place.stages
        return self.judge(place.plant, stages)

    def judge(self, plant, stages) -> dict[str, Any]:
        """Run stages with a fault planted (a context manager, or a function that gives one) and judge them."""
        started, found, error = time.perf_counter(), {}, ""
        for stage in stages:  # planted anew for each: every stage must run through it
            try:
                with plant() if callable(plant) else plant:
                    answer = self._compute(stage)
            except NotPlanted as reason:
                error = f"{stage}: {reason}"
                break
            found[stage] = summary(self._outcome(stage, answer))
            if found[stage]["errors"]:  # red, but not by the judge's eyes
                error = f"{stage} stopped: {'; '.join(found[stage]['errors'].values())}"
                break
        return {"stages": found, "error": error, "seconds": round(time.perf_counter() - started, 2)}

    def rounding(self, stages: Iterable[str]) -> dict[str, Any]:
        """What the customary rule sees of clean float32 runs, by stage; those that have no other precision are absent.
        """
        found = {}
        for stage in stages:
            if precision(self.manifest, stage) == "float64":
                arrays = self._compute(stage, "float32").arrays
                means = {key.split("/", 1)[1]: _mean_absolute(array, self.reference.arrays[key])
                         for key, array in arrays.items() if key in self.reference.arrays}
                found[stage] = {"step": step(self.manifest, stage), "errors": {}, "incomparable": [], "means": means}
        return found

    def _compute(self, stage: str, dtype: str | None = None) -> worker.Answer:
        request = {"side": "paddle", "manifest": self.manifest, "fill_state": False, "variant": {},
                   "stages": twins.requests([stage], dtype or precision(self.manifest, stage))}
        return worker.compute(request, self.store)

    def _outcome(self, stage: str, answer: worker.Answer) -> Outcome:
        dtype = precision(self.manifest, stage)
        runs = twins.Runs(self.manifest, [stage], {dtype: self.reference}, {dtype: answer})
        return twins.judge_runs(runs, {stage: step(self.manifest, stage)}, twins.Case(self.case))


def step(manifest: dict[str, Any], stage: str) -> str:
    """The step of the guide that a stage of a case belongs to."""
    case = importlib.import_module(f"alignment.cases.{manifest['system']}")
    return step_of(stage, getattr(case, "STEPS", {}))


def precision(manifest: dict[str, Any], stage: str) -> str:
    """In which a stage is judged: float64, or as it is where it has but one."""
    return twins.precisions(manifest, step(manifest, stage))[-1]


def requests(manifest: dict[str, Any], stages: Iterable[str]) -> list[dict[str, Any]]:
    """What the twin computes: every stage in each of its precisions."""
    return [request for stage in stages for dtype in twins.precisions(manifest, step(manifest, stage))
            for request in twins.requests([stage], dtype)]


def _mean_absolute(got: np.ndarray, want: np.ndarray) -> float | None:
    if got.shape != want.shape or got.dtype.kind not in "fiub" or not got.size:
        return None
    return _finite(np.abs(got.astype(np.float64) - want.astype(np.float64)).mean())


def summary(outcome: Outcome) -> dict[str, Any]:
    """What the matrix needs of one stage: where it diverged first, and what the customary rule would have seen."""
    firsts = outcome.first_divergences()
    errors = {where: text.strip().splitlines()[-1] for where, text in outcome.errors.items()}
    return {
        "step": outcome.lines[0].step, "count": len(outcome.lines), "bad": len(outcome.failures),
        "passed": outcome.passed, "errors": errors,
        "first": firsts[0].name if firsts else "", "detail": firsts[0].verdict.detail if firsts else "",
        "finding": firsts[0].verdict.finding if firsts else "",
        "relative": _finite(firsts[0].verdict.relative) if firsts else None,
        "means": {line.name: _finite(line.verdict.mean_absolute) for line in outcome.lines},
        "incomparable": [line.name for line in outcome.failures if line.verdict.finding in ("shape", "missing")],
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _say(made: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(made) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), _say)
