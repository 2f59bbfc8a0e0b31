"""Mean IoU by hand."""
import numpy as np
import pytest

from metrics.segmentation import ConfusionMatrix


def test_absent_classes_are_left_out_and_invented_ones_count_as_zero():
    matrix = ConfusionMatrix(4)
    matrix.update(np.array([0, 0, 1, 255]), np.array([0, 2, 1, 3]))
    np.testing.assert_allclose(matrix.class_iou(), [0.5, 1.0, 0.0, np.nan])
    assert matrix.mean_iou() == pytest.approx(0.5)
    assert matrix.pixel_accuracy() == pytest.approx(2 / 3)


def test_nothing_labelled_is_nan():
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([255]), np.array([1]))
    assert np.isnan(matrix.mean_iou()) and np.isnan(matrix.pixel_accuracy())


def test_misfits_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        ConfusionMatrix(3).update(np.zeros(3, int), np.zeros(4, int))
    with pytest.raises(ValueError, match="classes 0 to 2"):
        ConfusionMatrix(3).update(np.zeros(3, int), np.full(3, 7))
