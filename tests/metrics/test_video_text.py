"""Probabilities over prompts and views, and top-k."""
import numpy as np
import pytest

from metrics.video_text import prompt_probabilities, summed_views, top_k_percent


def test_templates_are_averaged_behind_the_softmax():
    video = np.array([[2.0, 0.0]])
    text = np.array([[1, 0], [0, 3], [1, 1], [1, -1]], float)  # two templates of two classes
    found = prompt_probabilities(video, text, 2)
    np.testing.assert_allclose(found, [[0.75, 0.25]], atol=1e-12)


def test_top_k_is_cut_to_the_number_of_classes():
    scores = np.array([[0.1, 0.9], [0.8, 0.2]])
    assert top_k_percent(scores, np.array([0, 0])) == [50.0, 100.0]


def test_views_are_summed_after_the_softmax():
    np.testing.assert_allclose(summed_views(np.array([[[0.0, 0.0]], [[0.0, np.log(3)]]])), [[0.75, 1.25]])


def test_zero_features_are_refused():
    with pytest.raises(ValueError, match="zero or not finite"):
        prompt_probabilities(np.zeros((1, 2)), np.ones((2, 2)), 1)
