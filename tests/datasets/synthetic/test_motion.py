import itertools

import numpy as np
import pytest

from datasets.synthetic.motion import DIRECTIONS, draw_scene, opposite, play


def scene(seed=0, speeds=(4, 4)):
    return draw_scene(np.random.default_rng(seed), 48, 64, speeds)


def test_classes_are_sorted_and_paired():
    for names in ([d.name for d in DIRECTIONS], [d.step for d in DIRECTIONS]):
        assert len(set(names)) == 8
    assert [d.name for d in DIRECTIONS] == sorted(d.name for d in DIRECTIONS)
    assert all(opposite(opposite(label)) == label != opposite(label) for label in range(8))
    assert DIRECTIONS[opposite(3)].name == "DriftRight"


@pytest.mark.parametrize("label", range(8))
def test_backwards_a_clip_is_of_the_opposite_class(label):
    for seed in range(3):
        forwards = play(scene(seed), DIRECTIONS[label].step, 9)
        backwards = play(scene(seed), DIRECTIONS[opposite(label)].step, 9)
        assert np.array_equal(forwards, backwards[::-1])


@pytest.mark.parametrize("label", range(8))
def test_shapes_move_by_the_class_step(label):
    drawn = scene(1)._replace(background=np.zeros((48, 64, 3), np.uint8))
    frames = play(drawn, DIRECTIONS[label].step, 5)
    down, right = DIRECTIONS[label].step
    for now, then in itertools.pairwise(frames):
        assert np.array_equal(np.roll(now, (4 * down, 4 * right), (0, 1)), then)


def test_single_frames_of_all_classes_show_the_same_scene():
    """Round the torus, every frame of every class is one picture, at a place that no class prefers."""
    drawn = scene(2)._replace(background=np.zeros((48, 64, 3), np.uint8))
    for direction in DIRECTIONS:
        for frame in play(drawn, direction.step, 4):
            assert np.array_equal(np.sort(frame.reshape(-1, 3), 0), np.sort(drawn.shapes.reshape(-1, 3), 0))
    rows = [np.nonzero(scene(seed).cover)[0].mean() for seed in range(200)]
    assert abs(np.mean(rows) - 23.5) < 1.5


def test_speeds_and_looks_vary():
    assert {scene(seed, (3, 5)).speed for seed in range(30)} == {3, 4, 5}
    assert len({scene(seed).shapes.tobytes() for seed in range(30)}) == 30
    assert np.array_equal(scene(4).shapes, scene(4).shapes)
