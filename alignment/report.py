"""The report of an alignment run: one HTML page, Markdown, JSON, and the reproduction guide's own files."""
from __future__ import annotations

import datetime
import importlib.metadata
import json
import math
import os
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from alignment import compare, official, plots, processes
from alignment.results import GOLDEN, RULE, TWIN, UPSTREAM, Line, Outcome, worst
from engine.files import atomic_write

STEPS = ("init", "data", "forward", "metric", "loss", "backward", "train")
NEAREST = 8  # tensors nearest to their limit, shown for each system
TEMPLATES = Path(__file__).with_name("templates")
FAULTS = ("<!-- planted faults -->", "<!-- end of planted faults -->")  # around their section of the page


@dataclass(frozen=True)
class Cell:
    """One system and step of the summary."""

    count: int
    bad: int
    worst: Line | None

    @property
    def state(self) -> str:
        return "none" if not self.count else "fail" if self.bad else "pass"


def write(folder: Path, outcomes: list[Outcome], gaps: list[str], *, seconds: float, processor: float,
          jobs: int, arguments: list[str], left: list[str] = ()) -> Path:
    """Write the report of a run into ``folder``.

    Returns:
        The folder, which now holds ``index.html``, ``report.md``, ``report.json`` and ``SYSTEM/result``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    customary = {system: official.write(folder / system / "result", found)
                 for system, found in by_system(outcomes).items()}
    content = collect(outcomes, gaps, customary, seconds=seconds, left=list(left), faults=faults_section(folder),
                      environment=environment(outcomes, jobs, processor, arguments))
    engine = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined,
                                autoescape=lambda name: bool(name) and ".html" in name, trim_blocks=True,
                                lstrip_blocks=True)
    engine.filters.update(sci=scientific, margin=margin_text, code=code_span)
    for name in ("index.html", "report.md"):
        with atomic_write(folder / name) as file:
            file.write(engine.get_template(f"{name}.j2").render(**content))
    with atomic_write(folder / "report.json") as file:
        json.dump(to_json(outcomes, content), file, allow_nan=False, indent=0)
    return folder


def faults_section(folder: Path) -> str:
    """The matrix of planted faults that ``python -m alignment faults --report`` left in ``folder``, between marks."""
    fragment = folder / "faults.html"
    found = fragment.read_text(encoding="utf-8") if fragment.is_file() else (
        '<h2 id="faults">Planted faults</h2>\n<p>Not planted yet: <code>make faults</code> does, and writes its matrix '
        "here.</p>")
    return f"{FAULTS[0]}\n{found}\n{FAULTS[1]}"


def renew_faults(folder: Path) -> None:
    """Put the folder's matrix of planted faults into its page, if it has one."""
    page = folder / "index.html"
    if page.is_file():
        before, _, rest = page.read_text(encoding="utf-8").partition(FAULTS[0])
        with atomic_write(page) as file:
            file.write(before + faults_section(folder) + rest.partition(FAULTS[1])[2])


def by_system(outcomes: list[Outcome]) -> dict[str, list[Outcome]]:
    """Outcomes of each system, in the order given."""
    found: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault(outcome.unit.system, []).append(outcome)
    return found


def collect(outcomes: list[Outcome], gaps: list[str], customary: dict[str, dict[str, str]], *, seconds: float,
            environment: dict[str, str], left: list[str] = (), faults: str = "") -> dict[str, Any]:
    """Everything the templates print."""
    lines = [line for outcome in outcomes for line in outcome.lines]
    firsts = [line for outcome in outcomes for line in outcome.first_divergences()]
    failures = firsts + [line for line in lines if not line.verdict.passed and line not in firsts]
    return {
        "passed": bool(outcomes) and not gaps and all(outcome.passed for outcome in outcomes),
        "faults": faults,
        "systems": [_system(name, found, customary.get(name, {})) for name, found in by_system(outcomes).items()],
        "steps": STEPS, "lines": len(lines), "failures": failures, "first_lines": firsts, "gaps": gaps, "left": left,
        "logs": official.POINTS,
        "errors": [(outcome.unit.title, where, error) for outcome in outcomes
                   for where, error in outcome.errors.items()],
        "seconds": seconds, "environment": environment,
        "limits": {"float64": compare.FLOAT64_LIMIT, "floor": compare.FLOAT32_FLOOR,
                   "factor": compare.FLOAT32_FACTOR, "customary": official.THRESHOLD},
    }


def _system(name: str, outcomes: list[Outcome], customary: dict[str, str]) -> dict[str, Any]:
    lines = [line for outcome in outcomes for line in outcome.lines]
    floats = [line for line in lines
              if line.verdict.passed and line.verdict.relative > 0 and line.unit.source != RULE]
    return {
        "name": name, "passed": all(outcome.passed for outcome in outcomes), "outcomes": outcomes,
        "rows": [(title, {step: _cell(lines, source, step) for step in STEPS})
                 for source, title in ((RULE, "rules"), (TWIN, "twin"), (GOLDEN, "original"),
                                       (UPSTREAM, "original, run here"))
                 if any(outcome.unit.source == source for outcome in outcomes)],
        "stages": [row for outcome in outcomes for row in _stages(outcome)],
        "nearest": sorted(floats, key=lambda line: line.verdict.margin)[:NEAREST],
        "allowances": _allowances(lines), "customary": customary, "pictures": plots.pictures(outcomes),
        "left_out": sorted({key.split("/", 1)[1] for outcome in outcomes for key in outcome.left_out}),
        "seconds": sum(outcome.seconds for outcome in outcomes),
    }


