import numpy as np
import pytest

from datasets.images import read_image
from datasets.synthetic import write
from datasets.synthetic.motion import DIRECTIONS, opposite
from datasets.video import VideoError, VideoReader, read_audio


@pytest.fixture(scope="module")
def folder(miniature):
    return miniature("ucf101")


def lines(path):
    return [line.split() for line in path.read_text().splitlines()]


@pytest.mark.parametrize("split", [1, 2, 3])
def test_lists_name_what_is_there(folder, split):
    counts = {"train": 192, "val": 64}
    listed = []
    for part, count in counts.items():
        rows = lines(folder / f"ucf101_{part}_split_{split}_rawframes.txt")
        assert len(rows) == count
        assert np.bincount([int(label) for _, _, label in rows]).tolist() == [count // 8] * 8
        for name, frames, label in rows[::17]:
            assert len(list((folder / "rawframes" / name).glob("img_*.jpg"))) == int(frames) == 24
            assert name.split("/")[0] == DIRECTIONS[int(label)].name
        videos = lines(folder / f"ucf101_{part}_split_{split}_videos.txt")
        assert [[f"{name}.avi", label] for name, _, label in rows] == videos
        listed.append({(name.split("_")[-2]) for name, _, _ in rows})
    assert not listed[0] & listed[1]  # groups
    train = lines(folder / "ucfTrainTestlist" / f"trainlist0{split}.txt")
    test = lines(folder / "ucfTrainTestlist" / f"testlist0{split}.txt")
    assert [[name, str(int(label) + 1)] for name, label in
            lines(folder / f"ucf101_train_split_{split}_videos.txt")] == train
    assert [[name] for name, _ in lines(folder / f"ucf101_val_split_{split}_videos.txt")] == test
    assert lines(folder / "ucfTrainTestlist" / "classInd.txt")[3] == ["4", "DriftLeft"]


def test_opposite_classes_consist_of_the_same_picture_files(folder):
    """Whoever ignores the order of frames, or sees one of them, cannot tell a class from its opposite."""
    for label, direction in enumerate(DIRECTIONS):
        other = DIRECTIONS[opposite(label)].name
        for clip in ("g03_c01", "g11_c02"):
            mine, theirs = ([file.read_bytes() for file in sorted(
                (folder / "rawframes" / name / f"v_{name}_{clip}").iterdir())] for name in (direction.name, other))
            assert len(mine) == 24 and mine == theirs[::-1] and mine != theirs


def test_videos_show_the_frames_without_sound(folder):
    name = "DriftUp/v_DriftUp_g01_c02"
    reader = VideoReader(folder / "videos" / f"{name}.avi")
    assert len(reader) == 24 and reader.size == (64, 80) and reader.fps == 25
    for index in (0, 13, 23):
        frame = read_image(folder / "rawframes" / name / f"img_{index + 1:05}.jpg")
        assert np.abs(reader.frames([index])[0].astype(int) - frame).mean() < 10
    with pytest.raises(VideoError, match="no audio stream"):
        read_audio(folder / "videos" / f"{name}.avi")


def test_it_is_small(folder):
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 20e6


def test_the_seed_decides(tmp_path, monkeypatch):
    from datasets.synthetic import ucf101
    monkeypatch.setattr(ucf101, "GROUPS", 1)
    first, again, other = (write("ucf101", tmp_path / name, seed) for name, seed in (("a", 3), ("b", 3), ("c", 4)))
    files = [path.relative_to(first) for path in sorted(first.rglob("*")) if path.is_file()]
    assert len(files) == 8 * 2 * 25 + 20
    assert all((first / file).read_bytes() == (again / file).read_bytes() for file in files)
    assert any((first / file).read_bytes() != (other / file).read_bytes() for file in files)


def test_what_is_there_is_not_touched(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="exists already; name a new or empty folder"):
        write("ucf101", tmp_path)
    with pytest.raises(ValueError, match="no synthetic layout 'imagenet'"):
        write("imagenet", tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
