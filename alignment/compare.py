"""The one rule by which two tensors are called equal.

Shape, dtype and finiteness come first and have no tolerance. Integers and booleans must be identical. For floats
``relative = max|got - want| / scale`` with scale = max|want|:

* float64: at most 1e-9, whatever the depth of the network;
* float32: at most 4 times the original's own float32-to-float64 distance of the same tensor (the *yardstick*), with
  1e-6 as a floor.

A tensor is judged as a whole by its worst element, never by a mean. Exceptions are :class:`Allowance` objects with
a reason that the reports print.
"""
from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

FLOAT64_LIMIT = 1e-9
FLOAT32_FLOOR = 1e-6
FLOAT32_FACTOR = 4.0
TINY = 1e-12


@dataclass(frozen=True)
class Allowance:
    """A named departure from the rule for the keys that ``pattern`` finds.

    Args:
        pattern: regular expression, searched in ``stage/name``.
        reason: why, in a sentence; shown in every report.
        float64: the relative difference allowed instead, or None to keep the rule.
        float32: a relative difference that is allowed where the rule would allow less, or None.
        stage_scale: divide by the largest magnitude of the same group in the stage instead of the tensor's own:
            for gradients that are mathematically zero and consist of rounding.
        exact_share: for integers: the share of elements that must agree (label maps with near ties).
        summary_only: the bundle's values of this key are known to be wrong, its summary (mean, mean magnitude,
            largest magnitude of the whole array) is right: the three numbers are judged by the usual rule instead.
    """

    pattern: str
    reason: str
    float64: float | None = None
    float32: float | None = None
    stage_scale: bool = False
    exact_share: float | None = None
    summary_only: bool = False


@dataclass(frozen=True)
class Verdict:
    """What was found for one tensor. ``relative`` is inf where the two could not be compared at all."""

    key: str
    passed: bool
    relative: float
    allowed: float
    finding: str = ""  # empty, or what is wrong: shape, dtype, finite, missing, values
    detail: str = ""
    yardstick: float | None = None  # the original's own float32-to-float64 distance
    reason: str = ""  # of an allowance that was applied
    mean_absolute: float = float("nan")  # what the customary check looks at

    @property
    def margin(self) -> float:
        """allowed / relative: how far from failing; inf for an exact match."""
        return self.allowed / self.relative if self.relative > 0 else float("inf")


