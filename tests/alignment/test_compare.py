"""The rule, on every case where reprod_log's customary check is known to mislead, and the yardsticks."""
from __future__ import annotations

import numpy as np
import pytest

from alignment import compare
from alignment.compare import Allowance, Verdict, judge


def f32(*values):
    return np.array(values, np.float32)


def customary(got, want, method="mean"):
    """What reprod_log says: True, False, or the exception it raises."""
    pytest.importorskip("reprod_log")
    from reprod_log.compare import check_data, compute_diff
    from reprod_log.utils import check_print_diff

    ours, theirs = ({"x": side} if isinstance(side, np.ndarray) else side for side in (got, want))
    try:
        check_data(ours, theirs)
        return check_print_diff(compute_diff(ours, theirs), diff_method=method, print_func=lambda text: None)
    except (AssertionError, TypeError, ValueError) as error:
        return next(kind for kind in (AssertionError, TypeError, ValueError) if isinstance(error, kind))


NAN, INF = np.nan, np.inf
SQUARE = np.arange(9, dtype=np.float32).reshape(3, 3)

# name, ours, reference, finding that is right ('' passes), what reprod_log says
CASES = [
    ("nan here", f32(1, NAN), f32(1, 2), "finite", True),
    ("nan in the reference", f32(1, 2), f32(1, NAN), "finite", True),
    ("nan on both sides", f32(1, NAN), f32(1, NAN), "finite", True),
    ("inf on both sides", f32(1, INF), f32(1, INF), "finite", True),
    ("inf here", f32(1, INF), f32(1, 2), "finite", False),
    ("broadcast column", np.ones((4, 1), np.float32), np.ones(4, np.float32), "shape", True),
    ("broadcast scalar", np.ones((4, 3), np.float32), np.array(1, np.float32), "shape", True),
    ("reversed 2-D", np.ones((2, 3), np.float32), np.ones((3, 2), np.float32), "shape", True),
    ("reversed 3-D", np.ones((2, 3, 4), np.float32), np.ones((4, 3, 2), np.float32), "shape", True),
    ("square untransposed", SQUARE.T.copy(), SQUARE, "values", False),
    ("int against float", np.array([1, 2]), f32(1, 2), "dtype", True),
    ("float32 against float64", f32(1, 2), np.array([1.0, 2.0]), "dtype", True),
    ("identical", f32(1, 2), f32(1, 2), "", True),
    ("one ulp at 1e4", f32(1e4), np.nextafter(f32(1e4), f32(2e4)), "", False),
    ("tiny gradients all wrong", f32(1e-7, 1e-7), f32(2e-7, 2e-7), "values", True),
    ("integers off by one", np.array([1, 2, 3]), np.array([1, 2, 4]), "values", False),
    ("bool differs", np.array([True, False]), np.array([True, True]), "values", TypeError),
    ("bool equal", np.array([True, False]), np.array([True, False]), "", TypeError),
    ("text differs", np.array(["a", "b"]), np.array(["a", "c"]), "values", TypeError),
    ("text equal", np.array(["a"]), np.array(["a"]), "", TypeError),
    ("empty", np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), "", ValueError),
    ("empty against filled", np.zeros(0, np.float32), f32(1), "shape", ValueError),
    ("objects", np.array([None]), np.array([None]), "dtype", TypeError),
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("got", "want", "finding", "theirs"), [case[1:] for case in CASES],
                         ids=[case[0] for case in CASES])
def test_verdict_is_right_where_the_customary_one_may_not_be(got, want, finding, theirs):
    verdict = judge("x", got, want)
    assert (verdict.passed, verdict.finding) == (finding == "", finding)
    if finding:
        assert verdict.detail
    assert customary(got, want) == theirs


def test_one_wrong_element_among_a_million():
    want = np.ones(1_000_000, np.float32)
    got = want.copy()
    got[123_456] = 1.5
    verdict = judge("x", got, want)
    assert verdict.finding == "values"
    assert "[123456]" in verdict.detail
    assert customary(got, want) is True


def test_unsigned_differences_do_not_wrap():
    verdict = judge("x", np.array([0], np.uint8), np.array([255], np.uint8))
    assert not verdict.passed
    assert verdict.mean_absolute == 255
    from_reprod_log = np.abs(np.array([0], np.uint8) - np.array([255], np.uint8)).mean()
    assert from_reprod_log == 1  # the formula of its compute_diff


def test_method_min_sees_the_best_element_only():
    got, want = f32(1, 2), f32(1, 99)
    assert not judge("x", got, want).passed
    assert customary(got, want, "min") is True


def test_empty_dictionaries_pass_the_customary_check():
    assert customary({}, {}) is True


def test_missing_key_is_named():
    assert customary({"a": f32(1)}, {"a": f32(1), "b": f32(1)}) is AssertionError
    verdict = compare.missing("forward/b", "here")
    assert (verdict.passed, verdict.finding, verdict.key) == (False, "missing", "forward/b")


