"""Our network against a reference: same manifest, same recipe weights, each side in its own process.

The reference is the torch twin, or the original itself out of a user's checkout (``alignment/upstream``).
"""
from __future__ import annotations

import importlib
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from alignment import compare, rounding, short_training, worker
from alignment.bundle import split_stage
from alignment.compare import Allowance, Verdict
from alignment.results import TWIN, Line, Outcome, Unit, step_of
from alignment.worker import Answer

PRECISIONS = ("float32", "float64")
KEPT_VALUES = 4096  # larger arrays do not go into the official artefacts and plots


def _ask_twin(*args: Any, **options: Any) -> Answer:
    return worker.ask("torch", *args, **options)


@dataclass(frozen=True)
class Reference:
    """The side that judges.

    Args:
        ask: as :func:`alignment.worker.ask` without its first argument.
        source: of the outcomes: ``twin`` or ``upstream``.
        title: in messages.
        side: prefix of its errors.
        judged: whose answers are judged: ``paddle``, or ``torch`` for the twin.
        folder: of a checkout.
        apart: regular expressions of ``stage/name`` that only one of the two forms, beside the case's own.
        allowances: departures from the rule beside the case's own.
    """

    ask: Callable[..., Answer] = _ask_twin
    source: str = TWIN
    title: str = "the torch twin"
    side: str = "torch"
    judged: str = "paddle"
    folder: str = ""
    apart: tuple[str, ...] = ()
    allowances: tuple[Allowance, ...] = ()

    @property
    def judged_title(self) -> str:
        return "the Paddle side" if self.judged == "paddle" else "the torch twin"


TORCH_TWIN = Reference()


def run_case(manifest: dict[str, Any], steps: list[str], dtypes: list[str],
             reference: Reference = TORCH_TWIN) -> Outcome:
    """Compute a built-in case on both sides and judge every tensor.

    Args:
        manifest: in the form of a golden bundle's, without ``arrays``; without ``state`` if a network is to be
            listed by the twin; with an empty ``state`` there is none (see :func:`precisions`).
        steps: which steps of the reproduction guide; stages of others are left out.
        dtypes: ``float32``, ``float64`` or both.
        reference: whom the judged side must equal.

    Raises:
        RuntimeError: if a side's process fails.
        ValueError: if a stage belongs to no step.
    """
    case = importlib.import_module(f"alignment.cases.{manifest['system']}")
    own = getattr(case, "STEPS", {})
    stages = {name: step_of(name, own) for name in manifest["stages"] if step_of(name, own) in steps}
    case = Case(case, reference)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="alignment-") as folder:
        if "prepare" in manifest and stages:
            manifest = short_training.prepare(manifest, Path(folder) / "prepared")
        runs = _compute(manifest, stages, dtypes, Path(folder), reference)
        outcome = judge_runs(runs, stages, case)
        runs.close()
    outcome.seconds = time.perf_counter() - started
    return outcome


def judge_runs(runs: Runs, steps: Mapping[str, str], case: Case) -> Outcome:
    """The verdicts on what both sides computed; ``steps`` says which step each stage of the runs belongs to."""
    reference = runs.reference
    unit = Unit(runs.manifest["system"], runs.manifest["case"], reference.source, reference.judged, reference.folder)
    outcome = Outcome(unit, errors=runs.errors())
    for label, pair in runs.pairs():
        step = steps[split_stage(label)[0]]
        verdicts = _judge_stage(label, pair, runs, case)
        outcome.lines += [Line(outcome.unit, label, step, verdict) for verdict in verdicts]
        outcome.left_out += [key for key in _keys(pair[0], label) if case.declares(key)]
        _keep(outcome, label, pair, case)
    outcome.facts = {"salt": str(runs.manifest.get("salt", "a")), **runs.versions()}
    return outcome


@dataclass
class Runs:
    """Answers of both sides by precision, and the manifest they answered (with ``state``)."""

    manifest: dict[str, Any]
    stages: list[str]
    twin: dict[str, Answer] = field(default_factory=dict)
    ours: dict[str, Answer] = field(default_factory=dict)
    asked: dict[str, list[str]] = field(default_factory=dict)  # stages by precision, where not all
    reference: Reference = TORCH_TWIN

    def pairs(self) -> list[tuple[str, tuple[Answer, Answer]]]:
        """(label, (twin, ours)) in the order of stages, float32 before float64."""
        return [(_label(stage, dtype), (self.twin[dtype], answer))
                for stage in self.stages for dtype, answer in self.ours.items()
                if stage in self.asked.get(dtype, self.stages)]

    def errors(self) -> dict[str, str]:
        sides = ((self.reference.side, self.twin), (self.reference.judged, self.ours))
        return {f"{side} {stage}": error for side, answers in sides
                for answer in answers.values() for stage, error in answer.errors.items()}

    def versions(self) -> dict[str, str]:
        return {name: version for answers in (self.twin, self.ours) for answer in answers.values()
                for name, version in answer.revision.items() if version}

    def close(self) -> None:
        for answer in (*self.twin.values(), *self.ours.values()):
            answer.arrays.close()


