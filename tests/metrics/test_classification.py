import numpy as np
import pytest

from metrics.classification import confusion_matrix, mean_class_accuracy, softmax, top_k_accuracy

SCORES = np.array([[0.1, 0.7, 0.2], [0.6, 0.3, 0.1], [0.2, 0.3, 0.5], [0.4, 0.5, 0.1]])


def test_softmax():
    found = softmax(np.array([[0.0, np.log(3.0)], [1000.0, 0.0]]))
    np.testing.assert_allclose(found, [[0.25, 0.75], [1.0, 0.0]], rtol=1e-15)
    assert softmax(np.zeros((1, 2), np.float32)).dtype == np.float32


def test_top_k_by_hand():
    assert top_k_accuracy(SCORES, np.array([1, 1, 0, 1]), (1, 2, 3)) == [0.5, 0.75, 1.0]


def test_k_beyond_the_classes_counts_all():
    assert top_k_accuracy(SCORES, np.array([0, 1, 2, 0]), (9,)) == [1.0]


def test_the_last_of_equal_scores_is_the_best():
    assert top_k_accuracy(np.zeros((1, 4)), np.array([3]), (1,)) == [1.0]


def test_mean_class_accuracy_counts_predicted_only_classes_as_zero():
    # labels 1 1 1, predictions 1 0 2: class 1 has 1/3, classes 0 and 2 count as 0
    assert mean_class_accuracy(SCORES[:3], np.array([1, 1, 1])) == pytest.approx(1 / 9)


def test_mean_class_accuracy_of_equal_scores_takes_the_first():
    assert mean_class_accuracy(np.zeros((1, 4)), np.array([0])) == 1.0


def test_confusion_matrix_rows_are_labels():
    assert confusion_matrix(np.array([0, 2, 2]), np.array([0, 0, 1]), 3).tolist() == [[1, 0, 1], [0, 0, 1], [0, 0, 0]]


def test_no_samples_are_refused():
    with pytest.raises(ValueError, match="not zero"):
        top_k_accuracy(np.zeros((0, 3)), np.zeros(0, int))
