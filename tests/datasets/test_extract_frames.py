import numpy as np
import pytest

from datasets.extract_frames import extract_all, extract_video, find_videos, main
from datasets.images import read_image
from datasets.video import VideoReader, write_video


def clip(seed, count=7):
    small = np.random.default_rng(seed).integers(0, 256, (count, 4, 5, 3)).astype(np.uint8)
    return small.repeat(12, 1).repeat(12, 2)


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    write_video(folder / "Bow" / "v_1.avi", clip(1), 25)
    write_video(folder / "Bow" / "v_2.mp4", clip(2, 5), 25)
    write_video(folder / "Swim" / "my clip.mkv", clip(3), 25)
    (folder / "notes.txt").write_text("no video")
    return folder


@pytest.mark.parametrize("workers", [1, 2])
def test_every_video_becomes_a_folder(videos, tmp_path, workers):
    target = tmp_path / "rawframes"
    assert extract_all(videos, target, workers=workers) == {}
    folders = {path.relative_to(target).as_posix(): len(list(path.iterdir())) for path in target.glob("*/*")}
    assert folders == {"Bow/v_1": 7, "Bow/v_2": 5, "Swim/my clip": 7}
    frames = VideoReader(videos / "Bow" / "v_2.mp4").frames(range(5))
    for number in range(1, 6):
        image = read_image(target / "Bow" / "v_2" / f"img_{number:05}.jpg")
        assert np.abs(image.astype(int) - frames[number - 1]).mean() < 12  # another frame: 85


def test_an_interrupted_extraction_goes_on(videos, tmp_path):
    target = tmp_path / "rawframes"
    extract_video(videos / "Bow" / "v_1.avi", target / "Bow" / "v_1")
    (target / "Bow" / "v_1" / "img_00001.jpg").write_text("mine")
    (target / "Bow" / ".v_2.part").mkdir()  # what a kill leaves
    (target / "Bow" / ".v_2.part" / "img_00009.jpg").touch()
    assert extract_all(videos, target) == {}
    assert (target / "Bow" / "v_1" / "img_00001.jpg").read_text() == "mine"
    assert sorted(path.name for path in (target / "Bow").iterdir()) == ["v_1", "v_2"]
    assert len(list((target / "Bow" / "v_2").iterdir())) == 5


def test_a_bad_video_does_not_stop_the_others(videos, tmp_path):
    (videos / "Bow" / "v_0.avi").write_text("nothing")
    target = tmp_path / "rawframes"
    with pytest.raises(SystemExit, match=r"1 videos could not be extracted:\n  .*v_0\.avi"):
        main([str(videos), str(target), "--workers", "1"])
    assert not (target / "Bow" / "v_0").exists() and (target / "Swim" / "my clip").is_dir()


def test_options(videos, tmp_path):
    count = extract_video(videos / "Bow" / "v_1.avi", tmp_path / "out", template="image_{:04d}.png", short_side=24)
    assert count == 7
    assert read_image(tmp_path / "out" / "image_0007.png").shape == (24, 30, 3)
    with pytest.raises(FileExistsError, match="out exists already"):
        extract_video(videos / "Bow" / "v_1.avi", tmp_path / "out")


def test_what_to_extract(videos, tmp_path):
    assert [path.name for path in find_videos(videos)] == ["v_1.avi", "v_2.mp4", "my clip.mkv"]
    write_video(videos / "Bow" / "v_1.mp4", clip(4), 25)
    with pytest.raises(ValueError, match=r"Bow/v_1\.avi and Bow/v_1\.mp4 in .* would share a folder"):
        find_videos(videos)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty holds no videos"):
        find_videos(tmp_path / "empty")
    with pytest.raises(SystemExit, match="gone is no folder"):
        main([str(tmp_path / "gone"), str(tmp_path / "out")])