@dataclass(frozen=True)
class Case:
    """A case's rules as they hold against a reference."""

    module: ModuleType
    reference: Reference = TORCH_TWIN

    def allowances(self, manifest: dict[str, Any]) -> list[Allowance]:
        return [*self.reference.allowances, *self.module.allowances(manifest)]

    def declares(self, key: str) -> bool:
        """Whether it is said that this tensor cannot be compared: one side computes it in another form or layout."""
        patterns = (*getattr(self.module, "ONLY_IN_TWIN", ()), *self.reference.apart)
        return any(re.search(pattern, key) for pattern in patterns)


def _compute(manifest: dict[str, Any], steps: Mapping[str, str], dtypes: list[str], folder: Path,
             reference: Reference) -> Runs:
    """Every process of a case: the reference in both precisions (a yardstick needs both), then the judged side."""
    fill_state = "state" not in manifest
    ours = {stage: precisions(manifest, step, dtypes) for stage, step in steps.items()}
    twin = {stage: PRECISIONS if "float32" in found and len(precisions(manifest, steps[stage])) > 1 else found
            for stage, found in ours.items()}
    runs = Runs(manifest, list(steps), reference=reference)
    for dtype in PRECISIONS:
        stages = [stage for stage, found in twin.items() if dtype in found]
        if stages:
            runs.twin[dtype] = reference.ask(runs.manifest, requests(stages, dtype), fill_state=fill_state,
                                             folder=folder / f"reference-{dtype}")
            if fill_state:
                runs.manifest, fill_state = {**manifest, "state": runs.twin[dtype].state}, False
    for dtype in PRECISIONS:
        stages = [stage for stage, found in ours.items() if dtype in found]
        if stages:
            runs.asked[dtype] = stages
            runs.ours[dtype] = worker.ask(reference.judged, runs.manifest, requests(stages, dtype),
                                          folder=folder / f"judged-{dtype}")
    return runs


def precisions(manifest: dict[str, Any], step: str, wanted: Sequence[str] = PRECISIONS) -> list[str]:
    """In which of the wanted precisions a stage runs.

    Readers, transforms, schedules and measures have one of their own; losses and operations have none, even where a
    case (with an empty ``state``) has no network.
    """
    if manifest.get("state") != [] or step in ("forward", "loss", "backward"):
        return list(wanted)
    return ["float32"]


def _label(stage: str, dtype: str) -> str:
    return stage if dtype == "float32" else f"{stage}64"


def requests(stages: list[str], dtype: str) -> list[dict[str, Any]]:
    """What :func:`alignment.worker.ask` takes for these stages, whole arrays of everything."""
    return [{"label": _label(stage, dtype), "name": stage, "dtype": dtype, "wanted": None, "limits": None}
            for stage in stages]


def _judge_stage(label: str, pair: tuple[Answer, Answer], runs: Runs, case: Case) -> list[Verdict]:
    twin, ours = pair
    keys = execution_order([key for key in _keys(twin, label) if not case.declares(key)], runs.manifest)
    both = [key for key in keys if key in ours.arrays]
    allowances = case.allowances(runs.manifest)
    scales = rounding.scales({key: twin.summaries[key][2] for key in _keys(twin, label)}, allowances)
    yardsticks = _yardsticks(label, keys, runs, scales)
    judged = _judge(both, pair, allowances, yardsticks, scales)
    if yardsticks and any(not verdict.passed and verdict.finding == "values" for verdict in judged.values()):
        def enough(extra: dict[str, float]) -> bool:
            judged.update(_judge(both, pair, allowances, yardsticks | extra, scales))
            return all(verdict.passed for verdict in judged.values())
        rounding.remeasure(runs.manifest, requests([split_stage(label)[0]], "float32")[0],
                           Relabelled(runs.twin["float64"].arrays), {key: scales[key] for key in yardsticks},
                           yardsticks, enough, runs.reference.ask)
    extra = [key for key in _keys(ours, label) if key not in twin.arrays and not case.declares(key)]
    found = [judged.get(key) or compare.missing(key, f"on {runs.reference.judged_title}" + worker.because(ours, key))
             for key in keys]
    found += [Verdict(key, False, np.inf, 0.0, "unexpected", f"{runs.reference.title} has no such tensor"
                      + worker.because(twin, key)) for key in extra]
    return found or [compare.missing(f"{label}/(anything)", "on either side" + worker.because(twin, f"{label}/")
                                     + worker.because(ours, f"{label}/"))]


