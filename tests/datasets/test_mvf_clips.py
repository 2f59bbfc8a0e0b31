import numpy as np
import pytest

from datasets.clip_sampling import dense_clips
from datasets.loader import Loader, LoaderError
from datasets.mvf_clips import ClipDataset, ClipRecipe, test_views
from datasets.mvf_transforms import prepare
from datasets.video_list import open_video, read_video_list

RECIPE = ClipRecipe(clip_len=4, interval=3, short_side=40, train_size=32, test_size=40, test_clips=3)


@pytest.fixture(scope="module")
def videos(miniature):
    folder = miniature("ucf101")
    return read_video_list(folder / "ucf101_val_split_1_rawframes.txt", folder / "rawframes", layout="rawframes")


@pytest.mark.parametrize(("split", "shape"), [
    ("train", (4, 3, 32, 32)), ("val", (4, 3, 32, 32)), ("test", (3 * 3 * 4, 3, 40, 40))])
def test_items(videos, split, shape):
    item = ClipDataset(videos, RECIPE, split).get(9, np.random.default_rng(0))
    assert item["frames"].shape == shape and item["frames"].dtype == np.float32
    assert (item["label"], item["name"]) == (videos[9].label, videos[9].name)


def test_views_of_a_test_are_crop_after_crop_clip_after_clip(videos):
    """However few distinct frames were decoded, the result is that of taking every view by itself."""
    reader = open_video(videos[3])
    for clips in (1, 3, 10):
        recipe = ClipRecipe(clip_len=4, interval=5, short_side=40, test_size=40, test_clips=clips)
        numbers = dense_clips(24, length=4, interval=5, clips=clips, training=False, recipe="ucf101")
        want = prepare(reader.frames(numbers.reshape(-1)), view="three", recipe="ucf101", short_side=40, crop_size=40)
        assert np.array_equal(test_views(reader, recipe), want)


def test_each_needed_frame_is_decoded_once(videos, monkeypatch):
    reader, asked = open_video(videos[0]), []
    frames = reader.frames
    monkeypatch.setattr(reader, "frames", lambda indices: asked.append(list(indices)) or frames(indices))
    test_views(reader, ClipRecipe(clip_len=8, interval=4, short_side=40, test_size=40, test_clips=10))
    assert asked == [sorted(set(asked[0]))] and len(asked[0]) <= 24


def test_workers_give_the_same_batches(videos):
    alone, many = (list(Loader(ClipDataset(videos[::8], RECIPE, "train"), batch_size=3, shuffle=True, seed=1,
                               workers=workers).epoch(2)) for workers in (0, 2))
    assert [len(batch["name"]) for batch in alone] == [3, 3, 2]
    for one, other in zip(alone, many, strict=True):
        assert one["name"] == other["name"] and one["frames"].shape[1:] == [4, 3, 32, 32]
        assert np.array_equal(one["frames"].numpy(), other["frames"].numpy())
        assert np.array_equal(one["label"].numpy(), other["label"].numpy())


def test_a_missing_frame_is_reported_through_the_loader(videos, tmp_path):
    import dataclasses
    gone = dataclasses.replace(videos[0], path=tmp_path / "gone")
    with pytest.raises(LoaderError, match=r"item 1 of ClipDataset: FileNotFoundError: .*rawframes\.txt:1 lists 24"):
        list(Loader(ClipDataset([videos[5], gone], RECIPE, "val"), batch_size=2, workers=1).epoch(0))
