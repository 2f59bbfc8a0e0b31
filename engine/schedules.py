"""Learning rates as pure functions of the update index.

Every function here returns a ``Schedule``: called with the number of optimizer updates done so far
(0 for the first update), it gives the absolute learning rate of the next update. Nothing is remembered,
so a resumed run needs no schedule state.
"""
from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence

Schedule = Callable[[int], float]


def constant(rate: float) -> Schedule:
    """The same ``rate`` always."""
    return lambda update: rate


def multistep(base: float, milestones: Sequence[int], gamma: float = 0.1) -> Schedule:
    """``base``, multiplied by ``gamma`` from each of the ``milestones`` (update indices, ascending) on."""
    milestones = tuple(milestones)
    if list(milestones) != sorted(milestones):
        raise ValueError(f"milestones must ascend, got {milestones}")
    return lambda update: base * gamma ** bisect_right(milestones, update)


def cosine(base: float, updates: int, floor: float = 0.0) -> Schedule:
    """From ``base`` down a half cosine to ``floor`` after ``updates`` updates; ``floor`` from then on."""
    _positive(updates=updates)
    return lambda update: floor + (base - floor) / 2 * (1 + math.cos(math.pi * min(update, updates) / updates))


def polynomial(base: float, updates: int, power: float = 0.9, floor: float = 0.0) -> Schedule:
    """``(base - floor) * (1 - update / updates) ** power + floor`` (mmcv's "poly"); ``floor`` at the end."""
    _positive(updates=updates)
    return lambda update: (base - floor) * (1 - min(update, updates) / updates) ** power + floor


def exponential(base: float, gamma: float) -> Schedule:
    """``base * gamma ** update``."""
    return lambda update: base * gamma ** update


def by_epoch(schedule: Schedule, updates_per_epoch: int) -> Schedule:
    """A ``schedule`` over epochs, held constant within each epoch."""
    _positive(updates_per_epoch=updates_per_epoch)
    return lambda update: schedule(update // updates_per_epoch)


def scaled(schedule: Schedule, factor: float) -> Schedule:
    """``factor`` times ``schedule``, for a parameter group with its own learning-rate multiplier."""
    return lambda update: factor * schedule(update)


def ramp(schedule: Schedule, updates: int, start: float, end: float) -> Schedule:
    """Warm-up on a straight line: ``start`` at update 0, on the way to ``end``, and ``schedule`` from ``updates`` on.

    ``schedule`` is asked for the true update index, not one counted from the end of the warm-up (timm's
    ``CosineLRScheduler`` without warm-up prefix).
    """
    return lambda update: start + (end - start) * update / updates if update < updates else schedule(update)


def proportional_warmup(schedule: Schedule, updates: int, ratio: float) -> Schedule:
    """mmcv's "linear" warm-up: during the first ``updates`` updates ``schedule`` times a factor rising from ``ratio``.

    Args:
        schedule: the rate without warm-up.
        updates: length of the warm-up; 0 for none.
        ratio: factor of update 0; the factor 1 is reached at ``updates``.
    """
    def rate(update: int) -> float:
        if update >= updates:
            return schedule(update)
        return schedule(update) * (1 - (1 - update / updates) * (1 - ratio))
    return rate


def cosine_after_warmup(base: float, *, warmup_start: float, warmup_epochs: float, max_epochs: float,
                        steps_per_epoch: int) -> Schedule:
    """PaddleMVF's (and PaddleVideo's) ``CustomWarmupCosineDecay``, per update.

    With the epoch e = update / steps_per_epoch and c(e) = base * (cos(pi * e / max_epochs) + 1) / 2:
    a line from ``warmup_start`` at e = 0 to c(warmup_epochs), then c(e). The very first update of the published
    recipe has rate ``warmup_start`` = 0, and the warm-up never reaches ``base``.
    """
    _positive(max_epochs=max_epochs, steps_per_epoch=steps_per_epoch)

    def decayed(epoch: float) -> float:
        return base * (math.cos(math.pi * epoch / max_epochs) + 1) / 2

    def rate(update: int) -> float:
        epoch = update / steps_per_epoch
        if epoch < warmup_epochs:
            return epoch * (decayed(warmup_epochs) - warmup_start) / warmup_epochs + warmup_start
        return decayed(epoch)
    return rate


def _positive(**values: float) -> None:
    for name, value in values.items():
        if value <= 0:
            raise ValueError(f"{name} must be positive, got {value}")
