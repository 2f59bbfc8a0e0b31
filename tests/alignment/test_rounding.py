"""Yardsticks: further draws of the original's own rounding, and the scales of groups."""
from __future__ import annotations

import numpy as np

from alignment import rounding
from alignment.compare import Allowance


def test_every_draw_is_the_originals_and_the_worst_counts(madeup):
    def change(side, dtype, stage, arrays):
        variant = madeup.asked[-1][1]["variant"]
        if variant and variant.get("jitter") == 1:
            arrays["a"] = arrays["a"] + np.float32(1e-3)
        return arrays
    madeup.change = change
    exact = {f"forward/{name}": value for name, value in madeup.values["forward"].items()}
    request = {"label": "forward", "name": "forward", "dtype": "float32", "wanted": None, "limits": None}
    scales = {key: float(np.abs(value).max()) for key, value in exact.items()}
    found = rounding.remeasure(madeup.manifest(state=[]), request, exact, scales, {"forward/head": 0.5})
    assert {side for side, _ in madeup.asked} == {"torch"}
    assert [asked["variant"] for _, asked in madeup.asked] == list(rounding.DRAWS)
    assert found["forward/head"] == 0.5  # what was known before is kept
    assert found["forward/b"] < 2e-7
    np.testing.assert_allclose(found["forward/a"], 1e-3 / scales["forward/a"], rtol=1e-3)


def test_a_tensor_that_float64_lacks_gets_no_yardstick(madeup):
    request = {"label": "forward", "name": "forward", "dtype": "float32", "wanted": None, "limits": None}
    assert rounding.remeasure(madeup.manifest(), request, {}, {"forward/a": 1.0}, {}) == {"forward/a": 0.0}


def test_training_runs_are_trajectories():
    assert rounding.trajectories(["forward", "train", "train64", "backward_train"]) == {"train", "train64"}


def test_group_scales():
    scales = rounding.group_scales({"backward/grad:a": 2.0, "backward/grad:b": 5.0, "backward/loss": 0.5})
    assert scales == {"backward/grad": 5.0, "all": 0.5}


def test_a_tensor_is_divided_by_its_own_magnitude_or_by_its_groups():
    zero = [Allowance("grad:b$", "mathematically zero", stage_scale=True)]
    assert rounding.scales({"backward/grad:a": 2.0, "backward/grad:b": 1e-17, "backward/loss": 0.0}, zero) == {
        "backward/grad:a": 2.0, "backward/grad:b": 2.0, "backward/loss": 1e-12}
