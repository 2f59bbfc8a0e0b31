"""Frames and sound as they arrive: a file at its own pace, a pipe, a camera.

The source is read by one thread; between two looks everything that has arrived is kept in two short buffers, so a slow
reader skips frames instead of falling behind.
"""
from __future__ import annotations

import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from datasets.avs_windows import fitted, silence
from datasets.avsbench import SECOND_FRAME
from datasets.log_mel import PATCH_SAMPLES, RATE, patches_at
from datasets.video import VideoError


class Moment(NamedTuple):
    """What is known at a time of the stream."""

    seconds: float  # of the newest frame, from the start of the stream
    arrived: float  # time.monotonic() when that frame was there
    frame: np.ndarray  # uint8 RGB H W 3
    image: np.ndarray  # float32 T 3 size size: a frame a second, the newest last
    log_mel: np.ndarray  # float32 T 1 96 64


class LiveSource:
    """The last T seconds of a stream.

    Args:
        path: a video file, ``-`` for a container piped into standard input, or a camera (``/dev/video0``).
        frames: T. size: side of the network's input.
        paced: let a file arrive at its own pace; a pipe and a camera set theirs themselves.
        without_sound: silence for a source that has no sound (a camera has none here).

    Raises:
        FileNotFoundError, VideoError: a source that cannot be opened, or has no picture or no sound.
    """

    def __init__(self, path: str | Path, *, frames: int = 5, size: int = 224, paced: bool = True,
                 without_sound: bool = False):
        self.path, self.frames, self.size = str(path), frames, size
        self.paced = paced and self.path != "-" and not self.path.startswith("/dev/")
        self.container = self._open()
        if not self.container.streams.video:
            raise VideoError(f"{path} has no picture")
        self.with_sound = bool(self.container.streams.audio)
        if not self.with_sound and not without_sound:
            raise VideoError(f"{path} has no sound; ask for the picture alone with --without_sound")
        self.seen = 0  # frames that arrived
        self.ended, self.problem = False, None
        self._pictures: deque[tuple[float, float, np.ndarray]] = deque()  # seconds, arrival, RGB
        self._wave, self._wave_start = np.zeros(0), 0.0  # samples at 16 kHz, seconds of the first
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def _open(self):
        try:
            if self.path == "-":
                return av.open(sys.stdin.buffer)
            if self.path.startswith("/dev/video"):
                return av.open(self.path, format="v4l2")
            return av.open(self.path)
        except av.error.FileNotFoundError as error:
            raise FileNotFoundError(f"{self.path} does not exist") from error
        except av.error.FFmpegError as error:
            raise VideoError(f"{self.path} is no stream that can be read ({error.strerror})") from error

    def start(self) -> LiveSource:
        self._thread.start()
        return self

    def latest(self, after: float) -> Moment | None:
        """The newest moment, once the stream is at ``after`` seconds or beyond; None when it ended before.

        Raises:
            VideoError: if the stream broke.
        """
        while True:
            with self._lock:
                if self.problem:
                    raise VideoError(self.problem)
                if self._pictures and self._pictures[-1][0] >= after:
                    return self._moment()
                if self.ended:
                    return None
            time.sleep(0.005)

    def _moment(self) -> Moment:
        seconds, arrived, frame = self._pictures[-1]
        times = np.array([entry[0] for entry in self._pictures])
        wanted = seconds - np.arange(self.frames - 1, -1, -1)
        # Before the first second there is nothing yet: the first frame stands in.
        nearest = [int(np.abs(times - moment).argmin()) for moment in np.maximum(wanted, times[0])]
        image = np.stack([fitted(self._pictures[index][2], self.size) for index in nearest])
        return Moment(seconds, arrived, frame, image, self._patches(seconds))

    def _patches(self, seconds: float) -> np.ndarray:
        """The T patches before now, 0.96 s apart; the newest one ends with the sound that has arrived."""
        if not self.with_sound or not len(self._wave):
            return silence(self.frames)
        newest = min(seconds - SECOND_FRAME + 0.04, self._wave_start + (len(self._wave) - PATCH_SAMPLES) / RATE)
        starts = newest - 0.96 * np.arange(self.frames - 1, -1, -1) - self._wave_start
        return patches_at(self._wave, np.maximum(starts, 0.0))[:, None].astype(np.float32)

    def _read(self) -> None:
        begin, streams = time.monotonic(), [self.container.streams.video[0], *self.container.streams.audio[:1]]
        resampler = av.AudioResampler(format="dblp", rate=RATE)
        try:
            for frame in (frame for packet in self.container.demux(streams) for frame in packet.decode()):
                moment = float(frame.time or 0.0)
                if self.paced:
                    time.sleep(max(0.0, begin + moment - time.monotonic()))
                if isinstance(frame, av.VideoFrame):
                    self._add_picture(moment, frame.to_ndarray(format="rgb24"))
                else:
                    for part in resampler.resample(frame):
                        self._add_sound(part.to_ndarray().mean(0))
        except (av.error.FFmpegError, ValueError) as error:
            self.problem = f"{self.path} broke off: {error}"
        finally:
            self.ended = True
            self.container.close()

    def _add_picture(self, moment: float, picture: np.ndarray) -> None:
        with self._lock:
            self.seen += 1
            self._pictures.append((moment, time.monotonic(), picture))
            while moment - self._pictures[0][0] > self.frames + 1:
                self._pictures.popleft()

    def _add_sound(self, samples: np.ndarray) -> None:
        with self._lock:
            self._wave = np.concatenate([self._wave, samples])
            surplus = len(self._wave) - (self.frames + 2) * RATE
            if surplus > 0:
                self._wave, self._wave_start = self._wave[surplus:], self._wave_start + surplus / RATE