def relative_difference(got: np.ndarray, want: np.ndarray, scale: float | None = None) -> float:
    """max|got - want| / scale in float64; scale defaults to max|want| (at least 1e-12)."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    if want.size == 0:
        return 0.0
    bottom = float(np.abs(want).max()) if scale is None else scale
    return float(np.abs(got - want).max()) / max(bottom, TINY)


def judge(key: str, got: np.ndarray, want: np.ndarray, *, scale: float | None = None,
          yardstick: float | None = None, allowance: Allowance | None = None) -> Verdict:
    """Compare ``got`` with the reference ``want``.

    Args:
        key: name of the tensor, for the report.
        scale: largest magnitude of the whole reference where ``want`` is only a sample of it.
        yardstick: the original's float32-to-float64 relative distance; used for float32 only.
        allowance: a named exception, already matched to the key.
    """
    got, want = np.asarray(got), np.asarray(want)
    reason = allowance.reason if allowance else ""
    if got.shape != want.shape:
        return Verdict(key, False, np.inf, 0.0, "shape", f"{list(got.shape)} here, {list(want.shape)} expected")
    if got.dtype != want.dtype:
        return Verdict(key, False, np.inf, 0.0, "dtype", f"{got.dtype} here, {want.dtype} expected")
    if want.size == 0:
        return Verdict(key, True, 0.0, 0.0, detail="both are empty", reason=reason)
    if want.dtype.kind not in "fc":
        return _judge_exact(key, got, want, allowance)
    for side, array in (("here", got), ("in the reference", want)):
        bad = np.flatnonzero(~np.isfinite(array))
        if bad.size:
            return Verdict(key, False, np.inf, 0.0, "finite",
                           f"{bad.size} of {array.size} values {side} are not finite, the first at {_at(want, bad[0])}")
    if allowance and allowance.stage_scale and scale is None:
        raise ValueError(f"{key}: an allowance by the stage's scale needs that scale")
    relative = relative_difference(got, want, scale)
    allowed = _allowed(want.dtype, yardstick, allowance)
    difference = np.abs(got.astype(np.float64) - want.astype(np.float64))
    worst = int(difference.argmax())
    detail = f"worst at {_at(want, worst)}: {got.flat[worst]!r} here, {want.flat[worst]!r} expected"
    passed = relative <= allowed
    return Verdict(key, passed, relative, allowed, "" if passed else "values", detail if relative else "",
                   yardstick if want.dtype == np.float32 else None, reason, float(difference.mean()))


def _judge_exact(key: str, got: np.ndarray, want: np.ndarray, allowance: Allowance | None) -> Verdict:
    if want.dtype.kind not in "biuSU":
        return Verdict(key, False, np.inf, 0.0, "dtype", f"{want.dtype} cannot be compared")
    wrong = np.flatnonzero(got != want)
    share = wrong.size / want.size
    allowed = 1.0 - allowance.exact_share if allowance and allowance.exact_share is not None else 0.0
    detail = "" if not wrong.size else (f"{wrong.size} of {want.size} differ, the first at {_at(want, wrong[0])}: "
                                        f"{got.flat[wrong[0]]!r} here, {want.flat[wrong[0]]!r} expected")
    passed = share <= allowed
    # In Python integers: unsigned differences would wrap round.
    mean = float("nan") if want.dtype.kind in "SU" else float(
        np.abs(got.astype(np.float64) - want.astype(np.float64)).mean())
    return Verdict(key, passed, share, allowed, "" if passed else "values", detail,
                   reason=allowance.reason if allowance and wrong.size else "", mean_absolute=mean)


def _allowed(dtype: np.dtype, yardstick: float | None, allowance: Allowance | None) -> float:
    if dtype == np.float64:
        own = allowance.float64 if allowance else None
        return FLOAT64_LIMIT if own is None else own
    own = allowance.float32 if allowance and allowance.float32 is not None else 0.0
    return max(own, FLOAT32_FLOOR, FLOAT32_FACTOR * (yardstick or 0.0))


def _at(array: np.ndarray, flat: int) -> list[int]:
    return [int(i) for i in np.unravel_index(int(flat), array.shape)]


def missing(key: str, where: str) -> Verdict:
    """The verdict for a tensor that one side did not produce."""
    return Verdict(key, False, np.inf, 0.0, "missing", f"not produced {where}")


def find_allowance(key: str, allowances: list[Allowance]) -> Allowance | None:
    """The first allowance whose pattern is found in ``stage/name``."""
    return next((allowance for allowance in allowances if re.search(allowance.pattern, key)), None)


# Kinds of tensors whose float32 rounding is shared: a single ReLU that flips moves every gradient behind it, and
# which parameter it hits hardest is chance. They are judged one by one, by the yardstick of the worst of their kind.
_KINDS = re.compile(r"(?:^|[./])(grad|rows|param|state|buffer|slot|first)[:/]")


def group(key: str, trajectory: bool = False) -> str | None:
    """The group of ``stage/name`` whose worst yardstick counts, or None if the tensor has its own.

    ``trajectory`` says that the stage is a training run: rounding of one step reaches every tensor of the next. The
    metrics after it are a group of their own: they jump where a pixel or an answer changes sides.
    """
    stage, name = key.split("/", 1)
    if trajectory:
        return f"{stage}/metric" if name.startswith("metric:") else stage
    found = _KINDS.search(key)
    return f"{stage}/{found.group(1)}" if found else None


def share_yardsticks(yardsticks: dict[str, float], trajectories: set[str] = frozenset()) -> dict[str, float]:
    """Yardstick by key with the grouped ones raised to the worst of their group; metrics also to that of the training
    before them, but never the other way round: a metric that jumps does not make the losses' rule wider."""
    groups = {key: group(key, key.split("/", 1)[0] in trajectories) for key in yardsticks}
    worst: dict[str, float] = {}
    for key, value in yardsticks.items():
        if groups[key] is not None:
            worst[groups[key]] = max(worst.get(groups[key], 0.0), value)
    worst |= {name: max(value, worst.get(name.removesuffix("/metric"), 0.0)) for name, value in worst.items()}
    return {key: value if groups[key] is None else worst[groups[key]] for key, value in yardsticks.items()}


def first_divergence(verdicts: list[Verdict]) -> Verdict | None:
    """The first failed verdict in the order given (execution order for activations)."""
    return next((verdict for verdict in verdicts if not verdict.passed), None)
