"""ActionCLIP's loss on a case worked by hand."""
import numpy as np
import paddle

from losses.contrastive import equal_labels, matching_divergence, video_text_loss
from losses.soft_target import soft_target_cross_entropy


def test_divergence_by_hand():
    logits, equal = np.array([[2.0, 0.0], [0.0, 1.0]]), np.eye(2)
    target = np.exp(10 * equal) / np.exp(10 * equal).sum(1, keepdims=True)
    share = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    want = (target * np.log(target / share)).sum() / 2
    got = matching_divergence(paddle.to_tensor(logits), paddle.to_tensor(equal)).item()
    assert abs(got - want) < 1e-12


def test_loss_vanishes_only_at_its_soft_targets():
    equal = paddle.eye(3, dtype="float64")
    assert abs(matching_divergence(10 * equal, equal).item()) < 1e-12
    assert matching_divergence(100 * equal, equal).item() > 1e-3


def test_shared_classes_are_positives_and_directions_are_averaged():
    assert equal_labels(paddle.to_tensor([4, 1, 4])).numpy().tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    video, text = paddle.randn([3, 8]), paddle.randn([3, 8])
    found = video_text_loss(video, text, paddle.to_tensor([4, 1, 4]), paddle.to_tensor(5.0))
    swapped = video_text_loss(text, video, paddle.to_tensor([4, 1, 4]), paddle.to_tensor(5.0))
    assert abs(found["total"].item() - (found["images"] + found["texts"]).item() / 2) < 1e-6
    assert abs(found["images"].item() - swapped["texts"].item()) < 1e-6


def test_soft_targets_on_one_hot_are_cross_entropy():
    logits = paddle.to_tensor([[1.0, 2.0, 0.5]])
    want = -np.log(np.exp(2.0) / np.exp([1.0, 2.0, 0.5]).sum())
    assert abs(soft_target_cross_entropy(logits, paddle.to_tensor([[0.0, 1.0, 0.0]])).item() - want) < 1e-6
