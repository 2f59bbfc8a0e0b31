"""Losses of segmentation and flow, by hand."""
import math

import numpy as np
import paddle
import pytest

from losses.flow import endpoint_error, multiscale_endpoint_error
from losses.segmentation import cross_entropy, pixel_accuracy


def test_ignored_pixels_count_in_one_denominator_only():
    logits, labels = paddle.zeros([1, 4, 1, 2]), paddle.to_tensor([[[2, 255]]])
    assert cross_entropy(logits, labels).item() == pytest.approx(math.log(4), rel=1e-6)
    assert cross_entropy(logits, labels, average="all").item() == pytest.approx(math.log(4) / 2, rel=1e-6)
    with pytest.raises(ValueError, match="some"):
        cross_entropy(logits, labels, average="some")


def test_all_ignored_is_zero():
    assert cross_entropy(paddle.ones([1, 3, 2, 2]), paddle.full([1, 2, 2], 255, "int64")).item() == 0.0


def test_accuracy_in_per_cent():
    logits = paddle.to_tensor(np.eye(3, dtype="float32")[[0, 1, 1, 2]].T.reshape(1, 3, 1, 4))
    assert pixel_accuracy(logits, paddle.to_tensor([[[0, 1, 2, 255]]])).item() == pytest.approx(200 / 3, rel=1e-5)


def test_endpoint_errors():
    flow = paddle.zeros([2, 2, 4, 4])
    target = flow + paddle.to_tensor([3.0, 4.0]).reshape([1, 2, 1, 1])
    assert (endpoint_error(flow, target).numpy() == 5).all()
    loss = multiscale_endpoint_error([flow, paddle.zeros([2, 2, 2, 2])], target, (1.0, 0.5))
    assert loss.item() == pytest.approx(5 * 16 + 0.5 * 5 * 4)
