"""Recorded values of the originals against our network or against its torch twin.

The twin is written by us and could share our mistakes. The bundles were recorded from the original code and cannot.
"""
from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from alignment import compare, rounding, worker
from alignment.bundle import Bundle, split_stage
from alignment.compare import Allowance, Verdict


@dataclass(frozen=True)
class GoldenResult:
    """Verdicts of one bundle on one side, and what was computed (sampled as the bundle is)."""

    bundle: Bundle
    side: str
    verdicts: list[Verdict]
    computed: dict[str, np.ndarray]
    seconds: dict[str, float]
    errors: dict[str, str] = field(default_factory=dict)  # traceback by stage that stopped

    @property
    def passed(self) -> bool:
        return all(verdict.passed for verdict in self.verdicts)


def run_bundle(bundle: Bundle, side: str = "paddle", only: list[str] | None = None) -> GoldenResult:
    """Compute every stage of a bundle on one side and judge each key.

    Args:
        only: names of stages to run (as the bundle names them); None runs all.

    Raises:
        ValueError: if ``only`` names a stage that the bundle does not hold.
        RuntimeError: if the side's process fails.
    """
    unknown = sorted(set(only or ()) - set(bundle.stages))
    if unknown:
        raise ValueError(f"{bundle.folder} has no stage {', '.join(unknown)}; it has {', '.join(bundle.stages)}")
    stages = [stage for stage in bundle.stages if not only or stage in only]
    answer = worker.ask(side, _slim(bundle), [_request(bundle, stage) for stage in stages])
    yardsticks = _yardsticks(bundle, stages)
    verdicts = []
    for stage in stages:
        found = _judge_stage(bundle, stage, answer, yardsticks)
        if any(not verdict.passed and verdict.finding == "values" and _of_float32_run(bundle, verdict.key)
               for verdict in found):
            found = _judge_again(bundle, stage, answer, yardsticks)
        verdicts += found
    return GoldenResult(bundle, side, verdicts, answer.arrays, answer.seconds, answer.errors)


def _judge_stage(bundle: Bundle, stage: str, answer: worker.Answer, yardsticks: dict[str, float]) -> list[Verdict]:
    allowances = load_allowances(bundle.manifest)
    return [_judge(bundle, key, scale, answer, allowances, yardsticks) for key, scale in _scales(bundle, stage).items()]


def _scales(bundle: Bundle, stage: str) -> dict[str, float]:
    """By what each key of a stage is divided, in the bundle's order."""
    return rounding.scales({f"{stage}/{name}": bundle.scale(f"{stage}/{name}") for name in bundle.keys(stage)},
                           load_allowances(bundle.manifest))


def _is_float32(bundle: Bundle, key: str) -> bool:
    """Whether a float32 run made the key. Some bundles note such a run's losses in float64; a float64 run has its own
    stage. Without a network that is only known where the two stages' values differ."""
    stage, name = key.split("/", 1)
    twin = bundle.values.get(f"{stage}64/{name}")
    noted = f"{stage}64" in bundle.manifest["stages"] and (
        _of_float32_run(bundle, key) or (split_stage(stage)[1] == "float32" and twin is not None
                                         and not np.array_equal(twin, bundle.values[key])))
    dtype = bundle.values[key].dtype
    return dtype == np.float32 or (dtype == np.float64 and noted)


def _of_float32_run(bundle: Bundle, key: str) -> bool:
    """Whether the key may carry a float32 network's rounding, whatever type it is noted in."""
    dtype = split_stage(key.split("/", 1)[0])[1]
    return dtype == "float32" and bool(bundle.manifest["state"]) and bundle.values[key].dtype.kind == "f"


def load_allowances(manifest: dict) -> list[Allowance]:
    """The system's named departures from the rule for this case."""
    case = importlib.import_module(f"alignment.cases.{manifest['system']}")
    return case.allowances(manifest)


def _slim(bundle: Bundle) -> dict:
    return {key: value for key, value in bundle.manifest.items() if key != "arrays"}


def _request(bundle: Bundle, stage: str) -> dict:
    name, dtype = split_stage(stage)
    wanted = bundle.keys(stage)
    return {"label": stage, "name": name, "dtype": dtype, "wanted": wanted,
            "limits": {key: int(bundle.values[f"{stage}/{key}"].size) for key in wanted}}


