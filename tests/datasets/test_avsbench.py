"""AVSBench's layout, masks, frame numbers; the miniature; windows of own videos; preprocessing."""
import numpy as np
import pytest
from PIL import Image

from datasets.avs_windows import SoundVideo
from datasets.avsbench import AVSBench, Clip, Layout, read_clips, read_mask, second_frames
from datasets.avsbench_preprocessing import main as preprocess
from datasets.avsbench_preprocessing import prepare
from datasets.images import read_image
from datasets.synthetic import avs as miniature
from datasets.video import VideoError, write_video


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder, counts = tmp_path_factory.mktemp("avsbench"), miniature.COUNTS
    miniature.COUNTS = {"train": 3, "val": 1, "test": 1}
    try:
        miniature.write(folder, 3)
    finally:
        miniature.COUNTS = counts
    return folder


@pytest.mark.parametrize(("task", "split", "masks"), [("S4", "train", 1), ("S4", "val", 5), ("MS3", "train", 5)])
def test_items(root, task, split, masks):
    data = AVSBench(root, task=task, split=split)
    item = data.get(0, np.random.default_rng(0))
    assert item["image"].shape == (5, 3, 64, 64) and item["image"].dtype == np.float32
    assert item["log_mel"].shape == (5, 1, 96, 64) and item["mask"].shape == (masks, 1, 64, 64)
    assert set(np.unique(item["mask"])) <= {0.0, 1.0}


def test_shuffled_sound_is_never_the_own(root):
    data = AVSBench(root, task="MS3", split="train", shuffle_sound=True)
    assert all(data.sound_of != np.arange(3)) and sorted(data.sound_of) == [0, 1, 2]


def test_a_missing_file_and_a_wrong_split_are_named(root, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"ms3_meta_data\.csv"):
        AVSBench(tmp_path, task="MS3", split="train")
    (tmp_path / "a.csv").write_text("name,split\nx,dev\n")
    with pytest.raises(ValueError, match=r"a\.csv:2: split 'dev'"):
        read_clips("MS3", tmp_path / "a.csv")


def test_masks_of_every_stored_mode(tmp_path):
    values = np.array([[0, 255], [255, 0]], np.uint8)
    grey = Image.fromarray(values)
    palette = grey.copy()
    palette.putpalette([value for value in range(256) for _ in range(3)])
    for name, picture in (("L", grey), ("1", grey.convert("1")), ("P", palette), ("RGB", grey.convert("RGB"))):
        picture.save(tmp_path / f"{name}.png")
        np.testing.assert_array_equal(read_mask(tmp_path / f"{name}.png")[0], values / 255)
    assert read_mask(tmp_path / "RGB.png", "P", "original").max() == np.float32(225) / np.float32(255)
    Image.fromarray(values // 2).save(tmp_path / "soft.png")
    with pytest.raises(ValueError, match="neither black nor white"):
        read_mask(tmp_path / "soft.png")
    with pytest.warns(UserWarning, match="count as sounding"):
        assert read_mask(tmp_path / "soft.png", masks="binarise").sum() == 2
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"broken\.png"):
        read_mask(tmp_path / "broken.png")


def test_frames_near_the_end_of_each_second():
    assert second_frames(25.0, 125, 5) == [23, 48, 73, 98, 123]
    assert second_frames(30.0, 148, 5)[-1] == 147


def test_windows_cover_a_video_once(tmp_path):
    path, fps = tmp_path / "long.mp4", 4
    frames = [np.full((32, 48, 3), 3 * k, np.uint8) for k in range(27)]
    write_video(path, frames, fps, audio=np.zeros(27 * 4000), rate=16000)
    video = SoundVideo(path, frames=3, size=32)
    for kind, count in (("second", 7), ("frame", 27)):
        places = [place for window in video.windows(kind) for place in window.places]
        assert sorted(places) == list(range(count)) and video.count(kind) == len(video.numbers(kind)) == count
        assert all(window.image.shape == (3, 3, 32, 32) and window.log_mel.shape == (3, 1, 96, 64)
                   for window in video.windows(kind))


def test_a_video_without_sound_or_too_short_is_refused(tmp_path):
    frame = np.zeros((32, 32, 3), np.uint8)
    write_video(tmp_path / "silent.mp4", [frame] * 8, 4)
    with pytest.raises(VideoError, match="without_sound"):
        SoundVideo(tmp_path / "silent.mp4")
    assert SoundVideo(tmp_path / "silent.mp4", without_sound=True).wave is None
    write_video(tmp_path / "short.mp4", [frame] * 2, 4)
    with pytest.raises(VideoError, match="at least"):
        SoundVideo(tmp_path / "short.mp4")


def test_preprocessing_own_videos_then_nothing_left_to_do(root, tmp_path, capsys):
    video = Layout.of("MS3", root).video(read_clips("MS3", Layout.of("MS3", root).csv)[-1])
    assert preprocess(["MS3", str(tmp_path), "--video", str(video), "--side", "64"]) == 0
    item = AVSBench(tmp_path, task="MS3", split="test")
    assert item.layout.log_mel(item.clips[0]).suffix == ".npy"
    assert item.layout.frame(item.clips[0], 5).is_file() and item.layout.wave(item.clips[0]).is_file()
    capsys.readouterr()
    assert preprocess(["MS3", str(tmp_path), "--video", str(video), "--side", "64"]) == 0
    assert "0 of 1 clips prepared, 1 were complete" in capsys.readouterr().out


def test_a_clip_that_starts_late_ends_with_its_last_frame(tmp_path):
    frames = [np.full((16, 16, 3), 6 * index, np.uint8) for index in range(40)]
    write_video(tmp_path / "late.mp4", frames, 8, audio=np.zeros(5 * 16000), rate=16000)
    layout = Layout.of("S4", tmp_path / "root")
    brightness = {}
    for start in (5.0, 8.0):
        clip = Clip(f"late_{start:.0f}", "test", "own", start)
        assert prepare(layout, clip, video=tmp_path / "late.mp4", side=32)
        brightness[start] = [read_image(layout.frame(clip, number + 1)).mean() for number in range(5)]
    assert np.diff(brightness[5.0]).min() > 30
    np.testing.assert_allclose(brightness[8.0], [*brightness[5.0][:2], *[brightness[5.0][1]] * 3])
