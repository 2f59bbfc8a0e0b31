import numpy as np
import pytest

from datasets.synthetic.motion import DIRECTIONS, opposite
from datasets.video import VideoReader


@pytest.fixture(scope="module")
def folder(miniature):
    return miniature("kinetics")


@pytest.mark.parametrize(("part", "count"), [("train", 128), ("val", 48)])
def test_lists_name_videos_and_sentences(folder, part, count):
    rows = [line.split("\t") for line in (folder / f"{part}.txt").read_text().splitlines()]
    assert np.bincount([int(label) for _, label in rows]).tolist() == [count // 8] * 8
    names = [line.split(",") for line in (folder / "labels.csv").read_text().splitlines()]
    assert names[0] == ["id", "name"] and names[4] == ["3", "shapes sliding to the left"]
    for path, label in rows[::23]:
        assert DIRECTIONS[int(label)].sentence in path
        reader = VideoReader(folder / path)
        assert len(reader) == 32 and reader.size == (80, 112)


def test_opposite_classes_are_each_other_backwards(folder):
    label = 3
    forwards, backwards = (
        VideoReader(folder / "videos" / f"{number:04}_{DIRECTIONS[number].sentence}.mp4").frames(range(32))
        for number in (label, opposite(label)))
    assert np.abs(forwards.astype(int) - backwards[::-1]).mean() < 4 < np.abs(forwards.astype(int) - backwards).mean()


def test_it_is_small(folder):
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 20e6
