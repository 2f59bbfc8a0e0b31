"""Twin runs: what is compared, in which order, and by which yardstick."""
from __future__ import annotations

import numpy as np
import pytest

from alignment import twins

STEPS = ["forward", "metric", "loss", "backward", "train"]
BOTH = ["float32", "float64"]


def shift(name, amount, dtype=None, stage=None):
    """A planted fault: one tensor of the Paddle side off by a relative amount."""
    def change(side, run_dtype, run_stage, arrays):
        if side == "paddle" and name in arrays and dtype in (None, run_dtype) and stage in (None, run_stage):
            arrays[name] = arrays[name] + np.asarray(amount * np.abs(arrays[name]).max(), arrays[name].dtype)
        return arrays
    return change


def run(madeup, steps=STEPS, dtypes=BOTH, **changes):
    return twins.run_case(madeup.manifest(**changes), steps, dtypes)


def test_a_clean_run_passes_and_compares_everything(madeup):
    outcome = run(madeup)
    assert outcome.passed
    assert len(outcome.lines) == 2 * sum(len(stage) for stage in madeup.values.values())
    assert {line.step for line in outcome.lines} == {"forward", "metric", "backward", "train"}


def test_each_side_runs_once_a_precision_and_the_twin_first(madeup):
    run(madeup)
    assert [side for side, _ in madeup.asked] == ["torch", "torch", "paddle", "paddle"]


def test_float64_alone_needs_no_float32(madeup):
    outcome = run(madeup, dtypes=["float64"])
    assert {line.dtype for line in outcome.lines} == {"float64"}
    assert [side for side, _ in madeup.asked] == ["torch", "paddle"]


def test_a_measure_without_a_network_runs_once(madeup):
    outcome = run(madeup, ["metric", "train"], state=[])
    assert outcome.passed
    assert {line.dtype for line in outcome.lines} == {"float32"}
    assert [side for side, _ in madeup.asked] == ["torch", "paddle"]


def test_an_operation_without_a_network_has_a_precision_all_the_same(madeup):
    outcome = run(madeup, ["forward", "metric"], state=[])
    assert outcome.passed
    assert {line.stage for line in outcome.lines} == {"forward", "forward64", "metric"}
    assert [asked["stages"] for _, asked in madeup.asked] == [["forward", "metric"], ["forward64"]] * 2


def test_the_first_divergence_is_the_first_activation_that_ran(madeup):
    def change(side, dtype, stage, arrays):
        for name in ("b", "head"):
            arrays = shift(name, 1e-3)(side, dtype, stage, arrays)
        return arrays
    madeup.change = change
    outcome = run(madeup, ["forward"])
    assert [(line.stage, line.name) for line in outcome.first_divergences()] == [("forward", "b"), ("forward64", "b")]
    assert len(outcome.failures) == 4


def test_gradients_come_into_being_from_the_last_layer_to_the_first(madeup):
    names = [line.name for line in run(madeup, ["backward"], ["float64"]).lines]
    assert names == ["loss", "grad:second.weight", "grad:first.weight", "grad:input"]


def test_a_fault_below_float32s_rounding_is_seen_in_float64(madeup):
    madeup.change = shift("a", 3e-8)
    assert {line.stage for line in run(madeup, ["forward"]).failures} == {"forward64"}


def test_a_series_names_the_step_at_which_it_leaves(madeup):
    def change(side, dtype, stage, arrays):
        if side == "paddle" and "losses" in arrays:
            arrays["losses"][2:] += 0.01
        return arrays
    madeup.change = change
    failures = run(madeup, ["train"]).failures
    assert [line.name for line in failures] == ["losses", "losses"]
    assert "leaves at step 2 of 4" in failures[0].verdict.detail


@pytest.mark.parametrize(("loser", "finding"), [("paddle", "missing"), ("torch", "unexpected")])
def test_a_tensor_on_one_side_only_is_a_failure(madeup, loser, finding):
    madeup.change = lambda side, dtype, stage, arrays: {
        name: array for name, array in arrays.items() if side != loser or name != "b"}
    failures = run(madeup, ["forward"], ["float64"]).failures
    assert [(line.name, line.verdict.finding) for line in failures] == [("b", finding)]


def test_tensors_declared_as_the_twins_own_are_left_out_and_listed(madeup):
    madeup.case.ONLY_IN_TWIN = (r"/b$",)
    madeup.change = lambda side, dtype, stage, arrays: {
        name: array for name, array in arrays.items() if side != "paddle" or name != "b"}
    outcome = run(madeup, ["forward"], ["float64"])
    assert outcome.passed
    assert outcome.left_out == ["forward64/b"]


