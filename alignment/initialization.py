"""Initial values against the originals' rules: ``python -m alignment.initialization REQUEST`` on the Paddle side.

Random numbers of two frameworks cannot be compared one by one. What can be compared is the rule: for every entry of a
fresh network its exact value if it is a constant; otherwise mean, standard deviation and bounds, and the distance of
Kolmogorov and Smirnov between the values and the distribution that the original draws from. The rules of a system stand
in ``alignment/cases/SYSTEM/initial.py``; they are stated from the original, not read off our code.
"""
from __future__ import annotations

import importlib
import json
import math
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from alignment import processes
from alignment.compare import Verdict
from alignment.results import RULE, Line, Outcome, Unit

STEP, CASE = "init", "initial_values"
# Of one run over all entries, not of one entry: at 1e-6 a right network fails once in a million runs of fresh seeds.
FALSE_ALARMS = 1e-6
SAMPLE = 200_000  # values of an entry that are looked at
Shape = Sequence[int]


@dataclass(frozen=True)
class Rule:
    """How the original fills the entries whose name matches ``pattern``.

    Attributes:
        pattern: searched in the entry's name.
        kind: ``constant``, ``normal`` (mean 0), ``uniform`` (symmetric) or ``orthogonal``.
        size: the constant, the standard deviation or the bound; a function of the entry's shape in PyTorch's layout
            (of the weight's shape for a bias).
    """

    pattern: str
    kind: str
    size: float | Callable[[Shape], float] = 0.0

    def amount(self, shape: Shape) -> float:
        return float(self.size(shape) if callable(self.size) else self.size)


@dataclass(frozen=True)
class Network:
    """A fresh network to look at: a run's configuration, what is changed of it, the rules (the first match counts)."""

    name: str
    run: str
    rules: tuple[Rule, ...]
    overrides: tuple[str, ...] = ()


def fan_in(shape: Shape) -> int:
    return math.prod(shape[1:])


def fan_out(shape: Shape) -> int:
    return shape[0] * math.prod(shape[2:])


def kaiming_out(shape: Shape) -> float:
    """Standard deviation of the original ResNets: sqrt(2 / fan_out)."""
    return math.sqrt(2 / fan_out(shape))


def kaiming_in(shape: Shape) -> float:
    return math.sqrt(2 / fan_in(shape))


def torch_bound(shape: Shape) -> float:
    """Bound of ``torch.nn``'s own weights of convolutions and linear layers: 1 / sqrt(fan_in)."""
    return 1 / math.sqrt(fan_in(shape))


def xavier_bound(shape: Shape) -> float:
    return math.sqrt(6 / (fan_in(shape) + fan_out(shape)))


def xavier_std(shape: Shape) -> float:
    return math.sqrt(2 / (fan_in(shape) + fan_out(shape)))


def judge(name: str, values: np.ndarray, rules: Sequence[Rule], level: float, weight: Shape | None = None) -> Verdict:
    """Verdict on one entry. ``relative`` is the distance of Kolmogorov and Smirnov (a constant's error), ``allowed``
    its critical value at ``level``; ``weight`` is the shape of the weight beside a bias."""
    key = f"{STEP}/{name}"
    rule = next((rule for rule in rules if re.search(rule.pattern, name)), None)
    if rule is None:
        return Verdict(key, False, math.inf, 0.0, "missing", "no rule of the original names this entry")
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all():
        return Verdict(key, False, math.inf, 0.0, "finite", "values that are not finite")
    size = rule.amount(weight or values.shape)
    about = f"{rule.kind} {size:.4g}; mean {values.mean():.3g}, deviation {values.std():.4g}, largest " \
            f"{np.abs(values).max():.4g} of {values.size}"
    if rule.kind == "constant":
        error = float(np.abs(values - size).max()) / max(abs(size), 1e-12)
        error = error if size else float(np.abs(values).max())
        return Verdict(key, error <= 1e-6, error, 1e-6, "" if error <= 1e-6 else "values", about)
    if rule.kind == "orthogonal":
        return _judge_orthogonal(key, values, about)
    sample = values.reshape(-1)[:: max(1, values.size // SAMPLE)]
    if rule.kind == "uniform" and np.abs(values).max() > size * (1 + 1e-6):
        return Verdict(key, False, 1.0, 0.0, "values", f"beyond the bound: {about}")
    law = stats.norm(0, size) if rule.kind == "normal" else stats.uniform(-size, 2 * size)
    distance = float(stats.kstest(sample, law.cdf).statistic)
    allowed = float(stats.kstwo.isf(level, sample.size))
    return Verdict(key, distance <= allowed, distance, allowed, "" if distance <= allowed else "values", about)


def _judge_orthogonal(key: str, values: np.ndarray, about: str) -> Verdict:
    rows = values.reshape(values.shape[0], -1)
    gram = rows @ rows.T if rows.shape[0] <= rows.shape[1] else rows.T @ rows
    error = float(np.abs(gram - np.eye(len(gram))).max())
    return Verdict(key, error <= 1e-5, error, 1e-5, "" if error <= 1e-5 else "values", about)


def run_system(system: str) -> Outcome:
    """Fresh networks of a system, judged; the networks are built in a Paddle process.

    Raises:
        RuntimeError: if that process fails.
    """
    started = time.perf_counter()
    outcome = Outcome(Unit(system, CASE, RULE))
    with tempfile.TemporaryDirectory(prefix="alignment-") as folder:
        request = Path(folder) / "request.json"
        request.write_text(json.dumps({"system": system}))
        processes.run_module("alignment.initialization", request, f"initial values of {system}", "paddle")
        for row in json.loads((Path(folder) / "answer.json").read_text()):
            verdict = Verdict(**{**row, **{name: math.inf if row[name] is None else row[name]
                                           for name in ("relative", "allowed")}})
            outcome.lines.append(Line(outcome.unit, STEP, STEP, verdict))
    outcome.seconds = time.perf_counter() - started
    return outcome


def has_rules(system: str) -> bool:
    """Whether the system says how its original fills a network."""
    return (Path(__file__).with_name("cases") / system / "initial.py").is_file()


def look(system: str) -> list[Verdict]:
    """Build every network of the system's list and judge every entry (a Paddle process does this)."""
    from engine import config as configuration
    from engine.seed import seed_everything
    from models import conversion
    from systems import find_system

    schema, fresh = find_system(system), []
    for network in importlib.import_module(f"alignment.cases.{system}.initial").NETWORKS:
        config = configuration.load(schema.Config, network.run, list(network.overrides))
        seed_everything(0)
        made = schema(config).network()
        entries = conversion.to_upstream(conversion.arrays(made), made)
        for name, values in entries.items():
            weight = entries.get(f"{name.removesuffix('bias')}weight") if name.endswith(".bias") else None
            fresh.append((f"{network.name}.{name}", values, network.rules, None if weight is None else weight.shape))
    return [judge(name, values, rules, FALSE_ALARMS / len(fresh), weight) for name, values, rules, weight in fresh]


def _row(verdict: Verdict) -> dict[str, Any]:
    return {"key": verdict.key, "passed": bool(verdict.passed), "finding": verdict.finding, "detail": verdict.detail,
            "relative": verdict.relative if math.isfinite(verdict.relative) else None, "allowed": verdict.allowed}


def main(path: Path) -> None:
    """Judge the requested system's fresh networks; the verdicts go beside the request."""
    verdicts = look(json.loads(path.read_text())["system"])
    (path.parent / "answer.json").write_text(json.dumps([_row(verdict) for verdict in verdicts]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
