import numpy as np
import pytest

from datasets.images import write_image
from datasets.video import VideoError, VideoReader, write_video
from datasets.video_list import ListError, open_video, read_video_list, single_video


def frames(count, start=0):
    """Frame i is grey of value 10 * i."""
    return np.stack([np.full((8, 10, 3), 10 * (start + index), np.uint8) for index in range(count)])


@pytest.fixture
def data(tmp_path):
    for name, count in (("Bow/v_Bow_g01_c01", 5), ("my clip", 3)):
        (tmp_path / name).mkdir(parents=True)
        for number, pixels in enumerate(frames(count), start=1):
            write_image(tmp_path / name / f"img_{number:05}.png", pixels)
    return tmp_path


def listed(folder, text, **options):
    (folder / "list.txt").write_text(text)
    return read_video_list(folder / "list.txt", folder, **options)


def test_rawframes(data):
    videos = listed(data, "Bow/v_Bow_g01_c01 5 2\n\nmy clip 3 0", layout="rawframes", template="img_{:05}.png")
    assert [(video.name, video.frames, video.label) for video in videos] == [
        ("Bow/v_Bow_g01_c01", 5, 2), ("my clip", 3, 0)]
    assert videos[1].line == f"{data / 'list.txt'}:3"
    reader = open_video(videos[0])
    assert len(reader) == 5
    assert reader.frames([4, 0, 0, 2])[:, 3, 3, 1].tolist() == [40, 0, 0, 20]
    with pytest.raises(IndexError, match=r"list\.txt:1 gives Bow/v_Bow_g01_c01 the frames 0 to 4; 5 was asked for"):
        reader.frames([5])


def test_each_distinct_frame_is_decoded_once(data, monkeypatch):
    from datasets import video_list
    read = []
    monkeypatch.setattr(video_list, "read_image", lambda path: read.append(path.name) or np.zeros((2, 2, 3), np.uint8))
    open_video(listed(data, "my clip 3 0", layout="rawframes", template="img_{:05}.png")[0]).frames([2, 0, 2, 2])
    assert read == ["img_00001.png", "img_00003.png"]


@pytest.mark.parametrize("template", ["image_{:04d}.png", "{}.png", "frame{:d}.png"])
def test_templates_and_first_numbers(tmp_path, template):
    (tmp_path / "a").mkdir()
    for number, pixels in enumerate(frames(4)):
        write_image(tmp_path / "a" / template.format(number), pixels)
    (video,) = listed(tmp_path, "a 4 0", layout="rawframes", template=template, first=0)
    assert open_video(video).frames(range(4))[:, 0, 0, 0].tolist() == [0, 10, 20, 30]


def test_offsets_and_several_labels(data):
    (video,) = listed(data, "Bow/v_Bow_g01_c01 2 3 7", layout="rawframes", template="img_{:05}.png", with_offset=True)
    assert (video.frames, video.first, video.label) == (3, 3, 7)
    assert open_video(video).frames([0, 2])[:, 0, 0, 0].tolist() == [20, 40]
    first, second = listed(data, "Bow/v_Bow_g01_c01 5 4 1 2\n'my clip' 3 0", layout="rawframes", multi_class=True)
    assert (first.frames, first.label) == (5, (4, 1, 2)) and (second.name, second.label) == ("my clip", (0,))


@pytest.mark.parametrize("line", ["my film.avi 3", '"my film.avi" 3', "'my film.avi'  3", "my film.avi\t3"])
def test_video_paths_with_blanks(tmp_path, line):
    write_video(tmp_path / "my film.avi", frames(6), 25, quality=0)
    (video,) = listed(tmp_path, line)
    assert (video.name, video.label, video.frames) == ("my film.avi", 3, None)
    assert len(open_video(video)) == 6


