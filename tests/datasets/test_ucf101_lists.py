import shutil

import pytest

from datasets.ucf101_lists import build_lists, main, read_classes, read_split
from datasets.video_list import ListError, read_video_list


def quiet(items, **_):
    return items


@pytest.mark.parametrize(("split", "train", "val"), [(1, 9537, 3783), (2, 9586, 3734), (3, 9624, 3696)])
def test_the_official_splits(shared, split, train, val):
    folder = shared / "data" / "ucf101_splits"
    classes = read_classes(folder)
    assert len(classes) == 101 and (classes[0], classes[-1]) == ("ApplyEyeMakeup", "YoYo")
    halves = {part: read_split(folder, split, part, classes) for part in ("train", "val")}
    assert {part: len(videos) for part, videos in halves.items()} == {"train": train, "val": val}
    assert not {name for name, _ in halves["train"]} & {name for name, _ in halves["val"]}
    for videos in halves.values():
        assert {label for _, label in videos} == set(range(101))
        assert all(name.split("/")[0] == classes[label] for name, label in videos)


def test_lists_of_the_miniature_are_built_again(miniature, tmp_path):
    folder = miniature("ucf101")
    (tmp_path / "rawframes").symlink_to(folder / "rawframes")
    (tmp_path / "videos").symlink_to(folder / "videos")
    for layout in ("rawframes", "videos"):
        written = build_lists(folder / "ucfTrainTestlist", tmp_path, layout=layout, progress=quiet)
        assert written == {f"ucf101_{part}_split_{split}_{layout}.txt": count
                           for split in (1, 2, 3) for part, count in (("train", 192), ("val", 64))}
        for name in written:
            assert (tmp_path / name).read_text() == (folder / name).read_text()


@pytest.fixture
def official(tmp_path):
    """A data set of two classes with one video each in every half, of 3 and 2 frames."""
    splits, root = tmp_path / "splits", tmp_path / "root"
    splits.mkdir()
    (splits / "category.txt").write_text("Bow\nSwim")
    for split in (1, 2, 3):
        (splits / f"trainlist0{split}.txt").write_text("Bow/v_Bow_g02_c01.avi 1\nSwim/v_Swim_g02_c01.avi 2")
        (splits / f"testlist0{split}.txt").write_text("Bow/v_Bow_g01_c01.avi\n\nSwim/v_Swim_g01_c01.avi\n")
    for kind, count in (("Bow", 3), ("Swim", 2)):
        for group in (1, 2):
            folder = root / "rawframes" / kind / f"v_{kind}_g0{group}_c01"
            folder.mkdir(parents=True)
            for number in range(1, count + 1):
                (folder / f"img_{number:05}.jpg").touch()
    return splits, root


def test_frames_are_counted(official):
    splits, root = official
    build_lists(splits, root, progress=quiet)
    assert (root / "ucf101_train_split_3_rawframes.txt").read_text() == \
        "Bow/v_Bow_g02_c01 3 0\nSwim/v_Swim_g02_c01 2 1\n"
    (video, _) = read_video_list(root / "ucf101_val_split_1_rawframes.txt", root / "rawframes", layout="rawframes")
    assert (video.name, video.frames, video.label) == ("Bow/v_Bow_g01_c01", 3, 0)


def test_missing_videos_are_listed_or_skipped(official, capsys):
    splits, root = official
    shutil.rmtree(root / "rawframes" / "Swim" / "v_Swim_g01_c01")
    with pytest.raises(FileNotFoundError, match=r"1 of 4 videos are missing in .*rawframes:\n  Swim/v_Swim_g01_c01\n"):
        build_lists(splits, root, progress=quiet)
    assert not list(root.glob("*.txt"))
    with pytest.raises(SystemExit, match="--skip-missing"):
        main([str(splits), str(root)])
    main([str(splits), str(root), "--skip-missing"])
    assert "ucf101_val_split_2_rawframes.txt: 1 videos" in capsys.readouterr().out
    assert (root / "ucf101_val_split_2_rawframes.txt").read_text() == "Bow/v_Bow_g01_c01 3 0\n"


def test_a_gap_in_the_frames(official):
    splits, root = official
    (root / "rawframes" / "Bow" / "v_Bow_g01_c01" / "img_00002.jpg").unlink()
    with pytest.raises(ListError, match=r"v_Bow_g01_c01 holds 2 frames, but img_00002\.jpg is missing"):
        build_lists(splits, root, progress=quiet)


@pytest.mark.parametrize(("file", "text", "message"), [
    ("trainlist02.txt", "Bow/v_Bow_g02_c01.avi 2", r"trainlist02\.txt:1: Bow has number 2 here, but is name 1"),
    ("trainlist02.txt", "\nRun/v_Run_g02_c01.avi 1", r"trainlist02\.txt:2: Run is none of the 2 classes"),
    ("testlist01.txt", "v_Bow_g01_c01.avi", r"testlist01\.txt:1: expected 'Class/video.avi'"),
    ("category.txt", "1 Bow\n3 Swim", r"category\.txt:2: expected '2 Class' or 'Class', found '3 Swim'")])
def test_split_files_of_another_form(official, file, text, message):
    splits, root = official
    (splits / file).write_text(text)
    with pytest.raises(ListError, match=message):
        build_lists(splits, root, progress=quiet)


def test_absent_folders(official, tmp_path):
    splits, root = official
    with pytest.raises(FileNotFoundError, match=r"neither classInd\.txt nor category\.txt"):
        build_lists(root, root, progress=quiet)
    with pytest.raises(FileNotFoundError, match=r"videos does not exist; put the videos there$"):
        build_lists(splits, root, layout="videos", progress=quiet)
    (splits / "testlist03.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"testlist03\.txt does not exist"):
        build_lists(splits, root, progress=quiet)
