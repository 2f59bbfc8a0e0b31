"""The port against the reference in forward, backward and training, by the one rule of ``alignment/compare.py``."""
from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from alignment import compare
from alignment.compare import Allowance, Verdict
from alignment.own import captures
from alignment.own.captures import INPUT, Batch, Capture
from alignment.own.runs import Side
from alignment.own.weights import Prepare, Table, renamer

Pair = tuple[Callable, Callable] | None
DRAWS = 8  # further float32 evaluations of the reference, where one draw of its rounding is too small a yardstick
ZERO = Allowance(r"grad:", "mathematically zero (in float64 below 1e-14 of the largest gradient): what is left is "
                 "rounding, judged against the largest", stage_scale=True)
ATTRIBUTES = Allowance(r"^(train64/|forward64/buffer:)", "Paddle keeps momentum, decay and the rate of running "
                       "statistics as float32 attributes, whatever the dtype of the network", float64=1e-6)


@dataclass
class Findings:
    """What a comparison found.

    Attributes:
        step: ``forward``, ``backward``, ``train`` or ``captures``.
        verdicts: by ``stage/name`` in order of execution; the stage of a float64 run ends in 64.
        apart: names of layers and tensors that only one side has, and that nothing was compared with.
        alone: verdicts of single layers of the port that were given the reference's own inputs.
        layers: of the reference, in the order in which they began.
        kept: small arrays by side (``ref``, ``paddle``) and ``stage/name``, for plots.
    """

    step: str
    verdicts: list[Verdict]
    apart: list[str] = field(default_factory=list)
    alone: list[Verdict] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)
    kept: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """True if something was compared and all of it agrees."""
        return bool(self.verdicts) and all(verdict.passed for verdict in self.verdicts)

    @property
    def first(self) -> Verdict | None:
        """Where it begins: weights, then the first tensor in order of execution that is wrong in float64, which no
        rounding reaches; in float32 only if float64 agrees everywhere."""
        failed = [verdict for verdict in self.verdicts if not verdict.passed]
        for stage in ("weights/", f"{self.step}64/", ""):
            found = next((verdict for verdict in failed if verdict.key.startswith(stage)), None)
            if found is not None:
                return found
        return None

    @property
    def faulty_alone(self) -> list[str]:
        """Layers whose own arithmetic is wrong, told apart from those that only pass a fault on."""
        return [verdict.key.split("/", 1)[1] for verdict in self.alone if not verdict.passed]

    def __str__(self) -> str:
        from alignment.own.reporting import as_text
        return as_text(self)


def compare_captures(reference: Capture, port: Capture, *, exact: Capture | None = None,
                     allowances: Iterable[Allowance] = ()) -> Findings:
    """Two captures, perhaps made in two processes and read from files.

    Args:
        reference: of the reference network.
        port: of the port, made with its table of names.
        exact: the reference in float64, if both are float32: its distance to ``reference`` is the yardstick.
        allowances: named departures from the rule, matched against ``captures/NAME``.

    Raises:
        ValueError: if they have no layer in common, which a wrong table would give.
    """
    yardsticks = {} if exact is None else _distances("captures", reference.arrays, exact.arrays)
    verdicts, apart = _judge(_Rules("captures", list(allowances)), reference.arrays, port.arrays, yardsticks, "output")
    return Findings("captures", verdicts, apart, layers=reference.layers)


def compare_forward(reference: Any, port: Any, batch: Batch, table: Table = None, *, training: bool = False,
                    call: Pair = None, prepare: Prepare = None, dtypes: Iterable[str] = ("float32", "float64"),
                    allowances: Iterable[Allowance] = ()) -> Findings:
    """The input and output of every layer, in both precisions; then every layer of the port alone.

    Args:
        reference: a ``torch.nn.Module``. Neither network is changed.
        port: a ``paddle.nn.Layer`` that holds the reference's weights (``copy_weights``).
        batch: arrays by position, or by name as a dictionary.
        table: the port's names to the reference's (see ``copy_weights``).
        training: with batch statistics; running statistics afterwards are compared too.
        call: how the two are called, ``(reference, port)``, if not as ``network(*batch)``.
        prepare: as for ``copy_weights``.
        dtypes: precisions of the port.
        allowances: named departures from the rule, matched against ``stage/name``.

    Raises:
        ValueError: if the networks have no layer in common, or for dropout in training mode.
    """
    sides = _sides(reference, port, batch, table, call, prepare, training=training)
    found = _compare("forward", sides, lambda side, dtype: side.forward(dtype), dtypes,
                     [*allowances, ATTRIBUTES], "output")
    found.verdicts[:0] = _weights(*sides)
    if not training and "float64" in dtypes:
        found.alone = _alone(sides)
    return found