def _judge(bundle: Bundle, key: str, scale: float, answer: worker.Answer, allowances: list[Allowance],
           yardsticks: dict[str, float]) -> Verdict:
    if key not in answer.arrays:
        return compare.missing(key, "here" + worker.because(answer, key))
    facts = bundle.manifest["arrays"][key]
    if answer.shapes[key] != list(facts["shape"]):
        return Verdict(key, False, np.inf, 0.0, "shape", f"{answer.shapes[key]} here, {facts['shape']} expected")
    if not answer.finite[key]:
        return Verdict(key, False, np.inf, 0.0, "finite", "the whole array has values that are not finite")
    allowance = compare.find_allowance(key, allowances)
    got, want = answer.arrays[key], bundle.wanted(key)
    if got.dtype == want.dtype == np.float64 and (_is_float32(bundle, key) or key in yardsticks):
        got, want = got.astype(np.float32), want.astype(np.float32)
    if allowance is not None and allowance.summary_only:
        kind = got.dtype
        got, want = (np.asarray(three, kind) for three in (answer.summaries[key], facts["summary"]))
        return compare.judge(key, got, want, yardstick=yardsticks.get(key), allowance=allowance)
    verdict = compare.judge(key, got, want, scale=scale,
                            yardstick=yardsticks.get(key), allowance=allowance)
    return _judge_summary(verdict, answer.summaries[key], facts["summary"], scale)


def _judge_summary(verdict: Verdict, got: list[float], want: list[float], scale: float) -> Verdict:
    """A bundle stores a sample of a large array; the mean magnitudes of the whole cover what lies between."""
    if not verdict.passed or verdict.finding or not np.isfinite(verdict.relative):
        return verdict
    relative = max(abs(g - w) for g, w in zip(got[:2], want[:2], strict=True)) / max(scale, compare.TINY)
    # Sums of equal values differ by the order of summation, about 1e-13 here.
    if relative <= max(verdict.allowed, 1e-12):
        return verdict
    return Verdict(verdict.key, False, relative, verdict.allowed, "values",
                   f"the sample agrees, the whole does not: mean, mean magnitude {got[:2]} here, {want[:2]} expected",
                   verdict.yardstick, verdict.reason)


def _yardsticks(bundle: Bundle, stages: list[str]) -> dict[str, float]:
    """The original's own float32-to-float64 distance of each float32 key."""
    found: dict[str, float] = {}
    unmeasured: dict[str, list[str]] = {}
    for stage in stages:
        name, dtype = split_stage(stage)
        if dtype == "float64":
            continue
        for key, scale in _scales(bundle, stage).items():
            twin = f"{name}64/{key.split('/', 1)[1]}"
            if not _is_float32(bundle, key):
                continue
            if twin in bundle.values:
                found[key] = compare.relative_difference(bundle.wanted(key), bundle.wanted(twin), scale)
            else:
                unmeasured.setdefault(stage, []).append(key.split("/", 1)[1])
    if unmeasured and bundle.manifest["state"]:
        found.update(_measure(bundle, unmeasured))
    return compare.share_yardsticks(found, rounding.trajectories(stages))


def _judge_again(bundle: Bundle, stage: str, answer: worker.Answer, recorded: dict[str, float]) -> list[Verdict]:
    """A float32 stage by yardsticks from further evaluations of the original's formulation (the torch twin)."""
    measured = {key: scale for key, scale in _scales(bundle, stage).items() if _of_float32_run(bundle, key)}
    request = _request(bundle, stage)
    exact = worker.ask("torch", _slim(bundle), [{**request, "dtype": "float64"}]).arrays
    found = _judge_stage(bundle, stage, answer, recorded)

    def enough(extra: dict[str, float]) -> bool:
        nonlocal found
        found = _judge_stage(bundle, stage, answer, recorded | extra)
        return all(verdict.passed for verdict in found)
    rounding.remeasure(_slim(bundle), request, exact, measured, recorded, enough)
    return found


def _measure(bundle: Bundle, unmeasured: dict[str, list[str]]) -> dict[str, float]:
    """Where the bundle has no float64 stage: the distance of its float32 values to the torch twin in float64."""
    requests = [{"label": stage, "name": stage, "dtype": "float64", "wanted": names,
                 "limits": {name: int(bundle.values[f"{stage}/{name}"].size) for name in names}}
                for stage, names in unmeasured.items()]
    answer = worker.ask("torch", _slim(bundle), requests)
    found = {}
    for stage, names in unmeasured.items():
        scales = _scales(bundle, stage)
        for key in (f"{stage}/{name}" for name in names):
            if key in answer.arrays and answer.arrays[key].shape == bundle.wanted(key).shape:
                found[key] = compare.relative_difference(bundle.wanted(key), answer.arrays[key], scales[key])
    return found


def dump(result: GoldenResult, path: str | Path) -> None:
    """Write what was computed under the bundle's keys, sampled the same way."""
    path = Path(path)
    temporary = path.with_name(path.name + ".part.npz")
    np.savez(temporary, **result.computed)
    temporary.replace(path)
