"""``python -m alignment [SYSTEM ...|all] [STEP ...]``: prove that our networks equal their originals.

Every built-in case of a system runs on its torch twin and on our side, every golden bundle of the system on our side
and on the twin; each tensor gets a verdict by the one rule of ``alignment/compare.py``.
"""
from __future__ import annotations

import argparse
import contextlib
import difflib
import functools
import importlib
import os
import pkgutil
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from alignment import cases, golden, initialization, processes, twins
from alignment.bundle import Bundle, find_bundles, split_stage
from alignment.jobs import BASE, Job, memory_of, outcomes_of, parameters, repeats
from alignment.results import GOLDEN, RULE, TWIN, Line, Outcome, Unit, step_of

STEPS = ("init", "data", "forward", "metric", "loss", "backward", "train")
GUIDE_STEPS = {"step1": "forward", "step2": "metric", "step3": "loss", "step4": "backward"}
SHOWN_FAILURES = 8  # of one case on the console; the report has all


def available_systems() -> list[str]:
    """Systems that have alignment cases, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules(cases.__path__) if module.ispkg)


def align_command(arguments: list[str]) -> int:
    """Run the command; the exit status is 1 for any failure, 2 for unusable arguments, 130 after an interrupt."""
    parser = _parser()
    options = parser.parse_intermixed_args(arguments)
    try:
        systems, steps, named_steps = split_names(options.names)
        dtypes = ["float32", "float64"] if options.dtype == "both" else [options.dtype]
        if options.jobs < 1:
            raise ValueError(f"--jobs {options.jobs}: at least one process is needed")
        sides = golden_sides(options)
        # Whoever names a step or a case wants all of it.
        thorough = options.thorough or named_steps or options.case is not None
        jobs = plan(systems, steps, dtypes, sides, options.case, thorough)
        left = [] if thorough else left_out(systems, steps, dtypes, sides)
    except ValueError as error:
        parser.error(str(error))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // options.jobs)))
    started = time.perf_counter()
    try:
        outcomes = run_jobs(jobs, options.jobs, sys.stdout)
    except KeyboardInterrupt:
        _say("interrupted: no report is written", sys.stderr)
        return 130
    processes.close()  # until they have ended, their time is not counted
    seconds, processor = time.perf_counter() - started, processor_seconds()
    gaps = find_gaps(outcomes, systems, steps if named_steps else [])
    _print_totals(outcomes, gaps, seconds, processor)
    if left:
        _say(f"{len(left)} recorded stages of large networks, mostly repetitions, are left to --thorough")
    failed = bool(gaps) or not outcomes or not all(outcome.passed for outcome in outcomes)
    if options.report:
        from alignment import report
        folder = report.write(Path(options.report), outcomes, gaps, seconds=seconds, processor=processor,
                              jobs=options.jobs, arguments=arguments, left=left)
        _say(f"report: {folder / 'index.html'}")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m alignment", description="our networks against their torch twins and the originals' records",
        epilog="Also, each with --help: python -m alignment golden, record, faults, upstream, padiff.")
    parser.add_argument("names", nargs="*", metavar="SYSTEM|STEP",
                        help=f"systems ({', '.join(available_systems())}, all) and steps ({', '.join(STEPS)}; "
                             f"step1 to step4 of the reproduction guide are forward, metric, loss, backward)")
    parser.add_argument("--dtype", choices=("float32", "float64", "both"), default="both",
                        help="precision of our side (default: both)")
    parser.add_argument("--report", metavar="DIR",
                        help="write index.html, report.md, report.json and the guide's files")
    parser.add_argument("--case", metavar="NAME", help="this built-in case or golden bundle only")
    parser.add_argument("--golden", action=argparse.BooleanOptionalAction, default=True,
                        help="also the golden bundles below alignment/golden (default)")
    parser.add_argument("--golden-side", choices=("both", "paddle", "torch"), default="both",
                        help="whom the bundles judge: our network, our torch twin, or both (default)")
    parser.add_argument("--thorough", action="store_true",
                        help="also the recorded stages that take long and mostly repeat others: of networks over 10 "
                             "million parameters the twin in float32, its training, and ours in float32; over 100 "
                             "million all training")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N",
                        help="processes at a time (default: one a processor)")
    return parser


def golden_sides(options: argparse.Namespace) -> list[str]:
    """The sides that golden bundles run on."""
    if not options.golden:
        return []
    return ["paddle", "torch"] if options.golden_side == "both" else [options.golden_side]


def split_names(names: list[str]) -> tuple[list[str], list[str], bool]:
    """Systems, steps, and whether steps were named. None named means all.

    Raises:
        ValueError: for a name that is neither, with the nearest one.
    """
    known = available_systems()
    systems, steps = [], []
    for name in names:
        if name == "all":
            systems += known
        elif name in known:
            systems.append(name)
        elif name in STEPS or name in GUIDE_STEPS:
            steps.append(GUIDE_STEPS.get(name, name))
        else:
            near = difflib.get_close_matches(name, [*known, *STEPS, *GUIDE_STEPS, "all"], n=1)
            hint = f"did you mean {near[0]}?" if near else f"systems are {', '.join(known)}"
            raise ValueError(f"{name!r} is neither a system with alignment cases nor a step; {hint}")
    return (list(dict.fromkeys(systems)) or known, [step for step in STEPS if step in steps] or list(STEPS),
            bool(steps))


def plan(systems: list[str], steps: list[str], dtypes: list[str], sides: list[str], only: str | None,
         thorough: bool = True) -> list[Job]:
    """What is to be run, the longest first; ``thorough``: with the stages of :func:`alignment.jobs.repeats`.

    Raises:
        ValueError: if ``only`` names no case or bundle of these systems.
    """
    jobs: list[Job] = []
    names: list[str] = []
    for system in systems:
        if initialization.STEP in steps and initialization.has_rules(system):
            names.append(f"{system}/{initialization.CASE}")
            if only in (None, initialization.CASE):
                unit = Unit(system, initialization.CASE, RULE)
                jobs.append(Job(unit, functools.partial(initialization.run_system, system), 1.0))
        for manifest in importlib.import_module(f"alignment.cases.{system}").manifests():
            names.append(f"{system}/{manifest['case']}")
            if only in (None, manifest["case"]):
                jobs += _twin_job(manifest, steps, dtypes)
        for folder in _bundle_folders(system) if sides else []:
            names.append(f"{system}/{folder.name}")
            if only in (None, folder.name):
                jobs += _golden_jobs(Bundle.read(folder), sides, steps, dtypes, thorough)
    if only is not None and not any(name.split("/", 1)[1] == only for name in names):
        near = difflib.get_close_matches(only, [name.split("/", 1)[1] for name in names], n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
        raise ValueError(f"--case {only}: no such case; {hint}")
    return sorted(jobs, key=lambda job: -job.weight)


def _bundle_folders(system: str) -> list[Path]:
    folder = processes.ROOT / "alignment" / "golden" / system
    return find_bundles(folder) if folder.is_dir() else []


def _twin_job(manifest: dict[str, Any], steps: list[str], dtypes: list[str]) -> list[Job]:
    own = own_steps(manifest["system"])
    if not any(step_of(stage, own) in steps for stage in manifest["stages"]):
        return []
    unit = Unit(manifest["system"], manifest["case"], TWIN)
    memory = _memory(unit, BASE)
    weight = 0.0 if manifest.get("state") == [] else 100.0 if "prepare" in manifest else 25.0 * memory
    return [Job(unit, lambda: twins.run_case(manifest, steps, dtypes), weight, memory)]


def _golden_jobs(bundle: Bundle, sides: list[str], steps: list[str], dtypes: list[str], thorough: bool) -> list[Job]:
    manifest, folder, made = bundle.manifest, bundle.folder, []
    relative = str(folder.relative_to(processes.ROOT)) if folder.is_relative_to(processes.ROOT) else str(folder)
    for side in sides:
        stages = [stage for stage in _golden_stages(bundle, steps, dtypes)
                  if thorough or not repeats(bundle, stage, side)]
        if stages:
            unit = Unit(manifest["system"], manifest["case"], GOLDEN, side, relative)
            made.append(Job(unit, functools.partial(run_golden, bundle, unit, stages),
                            parameters(bundle) * len(stages), _memory(unit, memory_of(bundle, stages))))
    return made


def _memory(unit: Unit, estimate: float) -> float:
    """GB that a unit needs: as the system's cases say, or the estimate."""
    return getattr(importlib.import_module(f"alignment.cases.{unit.system}"), "MEMORY", {}).get(
        (unit.case, unit.side), estimate)