def compare_backward(reference: Any, port: Any, batch: Batch, table: Table = None, *, loss: Pair = None,
                     training: bool = False, call: Pair = None, prepare: Prepare = None,
                     dtypes: Iterable[str] = ("float32", "float64"),
                     allowances: Iterable[Allowance] = ()) -> Findings:
    """The gradient of every parameter and input; one that exists on one side only is a finding.

    Args:
        loss: ``(of the reference's output, of the port's output)`` -> scalar. None: the sum of all outputs times fixed
            numbers, to which every output counts.
        reference, port, batch, table, training, call, prepare, dtypes, allowances: as for :func:`compare_forward`.
    """
    sides = _sides(reference, port, batch, table, call, prepare, loss=loss, training=training)
    return _compare("backward", sides, lambda side, dtype: side.backward(dtype), dtypes, allowances, None)


def compare_training(reference: Any, port: Any, batch: Batch, table: Table = None, *,
                     optimizer: tuple[Callable, Callable], loss: Pair = None, steps: int = 5, training: bool = True,
                     call: Pair = None, prepare: Prepare = None, dtypes: Iterable[str] = ("float32", "float64"),
                     allowances: Iterable[Allowance] = ()) -> Findings:
    """Some steps on one batch: loss and rate of each, then every parameter and running statistic.

    Args:
        optimizer: ``(of the reference, of the port)``: functions of a network that give its optimizer, or a tuple of
            optimizer and schedule whose ``step`` is called once a step.
        steps: of the optimizer.
        reference, port, batch, table, loss, training, call, prepare, dtypes, allowances: as for
            :func:`compare_backward`.
    """
    sides = _sides(reference, port, batch, table, call, prepare, loss=loss, optimizer=optimizer, training=training)
    return _compare("train", sides, lambda side, dtype: side.train(dtype, steps), dtypes,
                    [*allowances, ATTRIBUTES], None)


def _sides(reference: Any, port: Any, batch: Batch, table: Table, call: Pair, prepare: Prepare, *,
           training: bool, **pairs: Pair) -> tuple[Side, Side]:
    if not captures.is_torch(reference) or captures.is_torch(port):
        raise TypeError("the reference is a torch.nn.Module, the port a paddle.nn.Layer")
    batch = [batch] if isinstance(batch, np.ndarray) else batch
    first, second = ({name: pair[k] for name, pair in {"call": call, **pairs}.items() if pair is not None}
                     for k in (0, 1))
    return (Side(reference, batch, prepare=prepare, training=training, **first),
            Side(port, batch, table=table, training=training, **second))


def _compare(step: str, sides: tuple[Side, Side], run: Callable[[Side, str], dict[str, np.ndarray]],
             dtypes: Iterable[str], allowances: Iterable[Allowance], needed: str | None) -> Findings:
    reference, port = sides
    exact, single = run(reference, "float64"), run(reference, "float32")
    found = Findings(step, [], layers=reference.layers)
    zero, largest = _zero_gradients(exact) if step == "backward" else (set(), 0.0)
    for dtype in dtypes:
        label = step if dtype == "float32" else f"{step}64"
        want, got = (single if dtype == "float32" else exact), run(port, dtype)
        rules = _Rules(label, list(allowances), {f"{label}/{name}" for name in zero}, largest)
        yardsticks = _distances(rules, single, exact) if dtype == "float32" else {}
        verdicts, found.apart = _judge(rules, want, got, yardsticks, needed)
        for seed in range(DRAWS if dtype == "float32" else 0):
            if not any(verdict.finding == "values" for verdict in verdicts):
                break
            drawn = _distances(rules, run(reference.jittered(seed), "float32"), exact)
            yardsticks = {key: max(value, drawn.get(key, 0.0)) for key, value in yardsticks.items()}
            verdicts, _ = _judge(rules, want, got, yardsticks, needed)
        found.verdicts += verdicts
        for side, arrays in (("ref", want), ("paddle", got)):
            found.kept.setdefault(side, {}).update(
                {f"{label}/{name}": array for name, array in arrays.items() if array.size <= 4096})
    return found


