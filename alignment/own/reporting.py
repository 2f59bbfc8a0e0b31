"""Findings in words, and as the page that the project's own alignments get."""
from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from alignment.compare import Verdict
from alignment.own.captures import INPUT
from alignment.own.comparison import Findings
from alignment.results import TWIN, Line, Outcome, Unit


def as_text(found: Findings) -> str:
    """A line of totals; where it begins and what that means; the tree of layers for a forward comparison."""
    bad = sum(not verdict.passed for verdict in found.verdicts)
    lines = [f"{found.step}: {len(found.verdicts) - bad} tensors agree" + (f", {bad} differ" if bad else "")]
    if found.first is not None:
        lines += [f"  first divergence: {found.first.key}: {_detail(found.first)}", f"  {locate(found)}"]
        if found.faulty_alone:
            lines.append(f"  wrong by itself, given the reference's input: {', '.join(found.faulty_alone)}")
        elif found.alone:
            lines.append(f"  given the reference's inputs, each of {len(found.alone)} layers is right by itself")
        if found.layers and found.step == "forward":
            lines += ["  layers in order of execution, worst relative difference of the output:", *_tree(found)]
    reasons = {verdict.reason for verdict in found.verdicts if verdict.reason and verdict.relative > 1e-9}
    lines += [f"  allowed: {reason}" for reason in sorted(reasons)]
    layers = sorted({name for name in found.apart if not name.startswith(INPUT)})
    if layers:
        lines.append(f"  on one side only: {', '.join(layers[:6])}" + (f" and {len(layers) - 6} more"
                                                                       if len(layers) > 6 else ""))
    return "\n".join(lines)


def _detail(verdict: Verdict) -> str:
    if verdict.finding != "values":
        return f"{verdict.finding}: {verdict.detail}"
    return f"relative difference {verdict.relative:.1e}, allowed {verdict.allowed:.1e}; {verdict.detail}"


def locate(found: Findings) -> str:
    """What the place of the first divergence says about its cause."""
    stage, name = found.first.key.split("/", 1)
    if stage == "weights":
        return "the networks do not hold the same weights: copy_weights first"
    if not stage.endswith("64") and any(verdict.key.startswith(f"{stage}64/") for verdict in found.verdicts):
        return "float64 agrees everywhere: float32 rounding, or operations in another order"
    if name == "loss":
        return "the loss itself differs: look at the forward comparison, then at the loss function"
    if stage.startswith("backward"):
        return "gradients are listed from the last layer to the first: what runs behind this one is right"
    if stage.startswith("train"):
        return "losses tell from which step on; rates tell the schedule; parameters the optimizer"
    if name.startswith(INPUT):
        layer, before = name.removeprefix(INPUT), _before(found)
        return (f"{layer} is given other values, all before it agree{f' (last: {before})' if before else ''}: "
                "the fault is in what runs between the layers, a function")
    if name.startswith("output"):
        return "every layer agrees: the fault is in what runs behind the last one"
    return f"{name} is given equal values and makes others of them: the fault is inside"


def _before(found: Findings) -> str:
    """The layer whose output came last before the first divergence."""
    stage = found.first.key.split("/", 1)[0]
    names = [verdict.key.split("/", 1)[1] for verdict in found.verdicts if verdict.key.startswith(f"{stage}/")]
    index = names.index(found.first.key.split("/", 1)[1])
    return next((name for name in reversed(names[:index]) if not name.startswith(INPUT)), "")


def _tree(found: Findings) -> list[str]:
    """The layers that were compared, indented by depth; the faulty ones marked, the first pointed at."""
    stage = "forward64" if any(verdict.key.startswith("forward64/") for verdict in found.verdicts) else "forward"
    by_name = {verdict.key.split("/", 1)[1]: verdict for verdict in found.verdicts
               if verdict.key.startswith(f"{stage}/")}
    first = found.first.key.split("/", 1)[1].removeprefix(INPUT)
    lines = []
    for name in dict.fromkeys(found.layers):
        verdict = by_name.get(name) or by_name.get(f"{name}.0")
        if verdict is not None:
            indent, last = "  " * name.count("."), name.rsplit(".", 1)[-1]
            here = "  <- here" if name == first else ""
            lines.append(f"    {'ok  ' if verdict.passed else 'FAIL'} {verdict.relative:8.1e}  {indent}{last}{here}")
    return lines


@dataclass(frozen=True)
class _Own(Unit):
    """A comparison of the user's own networks, for the page."""

    @property
    def title(self) -> str:
        return f"{self.case}: the port against its reference"

    def command(self, stage: str, step: str) -> str:
        return f"python {Path(sys.argv[0]).name}"


def write_report(*findings: Findings, folder: str | Path | None = None, name: str = "port") -> str:
    """All findings in words; with a folder also ``index.html``, ``report.md``, ``report.json`` and the guide's files.

    Args:
        findings: of one port, in any number of steps.
        folder: where to write the page with its plots; None: nothing is written.
        name: of the port, on the page.

    Returns:
        The text.
    """
    if folder is not None:
        from alignment import report
        outcomes = [_outcome(found, name) for found in findings]
        report.write(Path(folder), outcomes, [], seconds=0.0, processor=0.0, jobs=1, arguments=sys.argv[1:])
    verdict = "agree" if findings and all(found.passed for found in findings) else "DO NOT AGREE"
    return "\n".join([*map(str, findings), f"the port and its reference {verdict}"])


def _outcome(found: Findings, name: str) -> Outcome:
    unit = _Own(name, found.step, TWIN)
    steps = {"captures": "forward"}
    outcome = Outcome(unit, facts={"salt": ""}, kept=found.kept)
    outcome.lines = [Line(unit, verdict.key.split("/", 1)[0], steps.get(found.step, found.step), verdict)
                     for verdict in found.verdicts]
    return outcome
