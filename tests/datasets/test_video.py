from fractions import Fraction

import av
import numpy as np
import pytest

from datasets.images import ImageError, read_image, write_image
from datasets.video import VideoError, VideoReader, read_audio, write_video


def moving(count=30, height=48, width=64):
    """Frames in which everything moves and frame i is bright in proportion to i."""
    y, x = np.mgrid[:height, :width]
    wave = [127 + 60 * np.sin((x + 2 * i) / 5) * np.cos((y - i) / 7) + 2 * i for i in range(count)]
    return np.clip(np.stack(wave)[..., None] + np.array([0, -20, 20]), 0, 255).astype(np.uint8)


def decoded(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def write_raw(path, frames, *, codec="libx264", stamps=None, options=None, rate=25, base=1000):
    """A file with chosen time stamps, GOP and B-frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.options = options or {}
        stream.codec_context.time_base = Fraction(1, base)
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = (base // 25 * index if stamps is None else stamps[index]), Fraction(1, base)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("name", ["archery.avi", "singer.mp4"])
def test_real_videos_frame_by_frame(shared, name):
    path = shared / "data" / name
    reader, whole = VideoReader(path), decoded(path)
    assert len(reader) == len(whole) == {"archery.avi": 131, "singer.mp4": 117}[name]
    assert reader.size == whole.shape[1:3] and reader.fps == 25
    assert np.allclose(reader.times, np.arange(len(whole)) / 25)
    wanted = [40, 3, 3, 116, 0, 41, len(whole) - 1]
    assert np.array_equal(reader.frames(wanted), whole[wanted])


@pytest.mark.parametrize(("suffix", "options"), [
    (".mp4", {"bf": "3", "g": "7"}), (".mp4", {"bf": "0", "g": "1"}), (".mkv", {"bf": "3", "g": "5"}),
    (".mp4", {"x264-params": "open-gop=1:keyint=8:bframes=3:b-adapt=0"}), (".ts", {"bf": "2", "g": "6"})])
def test_exact_frames_with_b_frames_and_many_key_frames(tmp_path, suffix, options):
    path, frames = tmp_path / f"clip{suffix}", moving()
    write_raw(path, frames, options=options)
    whole = decoded(path)
    assert len(whole) == 30
    reader = VideoReader(path)
    assert len(reader) == 30
    rng = np.random.default_rng(0)
    for _ in range(8):
        wanted = rng.integers(0, 30, size=4)
        assert np.array_equal(reader.frames(wanted), whole[wanted])


def test_variable_frame_rate(tmp_path):
    stamps = np.cumsum([0] + [10, 90, 40, 500] * 5)
    write_raw(tmp_path / "clip.mkv", moving(len(stamps)), stamps=stamps.tolist(), options={"bf": "2", "g": "6"})
    reader = VideoReader(tmp_path / "clip.mkv")
    assert np.allclose(reader.times, stamps / 1000)
    assert np.array_equal(reader.frames([17, 2]), decoded(tmp_path / "clip.mkv")[[17, 2]])


@pytest.mark.parametrize("base", [25, 1000])
def test_avi_with_b_frames_and_pauses(tmp_path, base):
    write_raw(tmp_path / "clip.avi", moving(), codec="mpeg4", options={"bf": "2", "g": "9"}, base=base)
    whole, reader = decoded(tmp_path / "clip.avi"), VideoReader(tmp_path / "clip.avi")
    assert len(reader) == len(whole)
    wanted = [12, 4, len(whole) - 1]
    assert np.array_equal(reader.frames(wanted), whole[wanted])


def test_only_the_stretch_before_a_frame_is_decoded(tmp_path, monkeypatch):
    write_raw(tmp_path / "clip.mp4", moving(), options={"bf": "0", "g": "5"})
    reader = VideoReader(tmp_path / "clip.mp4")
    from datasets import video
    shown = []

    def counted(container, stream, path):
        for frame in container.decode(stream):
            shown.append(frame.pts)
            yield frame
    monkeypatch.setattr(video, "_decode", counted)
    reader.frames([22, 23, 22, 22])
    assert len(shown) == 4  # 20, the key frame, to 23
    shown.clear()
    reader.frames([2, 27])
    assert len(shown) == 6  # 0 to 2 and 25 to 27


def test_rotation_flag(tmp_path):
    write_raw(tmp_path / "clip.mp4", moving(3))
    data = bytearray((tmp_path / "clip.mp4").read_bytes())
    matrix = data.find(b"tkhd") + 4 + 40
    turned = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30]  # x' = -y, y' = x: clockwise
    data[matrix:matrix + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in turned)
    (tmp_path / "turned.mp4").write_bytes(data)
    reader = VideoReader(tmp_path / "turned.mp4")
    assert reader.size == (64, 48)
    assert np.array_equal(reader.frames([1])[0], np.rot90(decoded(tmp_path / "clip.mp4")[1], -1))


def test_folders_are_read_in_natural_order(tmp_path):
    frames = moving(12)
    for index, pixels in enumerate(frames):
        write_image(tmp_path / f"frame_{index}.png", pixels)
    (tmp_path / "notes.txt").write_text("no frame")
    reader = VideoReader(tmp_path, fps=10)
    assert len(reader) == 12 and reader.fps == 10 and reader.times[11] == 1.1
    assert np.array_equal(reader.frames([11, 2, 2]), frames[[11, 2, 2]])
    assert reader.frames([]).shape == (0, 48, 64, 3)


def test_real_frames(shared):
    reader = VideoReader(shared / "data" / "frames")
    assert len(reader) == 60 and reader.frames([59, 0]).shape == (2, *reader.size, 3)


def test_a_number_outside_the_video(tmp_path):
    write_video(tmp_path / "clip.mp4", moving(4), 25)
    for bad in (4, -1):
        with pytest.raises(IndexError, match=rf"clip\.mp4 has the frames 0 to 3; frame {bad} was asked for"):
            VideoReader(tmp_path / "clip.mp4").frames([0, bad])


def test_files_that_hold_no_video(tmp_path):
    (tmp_path / "text.mp4").write_text("no video at all\n" * 20)
    (tmp_path / "empty.avi").touch()
    (tmp_path / "folder").mkdir()
    write_image(tmp_path / "still.jpg", moving(1)[0])
    for name, message in (("text.mp4", r"text\.mp4 \(320 bytes\) is not a readable video"),
                          ("empty.avi", r"empty\.avi \(0 bytes\) is not a readable video"),
                          ("folder", "folder holds no frames"), ("still.jpg", "no video stream .*still picture")):
        with pytest.raises(VideoError, match=message):
            VideoReader(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="missing does not exist"):
        VideoReader(tmp_path / "missing")


def test_sound_is_no_video(shared):
    with pytest.raises(VideoError, match=r"no video stream \(found: audio\)"):
        VideoReader(shared / "data" / "speech_16k.wav")


def test_a_video_that_shows_nothing(tmp_path):
    with av.open(str(tmp_path / "none.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        container.start_encoding()
    with pytest.raises(VideoError, match=r"none\.avi announces a video of 0 frames but holds none"):
        VideoReader(tmp_path / "none.avi")


@pytest.mark.parametrize("suffix", [".avi", ".mp4", ".mkv"])
def test_a_file_that_breaks_off(tmp_path, suffix):
    write_video(tmp_path / f"clip{suffix}", moving(), 25)
    data = (tmp_path / f"clip{suffix}").read_bytes()
    (tmp_path / f"part{suffix}").write_bytes(data[:len(data) // 2])
    with pytest.raises(VideoError, match=f"part{suffix} .*(its end is missing|not a readable video|breaks off)"):
        VideoReader(tmp_path / f"part{suffix}")


def test_damaged_pictures(tmp_path):
    write_image(tmp_path / "whole.jpg", moving(1)[0])
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "part.jpg").write_bytes(data[:len(data) // 2])
    (tmp_path / "text.png").write_text("nothing")
    with pytest.raises(ImageError, match=r"part\.jpg is a JPEG file that breaks off after"):
        read_image(tmp_path / "part.jpg")
    with pytest.raises(ImageError, match=r"text\.png \(7 bytes\) is no picture"):
        read_image(tmp_path / "text.png")
    with pytest.raises(FileNotFoundError, match=r"none\.jpg does not exist"):
        read_image(tmp_path / "none.jpg")


def test_frames_of_different_sizes(tmp_path):
    write_image(tmp_path / "img_1.png", np.zeros((4, 6, 3), np.uint8))
    write_image(tmp_path / "img_2.png", np.zeros((4, 8, 3), np.uint8))
    with pytest.raises(VideoError, match="frame 1 measures 8x4, earlier ones 6x4"):
        VideoReader(tmp_path).frames([0, 1])


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_written_videos_show_what_was_given(tmp_path, suffix):
    frames, rate = moving(25, 47, 63), 16000
    sound = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    write_video(tmp_path / f"clip{suffix}", iter(frames), 25, sound, rate)
    reader = VideoReader(tmp_path / f"clip{suffix}")
    assert len(reader) == 25 and reader.fps == pytest.approx(25) and reader.size == (48, 64)
    assert np.abs(reader.frames(range(25))[:, :47, :63].astype(int) - frames).mean() < 4
    heard = read_audio(tmp_path / f"clip{suffix}")
    spectrum = np.abs(np.fft.rfft(heard[2000:14000]))
    assert np.argmax(spectrum) == 440 * 12000 // rate and 0.4 < np.abs(heard[2000:14000]).max() < 0.6
    assert list(tmp_path.iterdir()) == [tmp_path / f"clip{suffix}"]


def test_sound_at_its_own_rate_is_exact(shared):
    import wave
    path = shared / "data" / "speech_16k.wav"
    with wave.open(str(path)) as file:
        want = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
    assert np.array_equal(read_audio(path, 16000), want)
    half = read_audio(path, 8000)
    assert half.dtype == np.float64 and abs(len(half) - len(want) // 2) <= 1


def test_no_sound(shared, tmp_path):
    with pytest.raises(VideoError, match=r"singer\.mp4 has no audio stream \(found: video\)"):
        read_audio(shared / "data" / "singer.mp4", 16000)
    with pytest.raises(VideoError, match="folder of frames and has no sound"):
        read_audio(tmp_path, 16000)


def test_nothing_is_left_of_a_video_that_fails(tmp_path):
    with pytest.raises(VideoError, match="no frames to write"):
        write_video(tmp_path / "clip.mp4", [], 25)
    with pytest.raises(VideoError, match=r"frame 1 is uint8\[2, 2, 3\], expected uint8\[4, 4, 3\]"):
        write_video(tmp_path / "clip.mp4", [np.zeros((4, 4, 3), np.uint8), np.zeros((2, 2, 3), np.uint8)], 25)
    with pytest.raises(ValueError, match="audio and rate belong together"):
        write_video(tmp_path / "clip.mp4", moving(2), 25, audio=np.zeros(10))
    assert not list(tmp_path.iterdir())
