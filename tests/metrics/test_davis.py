from __future__ import annotations

import numpy as np
import pytest

from metrics import davis


def test_squares_by_hand():
    truth, guess = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    truth[10:20, 10:20] = True
    guess[10:20, 10:25] = True
    assert davis.jaccard(truth, guess) == pytest.approx(100 / 150)
    assert davis.tolerance(480, 854) == 8 and davis.tolerance(40, 40) == 1
    assert davis.boundary(truth).sum() == 40  # one outside row and column, the rest inside
    assert 0 < davis.contour_accuracy(truth, guess) < 1
    assert davis.contour_accuracy(truth, truth) == 1


def test_empty_masks():
    empty, full = np.zeros((9, 9), bool), np.eye(9, dtype=bool)
    assert (davis.jaccard(empty, empty), davis.contour_accuracy(empty, empty)) == (1, 1)
    assert (davis.jaccard(empty, full), davis.contour_accuracy(empty, full), davis.contour_accuracy(full, empty)) == (
        0, 0, 0)


def test_statistics_by_hand():
    found = davis.statistics([1.0, 0.8, 0.6, 0.4, 0.2, 0.0, 0.0, 0.0])
    assert found.mean == pytest.approx(3 / 8) and found.recall == pytest.approx(3 / 8)
    assert found.decay == pytest.approx(np.mean([1, 0.8, 0.6]) - 0)


def test_semi_supervised_leaves_out_the_ends_and_averages_objects():
    truth = np.zeros((5, 20, 20), np.uint8)
    truth[:, 3:9, 3:9], truth[:, 12:17, 12:17] = 1, 2
    guess = truth.copy()
    guess[0], guess[-1] = 0, 0
    guess[guess == 2] = 0
    measures = davis.SemiSupervised()
    measures.add("one", truth, guess)
    result = measures.result()
    assert result["J_mean"] == pytest.approx(0.5) and result["J&F"] == pytest.approx(0.5)
    assert measures.by_sequence()["one"]["F_mean"] == pytest.approx(0.5)
    with pytest.raises(ValueError, match="frames"):
        measures.add("short", truth[:2], guess[:2])
    with pytest.raises(ValueError, match="size first"):
        davis.frame_scores(truth[0], guess[0][:10], [1])


def test_summary_carries_values_on():
    rows = {(0, "a"): ([0.5], 10.0), (1, "a"): ([0.7], 10.0), (0, "b"): ([0.9], 30.0)}
    found = davis.interactive_summary(rows, interactions=2, max_time=100.0)
    assert found["time"] == [0, 20, 25, 100] and found["curve"] == pytest.approx([0, 0.7, 0.8, 0.8])
    assert found["auc"] == pytest.approx((20 * 0.35 + 5 * 0.75 + 75 * 0.8) / 100)
    assert found["at"] == pytest.approx(0.8)
