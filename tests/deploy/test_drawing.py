import av
import numpy as np
import pytest
from PIL import Image

from deploy.drawing import class_bars, overlay, palette, text_bars, write_label_png, write_mp4


def test_palette_is_the_one_of_davis():
    assert palette()[:8].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128],
                                      [128, 0, 128], [0, 128, 128], [128, 128, 128]]
    assert palette()[255].tolist() == [224, 224, 192]


def test_overlay_colours_labels_and_leaves_the_rest():
    frame = np.full((9, 9, 3), 100, np.uint8)
    labels = np.zeros((9, 9), np.int64)
    labels[1:6, 1:6], labels[8, 8] = 1, 255
    before = frame.copy()
    picture = overlay(frame, labels)
    np.testing.assert_array_equal(frame, before)
    assert picture[3, 3].tolist() == [114, 50, 50]  # halfway between the frame and [128, 0, 0]
    assert picture[1, 1].tolist() == [128, 0, 0]  # the border
    assert (picture[7, 7].tolist(), picture[8, 8].tolist()) == ([100] * 3, [100] * 3)
    with pytest.raises(ValueError, match=r"\[9, 9, 3\] cannot carry a label map of \[9, 8\]"):
        overlay(frame, labels[:, :8])


def test_bars_grow_with_the_score():
    frame = np.zeros((120, 160, 3), np.uint8)
    picture = class_bars(frame, ["Left", "Right"], [0.9, 0.1])
    assert picture.shape == (320, 427, 3)
    blue = (picture[..., 2] > 150) & (picture[..., 0] < 120)
    rows = blue.sum(1)
    upper, lower = rows[-50:-25].max(), rows[-22:].max()
    assert 300 < upper < 427 and 20 < lower < 60
    assert not picture[:200].any(), "bars belong to the foot of the picture"
    assert text_bars(["a", "bb"], [0.5, 0.25], width=4) == ["a   ██     50.00 %", "bb  █      25.00 %"]


def test_label_png_keeps_indices_and_palette(tmp_path):
    labels = np.array([[0, 1], [2, 255]])
    write_label_png(tmp_path / "m.png", labels)
    picture = Image.open(tmp_path / "m.png")
    assert picture.mode == "P"
    np.testing.assert_array_equal(np.asarray(picture), labels)
    assert picture.convert("RGB").getpixel((1, 0)) == (128, 0, 0)
    with pytest.raises(ValueError, match="from 0 to 256 do not fit"):
        write_label_png(tmp_path / "m.png", labels + np.array([[0, 0], [0, 1]]))


def test_mp4_has_frames_rate_and_sound(tmp_path):
    frames = np.zeros((10, 33, 47, 3), np.uint8)
    frames[5:, :, :, 0] = 200
    sound = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    assert write_mp4(tmp_path / "a.mp4", frames, 12.5, audio=sound, rate=16000) == 10
    with av.open(str(tmp_path / "a.mp4")) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.width, video.height, float(video.average_rate)) == (48, 34, 12.5)
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video)]
        container.seek(0)
        heard = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio)])
    assert len(decoded) == 10
    assert abs(int(decoded[8][10, 10, 0]) - 200) < 6 and decoded[2][10, 10, 0] < 6
    spectrum = np.abs(np.fft.rfft(heard[:16000]))
    assert abs(int(spectrum.argmax()) - 440) <= 1


def test_mp4_errors(tmp_path):
    with pytest.raises(ValueError, match="no frame"):
        write_mp4(tmp_path / "a.mp4", [], 10)
    with pytest.raises(ValueError, match="the first was"):
        write_mp4(tmp_path / "a.mp4", [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 6, 3), np.uint8)], 10)
    with pytest.raises(ValueError, match="needs its rate"):
        write_mp4(tmp_path / "a.mp4", [np.zeros((8, 8, 3), np.uint8)], 10, audio=np.zeros(8))
