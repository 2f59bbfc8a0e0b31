"""A user's own video as AVSNet's input: windows of T frames and T patches of sound.

``second``: window w holds the frames near the end of seconds wT .. wT + T - 1, as AVSBench's preprocessing picks them,
and the patches of those seconds. ``frame``: every frame of the video; the same window is moved through the second, and
its patches move with the frames.
"""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from datasets.avsbench import SECOND_FRAME, normalised, second_frames
from datasets.log_mel import PATCH_SAMPLES, RATE, SILENCE, fit_patches, log_mel_patches, patches_at
from datasets.video import VideoError, VideoReader, read_audio


class Window(NamedTuple):
    places: list[int]  # which of the video's masks the first frames are; frames beyond them are padding
    image: np.ndarray  # float32 T 3 size size
    log_mel: np.ndarray  # float32 T 1 96 64


class SoundVideo:
    """A video file with its sound.

    Args:
        frames: T.
        size: side of the network's input, pixels.
        without_sound: silence instead of the sound of a video that has none.

    Raises:
        VideoError: shorter than a second, or without sound where that was not asked for.
    """

    def __init__(self, path: str | Path, *, frames: int = 5, size: int = 224, without_sound: bool = False):
        self.reader, self.frames, self.size = VideoReader(path), frames, size
        self.fps, self.wave, self.rate = self.reader.fps, None, None
        seconds = len(self.reader) / self.fps
        if seconds < 0.975:
            raise VideoError(f"{path} lasts {seconds:.2f} s; the network listens to patches of 0.975 s, so at least "
                             "a second is needed")
        self.seconds = max(1, round(seconds))
        try:
            self.wave, self.rate = read_audio(path, RATE), RATE
        except VideoError as error:
            if not without_sound:
                raise VideoError(f"{error}. To segment the picture alone, as if all were silent, ask for it with "
                                 "--without_sound") from error

    def count(self, masks_per: str) -> int:
        """Number of masks: seconds, or frames."""
        return self.seconds if masks_per == "second" else len(self.reader)

    def numbers(self, masks_per: str) -> list[int]:
        """The frame that each mask belongs to."""
        if masks_per == "frame":
            return list(range(len(self.reader)))
        return second_frames(self.fps, len(self.reader), self.seconds)

    def windows(self, masks_per: str) -> Iterator[Window]:
        """All windows in order of time."""
        for first in range(0, self.seconds, self.frames):
            if masks_per == "second":
                places = list(range(first, min(first + self.frames, self.seconds)))
                yield Window(places, self._images(self._numbers(first, SECOND_FRAME)), self._patches(first))
                continue
            interval, whole = round(self.fps), len(self.reader)
            last = first + self.frames >= self.seconds  # the last window also takes what is left of a second
            for phase in range(interval):
                numbers = [(first + k) * interval + phase for k in range(self.frames + last)]
                numbers = [number for number in numbers if number < whole]
                for start in range(0, len(numbers), self.frames):
                    places = numbers[start:start + self.frames]
                    padded = places + places[-1:] * (self.frames - len(places))
                    yield Window(places, self._images(padded), self._moved(first + start, phase / interval))

    def _numbers(self, first: int, place: float) -> list[int]:
        numbers = second_frames(self.fps, len(self.reader), first + self.frames, place)
        return numbers[first:]

    def _images(self, numbers: list[int]) -> np.ndarray:
        return np.stack([fitted(frame, self.size) for frame in self.reader.frames(numbers)])

    def _patches(self, first: int) -> np.ndarray:
        """What AVSBench makes of the sound of these seconds."""
        if self.wave is None:
            return silence(self.frames)
        piece = self.wave[first * RATE:(first + self.frames) * RATE]
        if len(piece) < PATCH_SAMPLES:  # the rest of a second at the end of the video
            piece = np.pad(piece, (0, PATCH_SAMPLES - len(piece)))
        return fit_patches(log_mel_patches(piece), self.frames)[:, None].astype(np.float32)

    def _moved(self, first: int, phase: float) -> np.ndarray:
        """Patches that lie to these frames as the original's lie to the frames at 15/16 of a second."""
        if self.wave is None:
            return silence(self.frames)
        starts = first + 0.96 * np.arange(self.frames) + phase - SECOND_FRAME
        return patches_at(self.wave, starts)[:, None].astype(np.float32)


def fitted(frame: np.ndarray, size: int) -> np.ndarray:
    """uint8 RGB -> the network's input ``[3, size, size]``."""
    return normalised(cv2.resize(frame, (size, size), interpolation=cv2.INTER_LINEAR))


def silence(count: int) -> np.ndarray:
    """Patches in which nothing is heard."""
    return np.full((count, 1, 96, 64), SILENCE, np.float32)
