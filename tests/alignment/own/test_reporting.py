"""The findings in words, and the page."""
from __future__ import annotations

import json

import numpy as np
import paddle
import pytest
import torch

import alignment
from alignment.compare import Verdict
from alignment.own.comparison import Findings
from alignment.own.reporting import locate


def verdict(key, passed=True):
    return Verdict(key, passed, 0.0 if passed else 0.5, 1e-9, "" if passed else "values", "worst at [0]")


@pytest.mark.parametrize(("step", "keys", "told"), [
    ("forward", {"weights/a.weight": False}, "copy_weights first"),
    ("forward", {"forward64/a": True, "forward64/input of b": False}, r"b is given other values.*(last: a)"),
    ("forward", {"forward64/input of a": True, "forward64/a": False}, "a is given equal values"),
    ("forward", {"forward64/a": True, "forward64/output": False}, "behind the last one"),
    ("forward", {"forward/a": False, "forward64/a": True}, "float64 agrees everywhere"),
    ("backward", {"backward64/grad:a.weight": False}, "from the last layer to the first"),
    ("backward", {"backward64/loss": False}, "the loss itself differs"),
    ("train", {"train64/param:a.weight": False}, "parameters the optimizer"),
])
def test_the_place_of_the_first_divergence_is_explained(step, keys, told):
    found = Findings(step, [verdict(key, passed) for key, passed in keys.items()])
    for part in told.split(".*"):
        assert part in locate(found)


def test_nothing_compared_is_no_agreement():
    assert not Findings("forward", []).passed
    assert alignment.write_report(Findings("forward", [])).endswith("DO NOT AGREE")
    assert alignment.write_report().endswith("DO NOT AGREE")


def test_the_page_is_written_with_every_verdict(tmp_path):
    torch.manual_seed(0)
    reference = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Tanh())
    port = paddle.nn.Sequential(paddle.nn.Linear(3, 3), paddle.nn.Sigmoid())
    alignment.copy_weights(reference, port)
    batch = [np.random.default_rng(0).normal(size=(2, 3))]
    found = [alignment.compare_forward(reference, port, batch), alignment.compare_backward(reference, port, batch)]
    text = alignment.write_report(*found, folder=tmp_path, name="mine")
    assert "1 is given equal values and makes others of them" in text
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "mine" in page and "forward64" in page
    written = json.loads((tmp_path / "report.json").read_text())
    assert len(written["verdicts"]) == sum(len(step.verdicts) for step in found)
    assert not written["passed"]
    assert (tmp_path / "mine" / "result" / "log" / "forward_diff.log").is_file()