@pytest.mark.parametrize(("relative", "yardstick", "passes"), [
    (0.9e-6, 0.0, True), (1.1e-6, 0.0, False), (1.1e-6, 1e-6, True), (3.9e-6, 1e-6, True), (4.2e-6, 1e-6, False)])
def test_float32_is_measured_by_the_originals_own_rounding(relative, yardstick, passes):
    want = np.array([1.0, 0.5], np.float32)
    got = (want.astype(np.float64) + np.array([0, relative])).astype(np.float32)
    verdict = judge("x", got, want, yardstick=yardstick)
    assert verdict.passed is passes
    assert verdict.allowed == max(1e-6, 4 * yardstick)


@pytest.mark.parametrize(("error", "passes"), [(0.9e-9, True), (1.1e-9, False)])
def test_float64_has_one_limit_and_no_yardstick(error, passes):
    verdict = judge("x", np.array([1.0, 2.0 + 2 * error]), np.array([1.0, 2.0]), yardstick=1.0)
    assert (verdict.passed, verdict.allowed, verdict.yardstick) == (passes, 1e-9, None)


def test_scale_of_the_whole_array_counts_for_a_sample():
    assert judge("x", np.array([1e-8]), np.array([0.0]), scale=100.0).passed
    assert not judge("x", np.array([1e-8]), np.array([0.0])).passed


def test_allowance_states_its_reason_and_its_own_limit():
    allowance = Allowance(r"^forward/x$", "a near tie", float32=1e-3, exact_share=0.5)
    assert compare.find_allowance("forward/x", [allowance]) is allowance
    assert compare.find_allowance("backward/x", [allowance]) is None
    verdict = judge("forward/x", f32(1.0005), f32(1), allowance=allowance)
    assert verdict.passed
    assert verdict.reason == "a near tie"
    assert not judge("forward/x", f32(1.002), f32(1), allowance=allowance).passed
    assert judge("forward/x", np.array([1, 2]), np.array([1, 3]), allowance=allowance).passed
    assert not judge("forward/x", np.array([1, 2, 3]), np.array([1, 3, 4]), allowance=allowance).passed


def test_allowance_never_covers_shape_dtype_or_nan():
    wide = Allowance("x", "anything", float64=np.inf, float32=np.inf, exact_share=0.0)
    for got, want in ((np.ones((2, 1)), np.ones(2)), (f32(1), np.ones(1)), (f32(NAN), f32(NAN))):
        assert not judge("x", got, want, allowance=wide).passed


def test_allowance_by_the_stages_scale_needs_that_scale():
    zero = Allowance("x", "mathematically zero", stage_scale=True)
    with pytest.raises(ValueError, match="scale"):
        judge("x", np.array([1e-17]), np.array([-2e-17]), allowance=zero)
    assert judge("x", np.array([1e-17]), np.array([-2e-17]), allowance=zero, scale=1.0).passed


def test_margin():
    assert Verdict("x", True, 2.0, 4.0).margin == 2.0
    assert Verdict("x", True, 0.0, 4.0).margin == np.inf
    assert Verdict("x", False, np.inf, 0.0).margin == 0.0


@pytest.mark.parametrize(("key", "expected"), [
    ("backward/grad:conv1.weight", "backward/grad"), ("backward64/grad:x", "backward64/grad"),
    ("train/param:fc.bias", "train/param"), ("forward/dot.va.grad:x", "forward/grad"), ("forward/logits", None),
    ("forward/gradual", None)])
def test_groups(key, expected):
    assert compare.group(key) == expected


def test_gradients_share_the_worst_yardstick_of_their_kind_and_stage():
    own = {"backward/grad:a": 1e-7, "backward/grad:b": 3e-6, "backward_train/grad:a": 5e-8, "forward/logits": 2e-7}
    assert compare.share_yardsticks(own) == {**own, "backward/grad:a": 3e-6}


def test_a_trajectory_shares_one_yardstick():
    own = {"train/losses": 1e-7, "train/param:a": 4e-6, "forward/logits": 2e-7}
    shared = compare.share_yardsticks(own, {"train"})
    assert shared == {"train/losses": 4e-6, "train/param:a": 4e-6, "forward/logits": 2e-7}


def test_a_metric_that_jumps_does_not_widen_the_rule_of_the_losses():
    own = {"short_training/losses": 1e-6, "short_training/metric:top1": 1e-2, "short_training/metric:top5": 1e-9}
    shared = compare.share_yardsticks(own, {"short_training"})
    assert shared == {"short_training/losses": 1e-6, "short_training/metric:top1": 1e-2,
                      "short_training/metric:top5": 1e-2}


def test_a_metric_may_stray_as_far_as_the_training_before_it():
    own = {"short_training/losses": 1e-4, "short_training/metric:miou": 1e-8}
    assert compare.share_yardsticks(own, {"short_training"})["short_training/metric:miou"] == 1e-4


def test_first_divergence_keeps_the_order_of_execution():
    good, bad = Verdict("forward/a", True, 0, 1), Verdict("forward/b", False, 2, 1, "values")
    assert compare.first_divergence([good, bad, Verdict("forward/c", False, 9, 1, "values")]) is bad
    assert compare.first_divergence([good]) is None
