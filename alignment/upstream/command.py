"""``python -m alignment upstream NAME --checkout DIR``: the original's own code, run here, against ours."""
from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from alignment import align, twins, worker
from alignment.results import UPSTREAM, Outcome, Unit
from alignment.twins import Reference
from alignment.upstream.checkout import Checkout
from alignment.upstream.originals import ORIGINALS


def upstream_command(arguments: list[str]) -> int:
    """Run the command; the exit status is 1 for any failure, 2 for unusable arguments, 130 after an interrupt."""
    parser = _parser()
    options = parser.parse_intermixed_args(arguments)
    original = ORIGINALS[options.name]
    try:
        _, steps, named_steps = align.split_names(options.steps)
        checkout = Checkout.read(original, options.checkout)
        if options.jobs < 1:
            raise ValueError(f"--jobs {options.jobs}: at least one process is needed")
        if options.side == "torch" and original.framework != "torch":
            raise ValueError(f"--side torch: {original.repository} is in Paddle, the twin's original is another")
        jobs = plan(checkout, steps, options)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // options.jobs)))
    _say(checkout.tell())
    started = time.perf_counter()
    try:
        outcomes = align.run_jobs(jobs, options.jobs, sys.stdout)
    except KeyboardInterrupt:
        _say("interrupted: no report is written")
        return 130
    seconds = time.perf_counter() - started
    gaps = align.find_gaps(outcomes, [original.system], steps if named_steps else [])
    _tell_totals(outcomes, gaps, original.apart, seconds)
    if options.report:
        from alignment import report
        folder = report.write(Path(options.report), outcomes, gaps, seconds=seconds,
                              processor=align.processor_seconds(), jobs=options.jobs,
                              arguments=["upstream", *arguments])
        _say(f"report: {folder / 'index.html'}")
    return 0 if outcomes and not gaps and all(outcome.passed for outcome in outcomes) else 1


def _parser() -> argparse.ArgumentParser:
    names = ", ".join(f"{name} ({original.repository})" for name, original in ORIGINALS.items())
    parser = argparse.ArgumentParser(prog="python -m alignment upstream",
                                     description="your checkout of an original against our network, loss and metric")
    parser.add_argument("name", choices=list(ORIGINALS), metavar="NAME", help=names)
    parser.add_argument("steps", nargs="*", metavar="STEP", help="forward, metric, loss or backward (default: all)")
    parser.add_argument("--checkout", required=True, metavar="DIR",
                        help="top folder of the original repository; it is read only")
    parser.add_argument("--dtype", choices=("float32", "float64", "both"), default="both",
                        help="precision of both sides (default: both)")
    parser.add_argument("--case", metavar="NAME", help="this case only")
    parser.add_argument("--side", choices=("paddle", "torch"), default="paddle",
                        help="whom the original judges: our network (default) or our torch twin")
    parser.add_argument("--shim", action="append", default=[], metavar="PACKAGE",
                        help="use our stand-in although PACKAGE is installed (may be repeated)")
    parser.add_argument("--report", metavar="DIR", help="write index.html, report.md, report.json, the guide's files")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N",
                        help="processes at a time (default: one a processor)")
    return parser


def plan(checkout: Checkout, steps: list[str], options: argparse.Namespace) -> list[align.Job]:
    """A job for each case of the original.

    Raises:
        ValueError: for a package without a stand-in, or if ``--case`` or the steps leave nothing to run.
    """
    original = checkout.original
    unknown = sorted(set(options.shim) - set(original.shims))
    if unknown:
        raise ValueError(f"--shim {unknown[0]}: no stand-in; there are {', '.join(original.shims) or 'none'}")
    manifests = original.manifests()
    chosen = [manifest for manifest in manifests if options.case in (None, manifest["case"])]
    if not chosen:
        raise ValueError(f"--case {options.case}: no such case; there are "
                         f"{', '.join(manifest['case'] for manifest in manifests)}")
    chosen = [manifest for manifest in chosen
              if any(align.step_of(stage, align.own_steps(original.system)) in steps for stage in manifest["stages"])]
    if not chosen:
        raise ValueError(f"nothing of {original.repository} is run for {', '.join(steps)}")
    reference = make_reference(checkout, options.side, options.shim)
    dtypes = ["float32", "float64"] if options.dtype == "both" else [options.dtype]
    return [align.Job(Unit(original.system, manifest["case"], UPSTREAM, options.side, reference.folder),
                      partial(run_case, checkout, manifest, steps, dtypes, reference), 1.0) for manifest in chosen]


def make_reference(checkout: Checkout, judged: str = "paddle", shims: Iterable[str] = ()) -> Reference:
    """The original as the side that judges."""
    given: dict[str, Any] = {"name": checkout.original.name, "checkout": str(checkout.folder), "shims": list(shims)}
    return Reference(partial(worker.ask, "original", original=given), UPSTREAM, "the original", "original", judged,
                     f"{checkout.original.name} {checkout.folder}", tuple(checkout.original.apart),
                     checkout.original.allowances)


def run_case(checkout: Checkout, manifest: dict[str, Any], steps: list[str], dtypes: list[str],
             reference: Reference) -> Outcome:
    """One case, with the checkout's commit noted."""
    outcome = twins.run_case(manifest, steps, dtypes, reference)
    outcome.facts["upstream"] = checkout.short
    return outcome


def _tell_totals(outcomes: list[Outcome], gaps: list[str], apart: dict[str, str], seconds: float) -> None:
    for gap in gaps:
        _say(f"FAIL {gap}")
    stood_in = sorted({name for outcome in outcomes for name in outcome.facts.get("stand-ins", "").split(", ") if name})
    if stood_in:
        _say(f"not installed, stand-ins of ours served their imports: {', '.join(stood_in)}")
    left_out = [key for outcome in outcomes for key in outcome.left_out]
    if left_out:
        reasons = [reason for pattern, reason in apart.items() if any(re.search(pattern, key) for key in left_out)]
        _say(f"{len(left_out)} tensors of the original that ours forms in another way were left out"
             + "".join(f"\n       {reason}" for reason in reasons))
    lines = [line for outcome in outcomes for line in outcome.lines]
    bad = sum(not line.verdict.passed for line in lines)
    _say(f"{len(lines) - bad} tensors agree, {bad} differ, {sum(bool(outcome.errors) for outcome in outcomes)} cases "
         f"stopped, {len(gaps)} gaps; {seconds:.0f} s")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