def _judge(keys: list[str], pair: tuple[Answer, Answer], allowances: list[Allowance],
           yardsticks: Mapping[str, float], scales: Mapping[str, float]) -> dict[str, Verdict]:
    twin, ours = pair
    found = {}
    for key in keys:
        allowance = compare.find_allowance(key, allowances)
        got, want = ours.arrays[key], twin.arrays[key]
        if key in yardsticks and got.dtype == want.dtype == np.float64:
            # Made by a float32 network and only stored wider (a Python float, say): float32's rule holds.
            got, want = got.astype(np.float32), want.astype(np.float32)
        verdict = compare.judge(key, got, want, yardstick=yardsticks.get(key), allowance=allowance,
                                scale=scales[key])
        found[key] = _with_first_step(verdict, got, want)
    return found


def _yardsticks(label: str, keys: list[str], runs: Runs, scales: Mapping[str, float]) -> dict[str, float]:
    """The twin's own float32-to-float64 distance of the whole tensors; none for a float64 or networkless stage."""
    if split_stage(label)[1] == "float64" or "float64" not in runs.twin:
        return {}
    single, double = runs.twin["float32"].arrays, Relabelled(runs.twin["float64"].arrays)
    found = {}
    for key in keys:
        if key not in double:
            continue
        rough, exact = single[key], double[key]
        if rough.dtype.kind != "f" or rough.shape != exact.shape:
            continue
        distance = compare.relative_difference(rough, exact, scales[key])
        if rough.dtype == np.float32 or distance > compare.FLOAT64_LIMIT:
            found[key] = distance
    return compare.share_yardsticks(found, rounding.trajectories([label]))


class Relabelled(Mapping):
    """The arrays of float64 stages (``backward64/x``) under the keys of their float32 twins (``backward/x``)."""

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self._arrays = arrays

    @staticmethod
    def _twin(key: str) -> str:
        stage, name = key.split("/", 1)
        return f"{stage}64/{name}"

    def __getitem__(self, key: str) -> np.ndarray:
        return self._arrays[self._twin(key)]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._twin(key) in self._arrays

    def __iter__(self):
        return (f"{split_stage(stage)[0]}/{name}" for stage, name in (key.split("/", 1) for key in self._arrays))

    def __len__(self) -> int:
        return len(self._arrays)


def execution_order(keys: list[str], manifest: dict[str, Any]) -> list[str]:
    """Keys in the order in which their values come into being.

    A case lists activations as they ran. Gradients are listed as parameters are, but come into being from the last
    layer to the first, and those of inputs at the end.
    """
    parameters = {name for name, *_ in manifest.get("state") or ()}
    of_parameters = [key for key in keys if key.split("/", 1)[1].removeprefix("grad:") in parameters
                     and "/grad:" in key]
    backwards = iter(reversed(of_parameters))
    known = set(of_parameters)
    return [next(backwards) if key in known else key for key in keys]


def _with_first_step(verdict: Verdict, got: np.ndarray, want: np.ndarray) -> Verdict:
    """For a failed series (losses, rates): the step at which it first left what is allowed."""
    if verdict.finding != "values" or want.ndim != 1 or want.dtype.kind != "f":
        return verdict
    if not re.search(r"^schedule/|/(losses|rates(:.*)?|grad_norms)$", verdict.key):
        return verdict
    scale = max(float(np.abs(want).max()), compare.TINY)
    off = np.flatnonzero(np.abs(got.astype(np.float64) - want.astype(np.float64)) / scale > verdict.allowed)
    return replace(verdict, detail=f"leaves at step {int(off[0])} of {want.size}; {verdict.detail}")


def _keys(answer: Answer, label: str) -> list[str]:
    return [key for key in answer.arrays if key.split("/", 1)[0] == label]


def _keep(outcome: Outcome, label: str, pair: tuple[Answer, Answer], case: Case) -> None:
    """Small arrays for the official artefacts and the plots."""
    for side, answer in zip(("ref", "paddle"), pair, strict=True):
        kept = outcome.kept.setdefault(side, {})
        for key in _keys(answer, label):
            if int(np.prod(answer.shapes[key])) <= KEPT_VALUES and not case.declares(key):
                kept[key] = answer.arrays[key]
