"""A stream as it arrives: what is kept, what is refused."""
import io

import numpy as np
import pytest

from datasets.live import LiveSource
from datasets.video import VideoError, write_video

FPS = 10


@pytest.fixture
def movie(tmp_path):
    """Three seconds whose brightness tells the frame and whose second half is loud."""
    time = np.arange(3 * 16000) / 16000
    frames = (np.full((32, 32, 3), 8 * index, np.uint8) for index in range(3 * FPS))
    write_video(tmp_path / "a.mp4", frames, FPS, audio=np.where(time > 1.5, 0.5, 0.0) * np.sin(3000 * time), rate=16000)
    return tmp_path / "a.mp4"


def last_moment(source):
    source.start()
    source._thread.join(timeout=20)
    assert source.ended
    return source.latest(2.9)


def test_the_newest_frame_a_second_apart_with_its_sound(movie):
    moment = last_moment(LiveSource(movie, frames=5, size=32, paced=False))
    assert moment.seconds == pytest.approx(2.9) and abs(int(moment.frame.mean()) - 8 * 29) <= 3
    assert moment.image.shape == (5, 3, 32, 32) and moment.log_mel.shape == (5, 1, 96, 64)
    # 2.9, 1.9, 0.9 s; before the beginning the first frame stands in.
    brightness = (moment.image.mean((1, 2, 3)) - moment.image[0].mean()) / np.ptp(moment.image.mean((1, 2, 3)))
    np.testing.assert_allclose(brightness, np.array([0, 0, 9, 19, 29]) / 29, atol=0.03)
    loudness = moment.log_mel.mean((1, 2, 3))
    assert loudness[4] > loudness[2] + 1


def test_a_pipe_is_read_and_the_end_is_told(movie, monkeypatch):
    class Piped:
        buffer = io.BytesIO(movie.read_bytes())
    monkeypatch.setattr("sys.stdin", Piped)
    source = LiveSource("-", frames=2, size=32)
    assert not source.paced and last_moment(source).seconds == pytest.approx(2.9)
    assert source.seen == 3 * FPS and source.latest(10.0) is None


def test_a_stream_without_sound_is_refused_unless_asked_for(tmp_path):
    write_video(tmp_path / "mute.mp4", (np.zeros((32, 32, 3), np.uint8) for _ in range(2 * FPS)), FPS)
    with pytest.raises(VideoError, match="--without_sound"):
        LiveSource(tmp_path / "mute.mp4")
    source = LiveSource(tmp_path / "mute.mp4", frames=2, size=32, paced=False, without_sound=True).start()
    source._thread.join(timeout=20)
    assert np.ptp(source.latest(1.5).log_mel) == 0.0
    with pytest.raises(FileNotFoundError):
        LiveSource(tmp_path / "absent.mp4")
