"""Mixup and CutMix keep shares and shapes."""
import numpy as np
import pytest

from datasets import blending


def test_targets_are_smoothed_shares():
    target = blending.smoothed_one_hot(np.array([[1], [0]]), 4, 0.2)
    np.testing.assert_allclose(target, [[0.05, 0.85, 0.05, 0.05], [0.85, 0.05, 0.05, 0.05]], rtol=1e-6)


def test_cutmix_counts_the_area_inside_the_frame():
    images = np.stack([np.zeros((2, 3, 10, 10), "f4"), np.ones((2, 3, 10, 10), "f4")])
    mixed, target = blending.cutmix(images, np.eye(2, dtype="f4"), 0.64, np.array([1, 0]), (0, 0))
    assert mixed[0].sum() == 2 * 3 * 9 and mixed[1].sum() == 2 * 3 * 91  # 6x6 box, 3x3 of it inside
    np.testing.assert_allclose(target[0], [0.91, 0.09], rtol=1e-6)


@pytest.mark.parametrize("cutmix", [1.0, 0.0])
def test_blend_rows_sum_to_one_and_repeat_by_seed(cutmix):
    images = np.random.default_rng(0).normal(size=(4, 2, 3, 8, 8)).astype("f4")
    made = [blending.blend(images, np.arange(4), 6, np.random.default_rng(5), cutmix_alpha=cutmix) for _ in range(2)]
    np.testing.assert_array_equal(made[0][0], made[1][0])
    np.testing.assert_allclose(made[0][1].sum(1), 1, rtol=1e-6)
    assert made[0][0].shape == images.shape and made[0][0].dtype == np.float32
