from __future__ import annotations

import numpy as np
import paddle
import pytest

from losses import mask


@pytest.mark.parametrize(("update", "share"), [(0, 1.0), (19, 1.0), (20, 1.0), (45, 0.575), (70, 0.15), (71, 0.15)])
def test_share(update, share):
    assert mask.hard_share(update, 20, 70) == pytest.approx(share, abs=1e-15)


def test_hardest_pixels_by_hand():
    target = paddle.zeros([1, 2, 2], "int64")
    margins = np.array([0.0, 1.0, 2.0, 3.0]).reshape(2, 2)
    logits = paddle.to_tensor(np.stack([np.zeros((2, 2)), margins])[None])
    losses = np.log1p(np.exp(margins.ravel()))
    assert mask.bootstrapped_cross_entropy(logits, target, 1.0).item() == pytest.approx(losses.mean())
    assert mask.bootstrapped_cross_entropy(logits, target, 0.5).item() == pytest.approx(losses[2:].mean())


def test_samples_without_a_second_object_ignore_its_logit():
    logits = paddle.randn([2, 3, 4, 4])
    target, selector = paddle.zeros([2, 4, 4], "int64"), paddle.to_tensor([[1.0, 1.0], [1.0, 0.0]])
    whole = mask.bootstrapped_cross_entropy(logits[:1], target[:1], 1.0)
    two = mask.bootstrapped_cross_entropy(logits[1:, :2], target[1:], 1.0)
    assert mask.bootstrapped_by_sample(logits, target, selector, 1.0).item() == pytest.approx(
        ((whole + two) / 2).item())


def test_iou_sums():
    i, u = mask.iou_sums(paddle.to_tensor([0.6, 0.4, 0.9]), paddle.to_tensor([1.0, 1.0, 0.0]))
    assert (i.item(), u.item()) == (1, 3)


def test_moved_masks_by_hand():
    moved, target = paddle.to_tensor([[[0.5, 0.25, 0.0]]]), paddle.to_tensor([[[1.0, 0.5, 0.0]]])
    want = (np.log(2) - 0.5 * np.log(0.25) - 0.5 * np.log(0.75) - np.log(1 - 1e-4)) / 3
    assert mask.moved_mask_loss(moved, target).item() == pytest.approx(want, rel=1e-5)