def _distances(rules: _Rules, single: Mapping[str, np.ndarray], exact: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The reference's own float32-to-float64 distances, by ``label/name``; each by the scale it is judged by."""
    found = {f"{rules.label}/{name}": compare.relative_difference(array, exact[name], rules.scale(name))
             for name, array in single.items()
             if array.dtype == np.float32 and name in exact and exact[name].shape == array.shape}
    return compare.share_yardsticks(found, {rules.label} if rules.label == "train" else set())


def _zero_gradients(exact: Mapping[str, np.ndarray]) -> tuple[set[str], float]:
    """Names of gradients that are zero but for rounding (a bias before a norm, of keys before a softmax), and the
    largest magnitude of all."""
    sizes = {name: float(np.abs(array).max(initial=0.0)) for name, array in exact.items() if name.startswith("grad:")}
    largest = max(sizes.values(), default=0.0)
    return {name for name, size in sizes.items() if size <= 1e-14 * largest}, largest


@dataclass(frozen=True)
class _Rules:
    """How the tensors of a stage are judged: by name, with these departures."""

    label: str
    allowances: list[Allowance] = field(default_factory=list)
    zero: set[str] = field(default_factory=set)
    largest: float = 0.0

    def judge(self, name: str, got: np.ndarray, want: np.ndarray, yardstick: float | None) -> Verdict:
        return compare.judge(f"{self.label}/{name}", got, want, yardstick=yardstick, allowance=self.allowance(name),
                             scale=self.scale(name))

    def allowance(self, name: str) -> Allowance | None:
        key = f"{self.label}/{name}"
        return ZERO if key in self.zero else compare.find_allowance(key, self.allowances)

    def scale(self, name: str) -> float | None:
        """By what the tensor's differences are divided; None: by its own largest magnitude."""
        allowance = self.allowance(name)
        return max(self.largest, compare.TINY) if allowance is not None and allowance.stage_scale else None


def _judge(rules: _Rules, want: Mapping[str, np.ndarray], got: Mapping[str, np.ndarray],
           yardsticks: Mapping[str, float], needed: str | None) -> tuple[list[Verdict], list[str]]:
    """Verdicts in the reference's order, and the names that only one side has.

    ``needed`` is the name that both must have while layers may be apart; None: every name must be on both sides.
    """
    verdicts, label = [], rules.label
    both = [name for name in want if name in got]
    if needed is not None and not any(name != needed and not name.startswith((needed, "input of")) for name in both):
        raise ValueError("no layer of the port has the name of one of the reference's: the table of names is wrong or "
                         f"missing. The reference has {_some(want)}; the port has {_some(got)}")
    for name in want:
        key = f"{label}/{name}"
        if name in got:
            verdicts.append(rules.judge(name, got[name], want[name], yardsticks.get(key)))
        elif needed is None or name.startswith(needed):
            verdicts.append(compare.missing(key, "by the port"))
    only_port = [name for name in got if name not in want]
    if needed is None:
        verdicts += [Verdict(f"{label}/{name}", False, math.inf, 0.0, "unexpected", "the reference has no such tensor")
                     for name in only_port]
        return verdicts, []
    return verdicts, [*(f"{name} (reference)" for name in want if name not in got and not name.startswith(needed)),
                      *(f"{name} (port)" for name in only_port)]


def _some(names: Iterable[str]) -> str:
    layers = [name for name in names if not name.startswith(INPUT)]
    return ", ".join(layers[:4]) + (", ..." if len(layers) > 4 else "")


def _weights(reference: Side, port: Side) -> list[Verdict]:
    """Parameters and buffers as they are before anything runs."""
    want = {name: value for name, value in reference.entries(reference.network).items()
            if not name.endswith("num_batches_tracked")}
    got = {name: value.astype(want[name].dtype) if name in want else value
           for name, value in port.entries(port.network).items()}
    return _judge(_Rules("weights"), want, got, {}, None)[0]


def _alone(sides: tuple[Side, Side]) -> list[Verdict]:
    """Every innermost layer of the port, in float64, given the inputs that the reference's layer got."""
    reference, port = sides
    recorded = reference.forward("float64")
    network, rename = captures.duplicate(port.network, "float64", False), renamer(port.table)
    verdicts = []
    with captures.no_gradient(network):
        for ours, layer in network.named_sublayers():
            name = rename(ours)
            given = _inputs(recorded, name)
            if given is None or name not in recorded or list(layer.sublayers()):
                continue  # not innermost, nested inputs or several outputs: only compared in the whole
            output = layer(*captures.tensors(given, network, None)[0])
            if hasattr(output, "detach"):
                verdicts.append(compare.judge(f"alone64/{name}", captures.array_of(output), recorded[name]))
    order = {name: index for index, name in enumerate(reference.layers)}
    return sorted(verdicts, key=lambda verdict: order[verdict.key.split("/", 1)[1]])


def _inputs(recorded: Mapping[str, np.ndarray], name: str) -> list[np.ndarray] | None:
    """The tensors that a layer got in its first run, if it got nothing else."""
    if f"{INPUT}{name}" in recorded:
        return [recorded[f"{INPUT}{name}"]]
    several = [key for key in recorded if key.startswith(f"{INPUT}{name}.") and "#" not in key]
    plain = all(key.rsplit(".", 1)[1].isdigit() and key.count(".") == f"{INPUT}{name}.".count(".") for key in several)
    return [recorded[key] for key in several] if several and plain else None