def _cell(lines: Iterable[Line], source: str, step: str) -> Cell:
    mine = [line for line in lines if line.step == step and line.unit.source == source]
    return Cell(len(mine), sum(not line.verdict.passed for line in mine), worst(mine))


def _stages(outcome: Outcome) -> list[dict[str, Any]]:
    """One row for each stage: how many tensors, the nearest to failing, the command that repeats it."""
    rows = []
    for stage in dict.fromkeys(line.stage for line in outcome.lines):
        mine = [line for line in outcome.lines if line.stage == stage]
        rows.append({"unit": outcome.unit, "stage": stage, "step": mine[0].step, "count": len(mine),
                     "bad": sum(not line.verdict.passed for line in mine), "worst": worst(mine),
                     "command": mine[0].command})
    return rows


def _allowances(lines: Iterable[Line]) -> list[dict[str, Any]]:
    """Named departures from the rule that were in force, with the tensors under them."""
    found: dict[str, list[Line]] = {}
    for line in lines:
        if line.verdict.reason:
            found.setdefault(line.verdict.reason, []).append(line)
    return [{"reason": reason, "count": len(mine), "worst": worst(mine)} for reason, mine in found.items()]


def environment(outcomes: list[Outcome], jobs: int, processor: float, arguments: list[str]) -> dict[str, str]:
    """Where and on what the run was made."""
    packages = {name: _version(name)
                for name in ("paddlepaddle", "torch", "numpy", "opencv-python-headless", "reprod-log")}
    salts = sorted({outcome.facts["salt"] for outcome in outcomes if outcome.facts.get("salt")})
    upstream = sorted({outcome.facts["upstream"] for outcome in outcomes if outcome.facts.get("upstream")})
    return {
        "command": " ".join(["python -m alignment", *arguments]), "made": when(),
        **packages, "Python": platform.python_version(), "system": platform.platform(),
        "CPU": f"{_processor()}, {os.cpu_count()} processors",
        "threads": f"{os.environ.get('OMP_NUM_THREADS', 'all')} a process, {jobs} processes at a time",
        "processor time": f"{processor:.0f} s",
        "seeds (salts of the recipes)": ", ".join(salts), "originals": "; ".join(upstream),
    }


def when() -> str:
    """Date and revision."""
    now = datetime.datetime.now(datetime.timezone.utc)  # noqa: UP017 - datetime.UTC is new in Python 3.11
    return f"{now:%Y-%m-%d %H:%M} UTC, revision {_revision()}"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _revision() -> str:
    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=processes.ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""
    try:
        commit = git("rev-parse", "--short=12", "HEAD")
        return f"{commit}{' with local changes' if git('status', '--porcelain') else ''}" if commit else "no git"
    except FileNotFoundError:
        return "no git"


def to_json(outcomes: list[Outcome], content: dict[str, Any]) -> dict[str, Any]:
    """The whole run as plain JSON: every verdict with the command that repeats it."""
    return {
        "passed": content["passed"], "seconds": round(content["seconds"], 1), "limits": content["limits"],
        "environment": content["environment"], "gaps": content["gaps"], "left": content["left"],
        "customary": {system["name"]: system["customary"] for system in content["systems"]},
        "cases": [{"system": outcome.unit.system, "case": outcome.unit.case, "source": outcome.unit.source,
                   "side": outcome.unit.side, "passed": outcome.passed, "seconds": round(outcome.seconds, 1),
                   "errors": outcome.errors, "left_out": outcome.left_out, **outcome.facts} for outcome in outcomes],
        "verdicts": [_verdict(line) for outcome in outcomes for line in outcome.lines],
    }


def _verdict(line: Line) -> dict[str, Any]:
    verdict = line.verdict
    return {"system": line.unit.system, "case": line.unit.case, "source": line.unit.source, "side": line.unit.side,
            "step": line.step, "stage": line.stage, "dtype": line.dtype, "tensor": line.name,
            "passed": bool(verdict.passed), "relative": _finite(verdict.relative), "allowed": _finite(verdict.allowed),
            "margin": _finite(verdict.margin), "yardstick": _finite(verdict.yardstick), "finding": verdict.finding,
            "mean_absolute": _finite(verdict.mean_absolute), "detail": verdict.detail, "reason": verdict.reason,
            "command": line.command}


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def scientific(value: float | None) -> str:
    """A short number: 2.3e-07, 0, or a dash."""
    if value is None or math.isnan(value):
        return "–"
    return "incomparable" if math.isinf(value) else "0" if value == 0 else f"{value:.1e}"


def code_span(text: str) -> str:
    """Text as a code span of a Markdown table."""
    return "`" + str(text).replace("|", "\\|").replace("\n", " ").replace("`", "'") + "`"


def margin_text(line: Line | None) -> str:
    """How many times the error would have to grow to fail."""
    if line is None:
        return "–"
    margin = line.verdict.margin
    if line.verdict.relative == 0:
        return "exact"
    return "failed" if not line.verdict.passed else f"{margin:.1f}×" if margin < 1000 else f"{margin:.0e}×"
