"""Clips from frame folders, video files and a .tar."""
import tarfile

import numpy as np
import pytest

from datasets.images import write_image
from datasets.video import write_video
from datasets.video_text_clips import ActionClipRecipe, VideoTextDataset, XClipRecipe, open_entry
from datasets.video_text_lists import Entry, ListError


@pytest.fixture
def root(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (10, 40, 52, 3)).astype(np.uint8)
    write_video(tmp_path / "a b.mp4", frames, 10)
    (tmp_path / "v").mkdir()
    for number, frame in enumerate(frames, 1):
        write_image(tmp_path / "v" / f"img_{number:05}.jpg", frame)
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        tar.add(tmp_path / "a b.mp4", "deep/a b.mp4")
    return tmp_path


@pytest.mark.parametrize("recipe", [ActionClipRecipe(frames=4, size=32), XClipRecipe(frames=4, size=32)])
@pytest.mark.parametrize(("name", "count", "archive"), [("v", 10, ""), ("a b.mp4", None, ""),
                                                        ("x/a b.mp4", None, "all.tar")])
def test_items(root, recipe, name, count, archive):
    made = VideoTextDataset([Entry(name, 3, count, "l:1")], root / archive, recipe, "train")
    item = made.get(0, np.random.default_rng(1))
    assert item["frames"].shape == (4, 3, 32, 32) and item["frames"].dtype == np.float32 and item["label"] == 3
    np.testing.assert_array_equal(item["frames"], made.get(0, np.random.default_rng(1))["frames"])
    assert (item["frames"] != made.get(0, np.random.default_rng(2))["frames"]).any()


def test_views_decode_each_frame_once(root):
    read = []

    class Counting:
        def __init__(self, reader):
            self.reader = reader

        def __len__(self):
            return len(self.reader)

        def frames(self, indices):
            read.append(len(indices))
            return self.reader.frames(indices)

    reader = Counting(open_entry(Entry("a b.mp4", 0, None, "l:1"), root))
    views = XClipRecipe(frames=8, size=32).views(reader, 4, 3, np.random.default_rng(0))
    assert views.shape == (12, 8, 3, 32, 32) and len(read) == 1 and read[0] <= 10


def test_missing_frames_name_the_line(root):
    with pytest.raises(ListError, match=r"l:7: img_00011\.jpg is missing"):
        open_entry(Entry("v", 0, 12, "l:7"), root).frames([10])
    with pytest.raises(ListError, match=r"l:8: .*none\.mp4 does not exist"):
        open_entry(Entry("none.mp4", 0, None, "l:8"), root)
    with pytest.raises(ListError, match=r"holds no member none\.mp4"):
        open_entry(Entry("none.mp4", 0, None, "l:8"), root / "all.tar")
