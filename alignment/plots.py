"""The report's pictures, as SVG embedded in a page: errors against the original's own rounding, losses, statistics."""
from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt

from alignment.bundle import split_stage
from alignment.compare import FLOAT64_LIMIT
from alignment.results import TWIN, Line, Outcome

STYLE = {"svg.hashsalt": "alignment", "font.size": 8, "axes.spines.top": False, "axes.spines.right": False,
         "font.family": "DejaVu Sans", "axes.grid": True, "grid.alpha": 0.25, "legend.frameon": False}
# Distinguishable without colour vision (Okabe and Ito) and by marker.
SINGLE, DOUBLE, ROUNDING, LIMIT, WRONG = "#0072b2", "#009e73", "#e69f00", "#999999", "#d55e00"
EXACT = 1e-18  # where exact matches are drawn
STATISTICS = re.compile(r"running_(mean|var)$")


@dataclass(frozen=True)
class Picture:
    """An image as a data URI, what it shows in words, and the command that makes it again."""

    title: str
    caption: str
    source: str
    command: str


def pictures(outcomes: list[Outcome]) -> list[Picture]:
    """All pictures of one system."""
    made = []
    with mpl.rc_context(STYLE):
        for outcome in outcomes:
            if outcome.unit.source == TWIN:
                made += _of_case(outcome)
        made += [picture for outcome in outcomes for picture in _losses(outcome)]
    return made


def _of_case(outcome: Outcome) -> list[Picture]:
    made, case = [], outcome.unit.case
    for stage in dict.fromkeys(split_stage(line.stage)[0] for line in outcome.lines):
        lines = [line for line in outcome.lines if split_stage(line.stage)[0] == stage]
        gradients = [line for line in lines if line.name.startswith("grad:")]
        if lines[0].step == "forward" and len(lines) >= 6:
            made.append(_errors(lines, f"{case}: error by depth ({stage})", "activation, in order of execution"))
        elif len(gradients) >= 6:
            made.append(_errors(gradients, f"{case}: gradients ({stage})",
                                "parameter, from the last layer to the first"))
        statistics = [line for line in lines if STATISTICS.search(line.name)]
        if len(statistics) >= 4:
            made.append(_errors(statistics, f"{case}: running statistics ({stage})", "statistic"))
    return made


def _errors(lines: list[Line], title: str, axis: str) -> Picture:
    figure, axes = plt.subplots(figsize=(5.4, 3.0))
    single = [line for line in lines if line.dtype == "float32" and np.isfinite(line.verdict.relative)]
    double = [line for line in lines if line.dtype == "float64" and np.isfinite(line.verdict.relative)]
    if single:
        axes.plot([line.verdict.allowed for line in single], color=LIMIT, lw=1, ls="--", label="float32: allowed")
        own = [line.verdict.yardstick if line.verdict.yardstick is not None else np.nan for line in single]
        axes.plot(np.maximum(own, EXACT), color=ROUNDING, lw=1.4, label="the original's own rounding")
        axes.plot(_heights(single), ".", color=SINGLE, ms=4, label="float32: ours")
    if double:
        axes.axhline(FLOAT64_LIMIT, color=LIMIT, lw=1, ls=":", label="float64: allowed")
        axes.plot(_heights(double), "+", color=DOUBLE, ms=4, label="float64: ours")
    for group in (single, double):
        bad = [(i, max(line.verdict.relative, EXACT)) for i, line in enumerate(group) if not line.verdict.passed]
        if bad:
            axes.plot(*zip(*bad, strict=True), "x", color=WRONG, ms=7, mew=2, label="failed")
    axes.set(yscale="log", xlabel=axis, ylabel="relative error", title=title)
    axes.set_ylim(bottom=EXACT / 3)
    _legend(axes)
    worst = max((line.verdict.relative for line in single + double), default=0.0)
    return _picture(figure, title,
                    f"{len(lines)} tensors; largest relative error {worst:.1e}; exact matches are drawn at {EXACT:.0e}",
                    command(lines[0]))


def command(line: Line) -> str:
    """What computes the line's stage in every precision, and draws it."""
    return re.sub(r" --dtype \w+", "", line.command) + " --report DIR"


def _heights(lines: list[Line]) -> list[float]:
    return [max(line.verdict.relative, EXACT) for line in lines]


def _losses(outcome: Outcome) -> list[Picture]:
    """Loss by step of both sides over each other, and their distance."""
    series = {}
    for key, ref in outcome.kept.get("ref", {}).items():
        ours = outcome.kept.get("paddle", {}).get(key)
        if key.endswith("/losses") and ours is not None and ours.shape == ref.shape and ref.size > 1:
            series[key.split("/", 1)[0]] = (ref.astype(np.float64), ours.astype(np.float64))
    if not series or outcome.unit.side == "torch":
        return []
    figure, (above, below) = plt.subplots(2, 1, figsize=(5.4, 3.4), sharex=True, height_ratios=(2, 1))
    other = "torch twin" if outcome.unit.source == TWIN else "original"
    for stage, (ref, ours) in series.items():
        dtype = split_stage(stage)[1]
        colour = DOUBLE if dtype == "float64" else SINGLE
        above.plot(ref, color=colour, lw=5, alpha=0.3, label=f"{other}, {dtype}")
        above.plot(ours, color=colour, lw=1.2, ls="--", marker=".", label=f"Paddle, {dtype}")
        distance = np.abs(ours - ref) / max(np.abs(ref).max(), 1e-12)
        below.plot(np.maximum(distance, EXACT), color=colour, marker=".", lw=1)
    title = f"{outcome.unit.case}: training losses ({other})"
    above.set(ylabel="loss", title=title)
    below.set(yscale="log", xlabel="step", ylabel="relative distance")
    steps = len(next(iter(series.values()))[0])
    below.set_xticks(range(0, steps, max(1, steps // 10)))
    _legend(above)
    line = next(line for line in outcome.lines if line.name == "losses")
    return [_picture(figure, title, f"Both sides from the same weights on the same data; {other} wide, Paddle dashed.",
                     command(line) if outcome.unit.source == TWIN else line.command)]


def _legend(axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    axes.legend(unique.values(), unique.keys(), loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, fontsize=7)
    if axes.get_xlabel() == "":
        axes.legend(unique.values(), unique.keys(), fontsize=7)


def _picture(figure, title: str, caption: str, repeat: str) -> Picture:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    svg = buffer.getvalue()
    encoded = base64.b64encode(svg[svg.index("<svg"):].encode()).decode()
    return Picture(title, caption, f"data:image/svg+xml;base64,{encoded}", repeat)