def _golden_stages(bundle: Bundle, steps: list[str], dtypes: list[str]) -> list[str]:
    own, with_network = own_steps(bundle.manifest["system"]), bool(bundle.manifest["state"])
    return [stage for stage in bundle.stages if step_of(stage, own) in steps
            and (not with_network or split_stage(stage)[1] in dtypes)]


def left_out(systems: list[str], steps: list[str], dtypes: list[str], sides: list[str]) -> list[str]:
    """The recorded stages that only ``--thorough`` runs, with the command that runs each."""
    bundles = [Bundle.read(folder) for system in systems for folder in _bundle_folders(system)]
    return [f"python -m alignment golden {bundle.folder.relative_to(processes.ROOT)} --side {side} --only {stage}"
            for bundle in bundles for side in sides for stage in _golden_stages(bundle, steps, dtypes)
            if repeats(bundle, stage, side)]


def own_steps(system: str) -> dict[str, tuple[str, ...]]:
    """A case's additions to the table of steps."""
    return getattr(importlib.import_module(f"alignment.cases.{system}"), "STEPS", {})


def run_golden(bundle: Bundle, unit: Unit, stages: list[str]) -> Outcome:
    """A golden bundle on one side as an outcome."""
    started, own = time.perf_counter(), own_steps(unit.system)
    result = golden.run_bundle(bundle, unit.side, stages)
    outcome = Outcome(unit, errors={f"{unit.side} {stage}": error for stage, error in result.errors.items()})
    outcome.lines = [Line(unit, verdict.key.split("/", 1)[0], step_of(verdict.key.split("/", 1)[0], own), verdict)
                     for verdict in result.verdicts]
    for key in bundle.values:
        if key.endswith("/losses") and key in result.computed:
            outcome.kept.setdefault("ref", {})[key] = bundle.wanted(key)
            outcome.kept.setdefault("paddle", {})[key] = result.computed[key]
    upstream = bundle.manifest.get("upstream", {})
    outcome.facts = {"salt": str(bundle.manifest.get("salt", "a")),
                     "upstream": f"{upstream.get('repository', '')} {str(upstream.get('commit', ''))[:10]}".strip()}
    outcome.seconds = time.perf_counter() - started
    return outcome


