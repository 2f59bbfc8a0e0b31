"""The verdict on the harness: was each fault caught, was it located, did a clean run stay green?"""
from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from alignment.faults.fault import Fault, Place

# The reproduction guide's rule: the mean absolute difference of a few tensors, below these.
CUSTOMARY = {"data": 1e-6, "forward": 1e-6, "metric": 1e-6, "loss": 1e-6, "backward": 1e-5, "train": 1e-5}
# The tensors the guide looks at: data, metric and loss values, final outputs, losses and rates of a few updates. It
# looks at no gradient, parameter or statistic.
GUIDE = {"data": r".*", "metric": r".*", "loss": r".*", "train": r"losses|rates", "backward": r"loss",
         "forward": r"logits|logits_per_\w+|pred|logits_\d|mask_\d|fusion_logit\d|mask|flow2|flow|key|current|"
                    r".*\.z|out|v\d|embedding"}
TARGET_CAUGHT, TARGET_LOCATED = 1.0, 0.95


@dataclass(frozen=True)
class Cell:
    """One fault in one stage of one system."""

    fault: str
    system: str
    case: str
    stage: str
    step: str
    caught: bool
    first: str  # name of the first red tensor
    detail: str
    relative: float | None
    located: bool | None  # None: not the stage that has to locate it
    guide: bool  # the customary rule sees it in the guide's tensors
    everywhere: bool  # or in any tensor that is compared here


@dataclass(frozen=True)
class Finding:
    """A fault in a system: its cells, in the order of the steps."""

    fault: Fault
    place: Place
    cells: tuple[Cell, ...]
    error: str = ""  # the fault could not be planted, or a stage stopped with an exception

    @property
    def caught(self) -> bool:
        return bool(self.cells) and not self.error and all(cell.caught for cell in self.cells)

    @property
    def located(self) -> bool:
        return self.caught and bool(self.cells[0].located)

    @property
    def guide(self) -> bool:
        return any(cell.guide for cell in self.cells)

    @property
    def everywhere(self) -> bool:
        return any(cell.everywhere for cell in self.cells)


@dataclass(frozen=True)
class Alarm:
    """A stage that was red although nothing was planted."""

    system: str
    case: str
    stage: str
    first: str


@dataclass(frozen=True)
class Matrix:
    """All that a run found."""

    findings: tuple[Finding, ...]
    alarms: tuple[Alarm, ...]
    clean_stages: int
    broken: tuple[str, ...] = ()  # sessions that stopped
    float32_stages: int = 0  # of clean runs
    float32_rejected: int = 0  # of these, by the customary rule in the guide's tensors

    def share(self, what: str) -> float:
        """Share of the findings that are ``caught``, ``located``, seen by ``guide`` or ``everywhere``."""
        return self.count(what) / len(self.findings) if self.findings else 0.0

    def count(self, what: str) -> int:
        return sum(getattr(finding, what) for finding in self.findings)

    @property
    def cells(self) -> list[Cell]:
        return [cell for finding in self.findings for cell in finding.cells]

    @property
    def passed(self) -> bool:
        return (bool(self.findings) and bool(self.clean_stages) and not self.alarms and not self.broken
                and self.share("caught") >= TARGET_CAUGHT and self.share("located") >= TARGET_LOCATED)


def finding(fault: Fault, place: Place, run: dict[str, Any]) -> Finding:
    """What a session's run (see ``session.py``) of a fault says."""
    cells = tuple(_cell(fault, place, stage, found, index == 0)
                  for index, (stage, found) in enumerate(run["stages"].items()))
    return Finding(fault, place, cells, run["error"])


def _cell(fault: Fault, place: Place, stage: str, found: dict[str, Any], locates: bool) -> Cell:
    located = None
    if locates:
        located = (not found["passed"] and not found["errors"] and re.fullmatch(place.found, found["first"]) is not None
                   and re.search(place.detail, found["detail"]) is not None)
    return Cell(fault.name, place.system, place.case, stage, found["step"], not found["passed"], found["first"],
                found["detail"], found["relative"], located, customary(found, GUIDE[found["step"]]),
                customary(found, r".*"))


def customary(found: dict[str, Any], names: str) -> bool:
    """Whether the mean absolute difference of a tensor with such a name passes the customary threshold.

    Tensors of unequal shape count as seen, though ``reprod_log`` may broadcast them; what has no mean is not seen, as
    NaN is not.
    """
    limit, pattern = CUSTOMARY[found["step"]], re.compile(names)
    if any(pattern.fullmatch(name) for name in found["incomparable"]) or found["errors"]:
        return True
    return any(mean is not None and mean >= limit and pattern.fullmatch(name) is not None
               for name, mean in found["means"].items())


def alarms(system: str, case: str, run: dict[str, Any]) -> list[Alarm]:
    """The red stages of a clean run."""
    found = [Alarm(system, case, stage, one["first"] or "; ".join(one["errors"].values()))
             for stage, one in run["stages"].items() if not one["passed"]]
    return found + ([Alarm(system, case, "all", run["error"])] if run["error"] else [])


def by_fault(findings: Iterable[Finding]) -> dict[str, dict[str, Finding]]:
    """Fault name -> system -> finding, in the order given."""
    found: dict[str, dict[str, Finding]] = {}
    for one in findings:
        found.setdefault(one.fault.name, {})[one.place.system] = one
    return found