def test_missing_frames_are_named_with_their_line(data):
    gone, less = listed(data, "Bow/v_Bow_g09_c01 5 2\nmy clip 7 0", layout="rawframes", template="img_{:05}.png")
    with pytest.raises(FileNotFoundError, match=r"list\.txt:1 lists 5 frames of Bow/v_Bow_g09_c01 .* does not exist"):
        open_video(gone).frames([0])
    with pytest.raises(FileNotFoundError,
                       match=r"img_00005\.png is missing: .*list\.txt:2 lists 7 frames .* holds 3 files img_\*\.png"):
        open_video(less).frames([0, 4])
    other = listed(data, "my clip 3 0", layout="rawframes")[0]
    with pytest.raises(FileNotFoundError, match=r"holds 0 files img_\*\.jpg"):
        open_video(other).frames([0])


def test_unreadable_videos_are_named_with_their_line(tmp_path):
    (tmp_path / "bad.mp4").write_text("nothing")
    bad, gone = listed(tmp_path, "bad.mp4 0\ngone.mp4 1")
    with pytest.raises(VideoError, match=r"bad\.mp4 .* \(.*list\.txt:1\)"):
        open_video(bad)
    with pytest.raises(FileNotFoundError, match=r"gone\.mp4 does not exist.* \(.*list\.txt:2\)"):
        open_video(gone)


@pytest.mark.parametrize(("text", "options", "message"), [
    ("a 5", {"layout": "rawframes"}, r"list\.txt:1: expected 'path frames label'"),
    ("a.avi", {}, r"list\.txt:1: expected 'path label'"),
    ("a.avi x", {}, r"list\.txt:1: expected 'path label' .* found 'a.avi x'"),
    ("a.avi 1\nb.avi -1", {}, r"list\.txt:2: expected"),
    ("a 1 5", {"layout": "rawframes", "with_offset": True}, "expected 'path start frames label'"),
    ("my clip 5 1", {"layout": "rawframes", "multi_class": True}, "a path with blanks needs quotes here"),
    ("a 0 1", {"layout": "rawframes"}, r"list\.txt:1: a has 0 frames"),
    ("a.avi 101", {"classes": 101}, "label 101 does not exist among 101 classes, 0 to 100"),
    ("\n \n", {}, r"list\.txt lists no videos")])
def test_lines_of_another_form(tmp_path, text, options, message):
    with pytest.raises(ListError, match=message):
        listed(tmp_path, text, **options)


def test_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.txt does not exist"):
        read_video_list(tmp_path / "none.txt", tmp_path)
    (tmp_path / "list.txt").write_text("a 0")
    with pytest.raises(FileNotFoundError, match=r"frames is no folder, but the paths of .*list\.txt"):
        read_video_list(tmp_path / "list.txt", tmp_path / "frames")
    for template in ("img.jpg", "img_{}_{}.jpg", "img_{number}.jpg"):
        with pytest.raises(ValueError, match="template 'img"):
            listed(tmp_path, "a 1 0", layout="rawframes", template=template)
    with pytest.raises(ValueError, match="layout 'flow' is none of rawframes, videos"):
        listed(tmp_path, "a 1 0", layout="flow")


def test_a_video_of_its_own(data):
    video = single_video(data / "my clip")
    assert (video.name, video.label) == ("my clip", None)
    assert isinstance(open_video(video), VideoReader) and len(open_video(video)) == 3


def test_the_miniature(miniature):
    folder = miniature("ucf101")
    raw = read_video_list(folder / "ucf101_val_split_2_rawframes.txt", folder / "rawframes", layout="rawframes",
                          classes=8)
    files = read_video_list(folder / "ucf101_val_split_2_videos.txt", folder / "videos", classes=8)
    assert len(raw) == len(files) == 64
    for one, other in zip(raw[::21], files[::21], strict=True):
        first, second = open_video(one), open_video(other)
        assert one.label == other.label and len(first) == len(second) == 24
        assert np.abs(first.frames([5, 23]).astype(int) - second.frames([5, 23])).mean() < 10
