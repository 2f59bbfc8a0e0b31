"""Learning rates of ActionCLIP and X-CLIP by update index, with the oddities their published runs have."""
from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence

Schedule = Callable[[int], float]
HOLD = 10  # ActionCLIP looks at its schedule every tenth iteration


def actionclip_cosine(base: float, *, epochs: int, warmup: int, steps_per_epoch: int,
                      skip_idle: bool = False) -> Schedule:
    """Warm-up from 0 over ``warmup`` epochs, then a half cosine to 0, held for ten iterations at a time.

    Upstream steps the schedule before the update at iterations 0, 9, 19, ... of an epoch, so the first nine updates of
    a run have rate 0. ``skip_idle`` lets those take the rate of iteration 9 instead.
    """
    def at(epoch: float) -> float:
        if epoch < warmup:
            return base * epoch / warmup
        return base * (math.cos(math.pi * min(1.0, (epoch - warmup) / max(epochs - warmup, 1))) + 1) / 2
    return _held(at, steps_per_epoch, skip_idle)


def actionclip_multistep(base: float, *, milestones: Sequence[float], warmup: int, steps_per_epoch: int,
                         skip_idle: bool = False) -> Schedule:
    """As :func:`actionclip_cosine`, but a tenth of the rate from each milestone (in epochs) on.

    Raises:
        ValueError: if the first milestone lies within the warm-up, as upstream.
    """
    if not milestones or milestones[0] <= warmup:
        raise ValueError(f"the first milestone {list(milestones)[:1]} must lie behind the warm-up of {warmup} epochs")

    def at(epoch: float) -> float:
        return base * epoch / warmup if epoch < warmup else base * 0.1 ** bisect_right(milestones, epoch)
    return _held(at, steps_per_epoch, skip_idle)


def _held(at: Callable[[float], float], steps_per_epoch: int, skip_idle: bool) -> Schedule:
    def rate(update: int) -> float:
        epoch, step = divmod(update, steps_per_epoch)
        looked = 0 if step < HOLD - 1 else (step + 1) // HOLD * HOLD - 1
        if skip_idle and update < HOLD - 1:
            looked = min(HOLD - 1, steps_per_epoch)
        return at(epoch + looked / steps_per_epoch)
    return rate


def xclip_cosine(base: float, *, floor: float, epochs: int, warmup: int, steps_per_epoch: int) -> Schedule:
    """timm's cosine by batch index: a line from 0 over ``warmup`` epochs, then down to ``floor``.

    ``floor`` is absolute and the same for every group; the rate jumps down where the warm-up ends (the cosine counts
    from the start of the run), both as upstream.
    """
    rising, total = warmup * steps_per_epoch, epochs * steps_per_epoch

    def rate(index: int) -> float:
        if index < rising:
            return base * index / rising
        if index >= total:
            return floor
        return floor + (base - floor) / 2 * (1 + math.cos(math.pi * index / total))
    return rate


def xclip_by_update(by_batch: Schedule, accumulate: int, *, steps_per_epoch: int) -> Schedule:
    """Rate of an update from the rate of a batch index: upstream sets the schedule *behind* each update.

    The first update therefore has rate 0, and so has the second when every batch is an update. ``accumulate`` batches
    make an update; what an epoch leaves over is dropped, as upstream.
    """
    updates_per_epoch = max(steps_per_epoch // accumulate, 1)

    def rate(update: int) -> float:
        if update == 0:
            return by_batch(0)
        epoch, position = divmod(update - 1, updates_per_epoch)
        return by_batch(epoch * steps_per_epoch + (position + 1) * accumulate - 1)
    return rate
