"""Weights go over completely or not at all."""
from __future__ import annotations

import numpy as np
import paddle
import pytest
import torch

import alignment
from alignment.own.weights import renamer
from models.conversion import WeightMismatch


def test_the_longest_beginning_is_replaced_and_only_whole_words():
    rename = renamer({"head": "classifier", "head.last": "fc", "root": ""})
    assert [rename(name) for name in ("head.0.weight", "head.last.bias", "header.bias", "root.conv", "head")] == [
        "classifier.0.weight", "fc.bias", "header.bias", "conv", "classifier"]


def test_statistics_come_along_and_linear_weights_are_transposed():
    reference = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    reference[1].running_mean.fill_(0.25)
    port = paddle.nn.Sequential(paddle.nn.Linear(3, 3), paddle.nn.BatchNorm1D(3))
    assert alignment.copy_weights(reference, port) == 6
    np.testing.assert_array_equal(port[0].weight.numpy(), reference[0].weight.detach().numpy().T)
    assert port[1]._mean.numpy().tolist() == [0.25] * 3


def test_everything_that_does_not_fit_is_named_and_nothing_is_copied():
    reference = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2, bias=False))
    port = paddle.nn.Sequential(paddle.nn.Linear(3, 5), paddle.nn.Linear(4, 2))
    before = port[1].weight.numpy()
    with pytest.raises(WeightMismatch) as caught:
        alignment.copy_weights(reference, port)
    assert caught.value.missing == ["1.bias"]
    assert len(caught.value.misshapen) == 2
    np.testing.assert_array_equal(port[1].weight.numpy(), before)


def test_what_is_left_out_on_purpose_is_said():
    reference = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2), "unused": torch.nn.Linear(2, 2)})
    port = paddle.nn.LayerDict({"a": paddle.nn.Linear(2, 2)})
    with pytest.raises(WeightMismatch, match=r"unused\.weight"):
        alignment.copy_weights(reference, port)
    assert alignment.copy_weights(reference, port, dropped=(r"^unused\.",)) == 2
