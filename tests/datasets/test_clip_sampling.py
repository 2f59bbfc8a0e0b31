import numpy as np
import pytest

from alignment.bundle import Bundle
from alignment.recipe import sample
from alignment.streams import LegacyNumpy
from datasets.clip_sampling import dense_clips


@pytest.mark.parametrize(("recipe", "first"), [("kinetics", 0), ("ucf101", 1)])
def test_as_the_original_recorded(golden, recipe, first):
    bundle = Bundle.read(golden / "mvf" / f"{recipe}_pipeline")
    stage, made = bundle.manifest["stages"]["sampling"], {}
    for length, interval, clips in stage["configs"]:
        for mode in ("test", "train"):
            made[f"{mode}:{length}x{interval}x{clips}"] = np.stack([
                dense_clips(frames, length=length, interval=interval, clips=clips, training=mode == "train",
                            recipe=recipe, rng=LegacyNumpy(stage["seed"] + frames)).reshape(-1)
                for frames in stage["lengths"]]) + first
    assert sorted(made) == sorted(bundle.keys("sampling"))
    for key, rows in made.items():
        assert rows.dtype == np.int64
        assert np.array_equal(sample(rows), bundle.wanted(f"sampling/{key}")), key


class Fixed:
    """A stream of chosen integers that remembers what it was asked for."""

    def __init__(self, *values):
        self.values, self.asked = list(values), []

    def integers(self, low, high, size):
        self.asked.append((low, high, size))
        return np.array(self.values.pop(0))

    def uniform(self, low, high, size):
        self.asked.append((low, high, size))
        return np.array(self.values.pop(0))


def test_jitter_is_drawn_once_for_all_clips_by_kinetics_and_for_each_frame_by_ucf101():
    options = {"length": 3, "interval": 4, "clips": 2, "training": True, "jitter": True}
    rng = Fixed([0, 5], [3, 0, 1])
    assert dense_clips(40, recipe="kinetics", rng=rng, **options).tolist() == [[3, 4, 9], [22, 23, 28]]
    assert rng.asked == [(0, 14, 2), (0, 4, 3)]
    rng = Fixed([0, 5], [3, 0, 1, 0, 2, 2])
    assert dense_clips(40, recipe="ucf101", rng=rng, **options).tolist() == [[3, 4, 9], [19, 25, 29]]
    assert rng.asked == [(0, 14, 2), (0, 4, 6)]


@pytest.mark.parametrize(("past_end", "row"), [
    (None, [0, 4, 8, 2, 6]), ("wrap", [0, 4, 8, 2, 6]), ("clamp", [0, 4, 8, 9, 9]), ("repeat", [0, 4, 8, 8, 8])])
def test_past_the_end(past_end, row):
    clips = dense_clips(10, length=5, interval=4, training=False, recipe="ucf101", past_end=past_end)
    assert clips.tolist() == [row]


def test_further_sets_of_test_clips():
    options = {"length": 4, "interval": 2, "clips": 3, "training": False}
    twice = [[6, 8, 10, 12], [19, 21, 23, 25], [31, 33, 35, 37], [0, 2, 4, 6], [12, 14, 16, 18], [25, 27, 29, 31]]
    assert dense_clips(46, recipe="ucf101", samples=2, **options).tolist() == [
        [6, 8, 10, 12], [19, 21, 23, 25], [32, 34, 36, 38], [0, 2, 4, 6], [13, 15, 17, 19], [26, 28, 30, 32]]
    assert dense_clips(45, recipe="kinetics", samples=2, **options).tolist() == twice
    assert len(dense_clips(5, recipe="ucf101", samples=2, **options)) == 3  # too short: zeros, once
    rng = Fixed([0, 1, 2], [3, 4, 5])
    assert dense_clips(46, recipe="kinetics", samples=3, rng=rng, **options)[:, 0].tolist() == [
        6, 19, 32, 0, 14, 28, 3, 17, 31]
    assert rng.asked == [(0, 13, 3)] * 2
    rng = Fixed(*[[0, 0, number] for number in range(10)])
    assert dense_clips(46, recipe="kinetics", samples=10, rng=rng, **options)[2::3, 0].tolist() == list(range(26, 36))


def test_keep_tail_spreads_fractions():
    rng = Fixed([0.9, 5.2])
    clips = dense_clips(20, length=4, interval=2, clips=2, training=True, recipe="ucf101", rng=rng, keep_tail=True)
    assert clips[:, 0].tolist() == [0, 11] and rng.asked == [(0, 6.5, 2)]
    assert dense_clips(7, length=4, interval=2, clips=2, training=True, recipe="ucf101", rng=rng,
                       keep_tail=True)[:, 0].tolist() == [0, 0]


def test_numbers_stay_inside_and_follow_the_generator():
    for recipe in ("kinetics", "ucf101"):
        for frames in (1, 7, 31, 32, 33, 200):
            clips = dense_clips(frames, length=8, interval=4, clips=3, training=True, recipe=recipe,
                                rng=np.random.default_rng(frames), jitter=True)
            again = dense_clips(frames, length=8, interval=4, clips=3, training=True, recipe=recipe,
                                rng=np.random.default_rng(frames), jitter=True)
            assert clips.shape == (3, 8) and clips.min() >= 0 and clips.max() < frames
            assert np.array_equal(clips, again)


@pytest.mark.parametrize(("change", "message"), [
    ({"frames": 0}, "frames must be at least 1, got 0"), ({"recipe": "hmdb51"}, "recipe 'hmdb51' is none of"),
    ({"past_end": "stop"}, "past_end 'stop' is none of"), ({"samples": 3}, "once or twice, got samples=3"),
    ({"recipe": "kinetics", "keep_tail": True}, "kinetics recipe has no keep_tail"),
    ({"training": True}, "give rng"),
    ({"recipe": "kinetics", "samples": 4, "frames": 33}, "video of 33 frames is too short")])
def test_impossible_wishes(change, message):
    options = {"frames": 40, "length": 8, "interval": 4, "clips": 3, "training": False, "recipe": "ucf101", **change}
    with pytest.raises(ValueError, match=message):
        dense_clips(options.pop("frames"), **options)