def test_nothing_left_to_compare_is_a_failure(madeup):
    madeup.case.ONLY_IN_TWIN = ("",)
    outcome = run(madeup, ["forward"], ["float64"])
    assert not outcome.passed
    assert outcome.failures[0].verdict.finding == "missing"


@pytest.mark.parametrize("side", ["paddle", "torch"])
def test_a_stage_that_stops_fails_and_spares_the_others(madeup, side):
    madeup.errors[side, "forward"] = "Traceback ...\nValueError: no such layer"
    outcome = run(madeup, dtypes=["float64"])
    assert not outcome.passed
    assert {line.stage for line in outcome.failures} == {"forward64"}
    assert any("no such layer" in line.verdict.detail for line in outcome.failures)
    assert list(outcome.errors) == [f"{side} forward64"]


def test_float32_failures_are_judged_again_by_more_draws_of_the_original(madeup):
    """One draw of the twin is exact by luck; further draws show that it rounds by 1e-5."""
    def change(side, dtype, stage, arrays):
        draws = madeup.asked[-1][1]["variant"]
        if dtype == "float32" and "a" in arrays and (side == "paddle" or draws):
            arrays["a"] = arrays["a"] * np.float32(1 + 1e-5)
        return arrays
    madeup.change = change
    outcome = run(madeup, ["forward"], ["float32"])
    assert outcome.passed
    line = next(line for line in outcome.lines if line.name == "a")
    assert line.verdict.yardstick == pytest.approx(1e-5, rel=0.05)
    assert len(madeup.asked) == 3 + 1  # one draw sufficed


def test_no_draw_excuses_a_float64_fault(madeup):
    def change(side, dtype, stage, arrays):
        if side == "paddle" and dtype == "float64" and "a" in arrays:
            arrays["a"] = arrays["a"] * (1 + 1e-7)
        return arrays
    madeup.change = change
    assert not run(madeup, ["forward"], ["float64"]).passed
    assert len(madeup.asked) == 2


def test_series_stored_in_float64_by_a_float32_run_are_judged_as_float32(madeup):
    """Python floats of a float32 network carry its rounding; rates computed in double do not."""
    def change(side, dtype, stage, arrays):
        if dtype == "float32" and "losses" in arrays:
            noise = 3e-7 if side == "torch" else -3e-7
            arrays["losses"] = arrays["losses"].astype("float64") * (1 + noise)
        return arrays
    madeup.change = change
    assert run(madeup, ["train"]).passed
    madeup.change = shift("rates", 1e-8)
    assert {line.name for line in run(madeup, ["train"]).failures} == {"rates"}


def test_a_mathematically_zero_gradient_is_judged_by_its_stage(madeup):
    madeup.values["backward"]["grad:first.weight"] *= 1e-17

    def change(side, dtype, stage, arrays):
        if side == "paddle" and "grad:first.weight" in arrays:
            arrays["grad:first.weight"] = -arrays["grad:first.weight"]
        return arrays
    madeup.change = change
    assert not run(madeup, ["backward"], ["float64"]).passed
    madeup.allow(r"first\.weight$", "mathematically zero", stage_scale=True)
    outcome = run(madeup, ["backward"], ["float64"])
    assert outcome.passed
    assert [line.verdict.reason for line in outcome.lines if line.verdict.reason] == ["mathematically zero"]


def test_a_mathematically_zero_gradient_does_not_hide_a_wrong_one(madeup):
    madeup.values["backward"]["grad:first.weight"] *= 1e-17

    def change(side, dtype, stage, arrays):
        if dtype == "float32" and stage == "backward":  # in float32 both sides' rounding is larger, and their own
            arrays["grad:first.weight"] = arrays["grad:first.weight"] * np.float32(1e9 if side == "torch" else -1e9)
            if side == "paddle":
                arrays["grad:second.weight"] = arrays["grad:second.weight"] * np.float32(1.01)
        return arrays
    madeup.change = change
    madeup.allow(r"first\.weight$", "mathematically zero", stage_scale=True)
    assert {line.name for line in run(madeup, ["backward"], ["float32"]).failures} == {"grad:second.weight"}


def test_a_stage_that_no_step_claims_is_refused(madeup):
    madeup.values["rumour"] = {}
    with pytest.raises(ValueError, match="rumour"):
        run(madeup)
