"""What an alignment run found: plain data that the console, the report and the official artefacts are made from."""
from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from alignment.bundle import STEPS, split_stage
from alignment.compare import Verdict

TWIN, GOLDEN, RULE, UPSTREAM = "twin", "golden", "rule", "upstream"


@dataclass(frozen=True)
class Unit:
    """One comparison: a case on two sides. ``source`` is ``twin``, ``golden``, ``rule`` or ``upstream``; ``side`` is
    whom a bundle or an original judged."""

    system: str
    case: str
    source: str
    side: str = "paddle"
    folder: str = ""  # of a bundle; of a checkout, behind the original's name: ``mvf DIR``

    @property
    def title(self) -> str:
        if self.source == TWIN:
            return f"{self.system}/{self.case}: Paddle against the torch twin"
        if self.source == RULE:
            return f"{self.system}/{self.case}: Paddle against the original's rules"
        whose = "Paddle" if self.side == "paddle" else "the torch twin"
        if self.source == UPSTREAM:
            return f"{self.system}/{self.case}: {whose} against the original's own code"
        return f"{self.system}/{self.case}: {whose} against the original's recorded values"

    @property
    def against(self) -> str:
        """The reference, in a few words."""
        return {TWIN: "torch twin", RULE: "original's rules", UPSTREAM: f"original run here, {self.side}"}.get(
            self.source, f"original's records, {self.side}")

    def command(self, stage: str, step: str) -> str:
        """The command that repeats one stage of it."""
        if self.source == GOLDEN:
            return f"python -m alignment golden {self.folder} --side {self.side} --only {stage}"
        if self.source == RULE:
            return f"python -m alignment {self.system} {step}"
        dtype = split_stage(stage)[1]
        if self.source == UPSTREAM:
            name, checkout = self.folder.split(" ", 1)
            return (f"python -m alignment upstream {name} {step} --checkout {shlex.quote(checkout)} "
                    f"--case {self.case} --dtype {dtype} --side {self.side}")
        return f"python -m alignment {self.system} {step} --case {self.case} --dtype {dtype} --no-golden"


@dataclass(frozen=True)
class Line:
    """One verdict and its place."""

    unit: Unit
    stage: str  # as labelled: a trailing 64 is the float64 run
    step: str
    verdict: Verdict

    @property
    def name(self) -> str:
        """The tensor, without its stage."""
        return self.verdict.key.split("/", 1)[1]

    @property
    def dtype(self) -> str:
        return split_stage(self.stage)[1]

    @property
    def command(self) -> str:
        return self.unit.command(self.stage, self.step)


@dataclass
class Outcome:
    """All that one unit gave. ``lines`` are in the reference's order of execution."""

    unit: Unit
    lines: list[Line] = field(default_factory=list)
    seconds: float = 0.0
    errors: dict[str, str] = field(default_factory=dict)  # by side and stage, or 'unit'
    left_out: list[str] = field(default_factory=list)  # keys that exist in the twin only, as the case declares
    kept: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)  # small arrays by side ('paddle', 'ref')
    facts: dict[str, str] = field(default_factory=dict)  # salt, upstream, versions

    @property
    def passed(self) -> bool:
        return bool(self.lines) and not self.errors and all(line.verdict.passed for line in self.lines)

    @property
    def failures(self) -> list[Line]:
        return [line for line in self.lines if not line.verdict.passed]

    def first_divergences(self) -> list[Line]:
        """The first failed line of every stage: where it began."""
        first: dict[str, Line] = {}
        for line in self.failures:
            first.setdefault(line.stage, line)
        return list(first.values())


def step_of(stage: str, own: dict[str, Iterable[str]]) -> str:
    """The step (data, forward, metric, loss, backward, train) that a stage belongs to.

    Args:
        stage: name, with or without a trailing 64.
        own: the case's additions, step -> stage names.

    Raises:
        ValueError: if no step claims it.
    """
    base = split_stage(stage)[0]
    for table in (own, STEPS):
        for step, names in table.items():
            if base in names or stage in names:
                return step
    raise ValueError(f"stage {base!r} belongs to no step; name it in STEPS of the case")


def worst(lines: Iterable[Line]) -> Line | None:
    """The line nearest to failing (or failing worst); exact matches count least."""
    return max(lines, key=lambda line: 1 / line.verdict.margin if line.verdict.margin else np.inf, default=None)
