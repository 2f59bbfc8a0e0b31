"""The miniature of the video-text systems: its lists, and that a held-out class needs both of its words."""
import itertools
from pathlib import Path

import numpy as np

from datasets.labels import read_labels
from datasets.synthetic import colour_motion, write
from datasets.video import VideoReader
from datasets.video_text_lists import read_list

CONFIGS = Path(__file__).parents[3] / "configs"


def test_words_of_held_out_sentences_occur_in_training_their_combination_does_not():
    seen, held = colour_motion.sentences()
    assert (len(seen), len(held), len({*seen, *held})) == (18, 6, 24)
    assert {word for name in held for word in name.split()} <= {word for name in seen for word in name.split()}
    for part in (1, -1):  # neither the colour nor the direction tells a held-out class
        words = [name.split()[part] for name in held]
        assert min(words.count(word) for word in words) > 1
    assert read_labels(CONFIGS / "actionclip/mini_labels.csv") == seen
    assert read_labels(CONFIGS / "actionclip/mini_heldout_labels.csv") == held


def test_layout(tmp_path, monkeypatch):
    monkeypatch.setattr(colour_motion, "CLIPS", {"train": 2, "val": 1, "heldout": 1})
    folder = write("colour_motion", tmp_path / "data", seed=3)
    assert read_labels(folder / "labels.csv") == colour_motion.sentences()[0]
    for name, count in (("train", 36), ("val", 18), ("heldout", 6)):
        videos = read_list(folder / f"{name}.txt")
        frames = read_list(folder / f"{name}_frames.txt", counted=True)
        folders = read_list(folder / f"{name}_folders.txt")
        assert len(videos) == len(frames) == count
        assert [(entry.name, entry.label) for entry in folders] == [(entry.name, entry.label) for entry in frames]
        assert [entry.label for entry in videos] == [entry.label for entry in frames]
        assert all(len(list((folder / entry.name).glob("img_*.jpg"))) == entry.frames for entry in frames)
    clips = [VideoReader(folder / entry.name) for entry in read_list(folder / "val.txt")]
    assert {len(clip) for clip in clips} == {colour_motion.FRAMES}


def test_the_shape_moves_as_the_sentence_says():
    for colour, (direction, step) in itertools.product(("white", "yellow"), colour_motion.DIRECTIONS.items()):
        frames = colour_motion._play(np.random.default_rng(0), colour, direction).astype(float)
        bright = (frames[..., 0] > 180).astype(float)
        centres = [np.array([(plane * grid).sum() / plane.sum() for grid in np.mgrid[:48, :48]]) for plane in bright]
        moved = centres[-1] - centres[0]
        assert moved @ np.array(step) > 15
