"""The matrix of planted faults as HTML, Markdown and JSON."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2

from alignment import report
from alignment.faults.manifests import SYSTEMS
from alignment.faults.matrix import TARGET_LOCATED, Finding, Matrix, by_fault
from engine.files import atomic_write

TEMPLATES = Path(__file__).parents[1] / "templates"


def write(folder: Path, matrix: Matrix, *, seconds: float, command: str) -> None:
    """Write ``faults.html``, ``faults.md`` and ``faults.json`` into ``folder``, and that into its page."""
    for name, text in (("faults.html", html(matrix, command)), ("faults.md", markdown(matrix, command)),
                       ("faults.json", json.dumps(to_json(matrix, seconds, command), allow_nan=False, indent=0))):
        with atomic_write(folder / name) as file:
            file.write(text)
    report.renew_faults(folder)


def totals(matrix: Matrix) -> list[str]:
    """The result in a few lines."""
    count = len(matrix.findings)
    lines = [f"FAIL {one.fault.name} in {one.place.system}/{one.place.case}: {_wrong(one)}"
             for one in matrix.findings if not one.located]
    lines += [f"FAIL false alarm in {one.system}/{one.case} {one.stage}: {one.first}" for one in matrix.alarms]
    lines += [f"FAIL {text}" for text in matrix.broken]
    names = len(by_fault(matrix.findings))
    return [*lines,
            f"{names} faults at {count} places, {len(matrix.cells)} stages: {matrix.count('caught')} of {count} caught "
            f"(target all), {matrix.count('located')} located (target {TARGET_LOCATED:.0%}), "
            f"{len(matrix.alarms)} false alarms in {matrix.clean_stages} clean stages (target 0)",
            f"the customary rule sees {matrix.count('guide')} of {count} in the guide's tensors, "
            f"{matrix.count('everywhere')} in all of ours; it rejects {matrix.float32_rejected} of "
            f"{matrix.float32_stages} stages of clean float32 runs",
            "passed" if matrix.passed else "FAILED"]


def _wrong(one: Finding) -> str:
    if one.error:
        return one.error
    green = [cell.stage for cell in one.cells if not cell.caught]
    if green:
        return f"not caught in {', '.join(green)}"
    return f"located at {one.cells[0].first!r} ({one.cells[0].detail}), expected {one.place.found} {one.place.detail}"


def html(matrix: Matrix, command: str) -> str:
    """The table as a fragment that the report's page can include; it uses that page's classes."""
    found = by_fault(matrix.findings)
    rows = [{"name": name, "about": next(iter(places.values())).fault.about, "found": places,
             "missed": [system for system, one in places.items() if not one.guide]} for name, places in found.items()]
    engine = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined,
                                autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return engine.get_template("faults.html.j2").render(
        passed=matrix.passed, faults=len(found), places=len(matrix.findings), systems=_systems(matrix), rows=rows,
        when=report.when(), caught=matrix.count("caught"), located=matrix.count("located"), guide=matrix.count("guide"),
        everywhere=matrix.count("everywhere"), clean=matrix.clean_stages, rounded=matrix.float32_stages,
        rejected=matrix.float32_rejected, alarms=matrix.alarms, broken=matrix.broken,
        beside=sum(bool(one.place.beside) for one in matrix.findings), findings=matrix.findings, command=command)


def markdown(matrix: Matrix, command: str) -> str:
    """The same as Markdown."""
    systems = _systems(matrix)
    lines = ["# Planted faults", "", *(f"- {line}" for line in totals(matrix)), "", f"`{command}`", "",
             f"| fault | {' | '.join(systems)} | customary rule misses |", f"|{' --- |' * (len(systems) + 2)}"]
    for name, places in by_fault(matrix.findings).items():
        cells = [_text(places.get(system)) for system in systems]
        missed = ", ".join(system for system, one in places.items() if not one.guide)
        lines.append(f"| {name}: {next(iter(places.values())).fault.about} | {' | '.join(cells)} | {missed} |")
    lines += ["", "| fault | place | first red | expected |", "| --- | --- | --- | --- |"]
    lines += [f"| {one.fault.name} | {one.place.system}/{one.place.case} {one.place.stages[0]} | "
              f"`{one.cells[0].first if one.cells else one.error}` | `{one.place.found.replace('|', chr(92) + '|')}`"
              f"{' (' + one.place.beside + ')' if one.place.beside else ''} |" for one in matrix.findings]
    return "\n".join(lines) + "\n"


def _text(one: Finding | None) -> str:
    if one is None:
        return "–"
    stages = " ".join(f"{'✓' if cell.caught else '✗'}{cell.stage}" for cell in one.cells)
    return stages if one.located else f"**{stages or 'not planted'}, not located**"


def to_json(matrix: Matrix, seconds: float, command: str) -> dict[str, Any]:
    """Everything, and the HTML fragment."""
    return {
        "passed": matrix.passed, "seconds": round(seconds, 1), "command": command,
        "faults": len(by_fault(matrix.findings)), "places": len(matrix.findings), "caught": matrix.count("caught"),
        "located": matrix.count("located"), "customary_guide": matrix.count("guide"),
        "customary_everywhere": matrix.count("everywhere"), "clean_stages": matrix.clean_stages,
        "customary_clean_float32": {"stages": matrix.float32_stages, "rejected": matrix.float32_rejected},
        "false_alarms": [vars(alarm) for alarm in matrix.alarms], "broken": list(matrix.broken),
        "findings": [{"fault": one.fault.name, "about": one.fault.about, "system": one.place.system,
                      "case": one.place.case, "caught": one.caught, "located": one.located, "error": one.error,
                      "expected": one.place.found, "beside": one.place.beside, "customary_guide": one.guide,
                      "customary_everywhere": one.everywhere, "cells": [vars(cell) for cell in one.cells]}
                     for one in matrix.findings],
        "html": html(matrix, command)}


def _systems(matrix: Matrix) -> list[str]:
    present = {one.place.system for one in matrix.findings}
    return [system for system in SYSTEMS if system in present]
