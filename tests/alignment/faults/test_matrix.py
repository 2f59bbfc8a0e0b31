"""The judge of the harness, on made-up runs: caught, located, missed, false alarms, and the customary rule."""
from __future__ import annotations

import json
from dataclasses import replace

import pytest

from alignment.faults import matrix, page
from alignment.faults.fault import Fault, Place
from alignment.faults.matrix import Matrix

PLACE = Place("mvf", "small", ("forward", "train"), None, r"layer\d\.bn", detail=r"worst at")
FAULT = Fault("made_up", "something is wrong", (PLACE,))


def stage(step="forward", first="layer1.bn", passed=False, means=None, **changes):
    return {"step": step, "count": 3, "bad": 0 if passed else 2, "passed": passed, "errors": {},
            "first": "" if passed else first, "detail": "" if passed else "worst at [0]: 1 here, 2 expected",
            "finding": "" if passed else "values", "relative": None if passed else 1e-3,
            "means": means or {"layer1.bn": 1e-4, "logits": 1e-4}, "incomparable": [], **changes}


def judged(*, place=PLACE, error="", **stages):
    return matrix.finding(FAULT, place, {"stages": stages, "error": error})


def test_a_fault_that_is_red_everywhere_and_named_is_caught_and_located():
    found = judged(forward=stage(), train=stage("train", "losses"))
    assert found.caught and found.located
    assert [cell.located for cell in found.cells] == [True, None]  # the first step locates


@pytest.mark.parametrize("first", ["layer2.conv", "layer1.bn.more", "x.layer1.bn"])
def test_another_name_is_no_location(first):
    found = judged(forward=stage(first=first), train=stage("train"))
    assert found.caught and not found.located


def test_the_right_name_with_another_index_is_no_location():
    assert not judged(forward=stage(detail="leaves at step 3"), train=stage("train")).located


def test_a_step_that_stopped_is_red_but_locates_nothing():
    found = judged(forward=stage(errors={"paddle forward": "it stopped"}), train=stage("train"))
    assert found.caught and not found.located


@pytest.mark.parametrize("stages", [{"forward": stage(passed=True), "train": stage("train")},
                                    {"forward": stage(), "train": stage("train", passed=True)}])
def test_one_green_step_is_a_miss(stages):
    found = judged(**stages)
    assert not found.caught and not found.located


def test_what_could_not_be_planted_is_not_caught():
    assert not judged(forward=stage(), error="train: nothing to change").caught
    assert not judged(error="the session ended before it").caught


def made(*findings, alarms=(), clean=2, broken=()):
    return Matrix(tuple(findings), tuple(alarms), clean, tuple(broken))


GOOD = judged(forward=stage(), train=stage("train"))
LOST = judged(forward=stage(first="elsewhere"), train=stage("train"))


def test_the_targets():
    assert made(*[GOOD] * 20).passed
    assert made(*[GOOD] * 19, LOST).passed  # 95 % located
    assert not made(*[GOOD] * 18, *[LOST] * 2).passed
    assert not made(*[GOOD] * 99, judged(forward=stage(passed=True), train=stage("train"))).passed  # all caught
    assert not made().passed
    assert not made(GOOD, clean=0).passed  # nothing shows that a clean run is green
    assert not made(GOOD, broken=("mvf/small: it stopped",)).passed


def test_a_red_clean_stage_is_a_false_alarm():
    run = {"stages": {"forward": stage(), "loss": stage("loss", passed=True)}, "error": ""}
    found = matrix.alarms("mvf", "small", run)
    assert [(one.stage, one.first) for one in found] == [("forward", "layer1.bn")]
    assert not made(GOOD, alarms=found).passed
    assert "FAIL false alarm in mvf/small forward: layer1.bn" in page.totals(made(GOOD, alarms=found))


@pytest.mark.parametrize(("step", "means", "guide", "everywhere"), [
    ("forward", {"layer1.bn": 1e-3, "logits": 9e-7}, False, True),  # the guide looks at logits only
    ("forward", {"layer1.bn": 0.0, "logits": 1e-6}, True, True),
    ("train", {"losses": 9e-6, "param:weight": 1e-3}, False, True),
    ("backward", {"grad:weight": 1e-3}, False, True),
    ("backward", {"grad:weight": 1e-6}, False, False),
    ("forward", {"logits": None}, False, False)])  # NaN passes there
def test_the_customary_rule(step, means, guide, everywhere):
    found = judged(forward=stage(step, means=means))
    assert (found.guide, found.everywhere) == (guide, everywhere)


def test_unequal_shapes_count_as_seen_by_the_customary_rule():
    assert judged(forward=stage(means={"logits": None}, incomparable=["logits"])).guide


def test_the_pages_say_what_was_missed():
    found = made(GOOD, replace(LOST, place=replace(PLACE, system="dff")), clean=4)
    text = page.html(found, "python -m alignment faults")
    assert "not located: elsewhere" in text and "FAILED" in text and "made_up" in text
    lines = page.markdown(found, "python -m alignment faults")
    assert "not located" in lines and "1 faults at 2 places" in lines
    content = json.loads(json.dumps(page.to_json(found, 1.0, "command"), allow_nan=False))
    assert (content["caught"], content["located"], content["places"]) == (2, 1, 2)
    assert content["html"] == page.html(found, "command")