def run_jobs(jobs: list[Job], workers: int, out: TextIO) -> list[Outcome]:
    """Run the jobs, ``workers`` at a time, telling of each as it ends; outcomes in the systems' order.

    Raises:
        KeyboardInterrupt: after an interrupt or a request to terminate; no child is left.
    """
    outcomes = []
    with contextlib.closing(outcomes_of(jobs, workers)) as ended:  # an interrupt while printing ends the children too
        for outcome in ended:
            outcomes.append(outcome)
            _print_outcome(outcome, f"[{len(outcomes)}/{len(jobs)}]", out)
    return sorted(outcomes, key=lambda outcome: (outcome.unit.system, outcome.unit.source != TWIN, outcome.unit.case,
                                                 outcome.unit.side))


def find_gaps(outcomes: list[Outcome], systems: list[str], steps: list[str]) -> list[str]:
    """What was asked for but had nothing to compare: a proof of nothing is a failure."""
    gaps = []
    for system in systems:
        lines = [line for outcome in outcomes if outcome.unit.system == system for line in outcome.lines]
        if not lines:
            gaps.append(f"{system}: nothing was compared")
            continue
        gaps += [f"{system}: nothing was compared for step {step}" for step in steps
                 if not any(line.step == step for line in lines)]
    return gaps


def _print_outcome(outcome: Outcome, progress: str, out: TextIO) -> None:
    bad = len(outcome.failures)
    word = "ok  " if outcome.passed else "FAIL"
    _say(f"{word} {progress:>8} {outcome.unit.title}: {len(outcome.lines) - bad} tensors agree"
          f"{f', {bad} differ' if bad else ''} ({outcome.seconds:.0f} s)", out)
    for text in _failure_texts(outcome):
        _say(f"       {text}", out)


def _failure_texts(outcome: Outcome) -> Iterator[str]:
    for where, error in outcome.errors.items():
        yield f"error in {where}: " + error.strip().replace("\n", "\n         ")
    for line in outcome.first_divergences():
        agreeing = next(i for i, other in enumerate(
            [other for other in outcome.lines if other.stage == line.stage]) if other is line)
        yield f"first divergence in {line.stage}: {line.name} ({agreeing} before it agree): {tell(line)}"
        yield f"  repeat: {line.command}"
    first = {id(line) for line in outcome.first_divergences()}
    later = [line for line in outcome.failures if id(line) not in first]
    for line in later[:SHOWN_FAILURES]:
        yield f"then {line.verdict.key}: {tell(line)}"
    if len(later) > SHOWN_FAILURES:
        yield f"and {len(later) - SHOWN_FAILURES} more (--report DIR lists all)"


def tell(line: Line) -> str:
    """The verdict in words."""
    verdict = line.verdict
    if verdict.finding == "values":
        return f"relative difference {verdict.relative:.2e}, allowed {verdict.allowed:.1e}; {verdict.detail}"
    return f"{verdict.finding}: {verdict.detail}"


def _print_totals(outcomes: list[Outcome], gaps: list[str], seconds: float, processor: float) -> None:
    for gap in gaps:
        _say(f"FAIL {gap}")
    lines = [line for outcome in outcomes for line in outcome.lines]
    bad = sum(not line.verdict.passed for line in lines)
    broken = sum(bool(outcome.errors) for outcome in outcomes)
    _say(f"{len(lines) - bad} tensors agree, {bad} differ, {broken} cases stopped, {len(gaps)} gaps; "
         f"{seconds:.0f} s, {processor:.0f} s of processor time")


def processor_seconds() -> float:
    """Processor time of this process and its ended children: the cost of a run, however busy the machine is."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _say(text: str, out: TextIO | None = None) -> None:
    out = out or sys.stdout
    out.write(f"{text}\n")
    out.flush()
