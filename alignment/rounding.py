"""How far the original is from itself: its float32 rounding, the yardstick of every float32 verdict.

The rounding of a float32 run is a random quantity of which one evaluation is one draw: a ReLU whose input is within
rounding of zero flips or does not. Where that one draw is too small a yardstick, the original's formulation (the torch
twin) is evaluated again by other kernels and with inputs and weights moved by half a unit in the last place, until the
failing tensors are within its own scatter or the draws are used up; the worst distance to float64 counts. Every draw is
a legitimate float32 evaluation of the original; nothing of ours enters a yardstick.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from alignment import compare, worker
from alignment.bundle import split_stage

# In the training of a ResNet-18 about one draw in six has a ReLU that flips, which alone moves gradients by 1e-4.
DRAWS = ({"onednn": False}, *({"jitter": seed} for seed in range(11)))


def remeasure(manifest: dict[str, Any], request: dict[str, Any], exact: Mapping[str, np.ndarray],
              scales: Mapping[str, float], recorded: Mapping[str, float],
              enough: Callable[[dict[str, float]], bool] = lambda found: False,
              ask: Callable[..., worker.Answer] | None = None) -> dict[str, float]:
    """Yardsticks of one float32 stage from further draws, shared within their groups.

    Args:
        manifest: the case, with its ``state``.
        request: the stage as :func:`alignment.worker.ask` takes it.
        exact: the twin's float64 values under the same keys, sampled the same way.
        scales: largest magnitude by key; its keys are the ones measured.
        recorded: yardsticks known before; none becomes smaller.
        enough: told the yardsticks after each draw; True ends the drawing.
        ask: runs the reference; None: the torch twin.

    Returns:
        Yardstick by key. A key that a float32 run notes in float64 (losses as Python floats) is there only if it
        carries float32's rounding; a learning rate does not, and keeps float64's rule.
    """
    found = {key: recorded.get(key, 0.0) for key in scales}
    wide = set()
    for draw in DRAWS:
        arrays = (ask or partial(worker.ask, "torch"))(manifest, [request], variant=draw).arrays
        for key, scale in scales.items():
            if key in arrays and key in exact and arrays[key].shape == exact[key].shape:
                found[key] = max(found[key], compare.relative_difference(arrays[key], exact[key], scale))
                if arrays[key].dtype == np.float64:
                    wide.add(key)
        rounded = {key: value for key, value in found.items() if key not in wide or value > compare.FLOAT64_LIMIT}
        shared = compare.share_yardsticks(rounded, trajectories([request["label"]]))
        if enough(shared):
            break
    return shared


def trajectories(stages: list[str]) -> set[str]:
    """The stages that are training runs, where rounding of one step reaches every tensor of the next."""
    return {stage for stage in stages if split_stage(stage)[0] in ("train", "short_training")}


def group_scales(magnitudes: Mapping[str, float]) -> dict[str, float]:
    """Largest magnitude of a stage by group of keys; ``all`` for the keys without a group."""
    scales = {"all": 0.0}
    for key, magnitude in magnitudes.items():
        kind = compare.group(key) or "all"
        scales[kind] = max(scales.get(kind, 0.0), magnitude)
    return scales


def scales(magnitudes: Mapping[str, float], allowances: list[compare.Allowance]) -> dict[str, float]:
    """By what each tensor of a stage is divided: its own largest magnitude, or its group's where an allowance says so.

    Yardsticks are measured by the same scale as the verdicts. A gradient that is zero but for rounding is far from its
    float64 value in its own terms, and shared with its group that distance would let everything pass.
    """
    groups = group_scales(magnitudes)
    found = {}
    for key, magnitude in magnitudes.items():
        allowance = compare.find_allowance(key, allowances)
        by_stage = allowance is not None and allowance.stage_scale
        found[key] = max(groups[compare.group(key) or "all"] if by_stage else magnitude, compare.TINY)
    return found
