"""AVSBench's metrics against their definitions, threshold by threshold."""
import numpy as np
import pytest

from metrics.audio_visual import (
    BatchAverage,
    DatasetAverage,
    f_measure,
    frame_ious,
    mask_iou,
    precision_recall,
    sigmoid,
    thresholds,
)


def direct(probability, target):
    """255 passes over the frame."""
    rows = []
    for threshold in thresholds():
        hit = probability >= threshold
        true = (hit * target).sum()
        rows.append((true / (hit.sum() + 1e-20), true / (target.sum() + 1e-20)))
    return np.array(rows).T


@pytest.mark.parametrize("soft", [False, True])
def test_the_histogram_counts_what_255_passes_count(soft):
    rng = np.random.default_rng(0)
    probability = sigmoid(rng.normal(0, 3, (20, 31)).astype("float32"))
    probability[0, :3] = thresholds()[[7, 100, 254]]  # exactly on a threshold counts as above
    target = (rng.random((20, 31)) > 0.6).astype("float32") * np.float32(225 / 255 if soft else 1)
    precision, recall = precision_recall(probability, target)
    want = direct(probability, target.astype("float64"))
    np.testing.assert_allclose(precision, want[0], rtol=2e-7)
    np.testing.assert_allclose(recall, want[1], rtol=2e-7)


def test_thresholds_end_at_exactly_one():
    assert thresholds()[0] == 0 and thresholds()[-1] == 1 and thresholds().dtype == np.float32


def test_iou_of_hand_made_frames():
    on, off = 5.0, -5.0
    logits = np.array([[[on, on], [off, off]], [[on, off], [off, off]], [[off, off], [off, off]],
                       [[1e-9, off], [off, off]]], "float32")
    target = np.array([[[1, 0], [1, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 0]], [[1, 0], [0, 0]]], "float32")
    # one of three; a silent frame: share left out; all left out; a logit whose float32 sigmoid is 0.5 is not predicted
    np.testing.assert_allclose(frame_ious(logits, target), [1 / 3, 3 / 4, 1, 0], rtol=1e-6)
    assert mask_iou(logits, target) == pytest.approx((1 / 3 + 3 / 4 + 1) / 4, rel=1e-6)


def test_f_of_a_perfect_and_of_a_silent_batch():
    target = np.zeros((2, 4, 4), "float32")
    target[0, :2] = 1
    assert f_measure(np.where(target > 0, 9.0, -9.0).astype("float32"), target) == pytest.approx(1.0)
    assert f_measure(np.zeros((1, 4, 4), "float32"), target[1:]) == 0.0


def test_the_originals_average_depends_on_the_batch_size_ours_does_not():
    rng = np.random.default_rng(1)
    logits, target = rng.normal(size=(3, 8, 8)).astype("float32"), (rng.random((3, 8, 8)) > 0.5).astype("float32")
    target[2] = 0
    values = {}
    for size in (1, 2):
        batch, whole = BatchAverage(), DatasetAverage()
        for start in range(0, 3, size):
            for average in (batch, whole):
                average.update(logits[start:start + size], target[start:start + size])
        values[size] = batch.values(), whole.values()
    assert values[1][0] != values[2][0]
    assert values[1][1] == pytest.approx(values[2][1])


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="N H W"):
        mask_iou(np.zeros((1, 4, 4)), np.zeros((1, 4, 5)))
