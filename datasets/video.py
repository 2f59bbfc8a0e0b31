"""Frames and sound of video files and of folders of frames, by exact frame number.

Frame ``i`` is the ``i``-th picture that decoding from the start shows. A scan of the packets (no decoding) tells how
many there are and where decoding can begin, so that only the stretch before a wanted frame is decoded.
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from datasets.files import complete_file, natural_key
from datasets.images import IMAGE_SUFFIXES, read_image


class VideoError(ValueError):
    """A file or folder that does not hold the video it should."""


class VideoReader:
    """A video file of any codec FFmpeg knows, or a folder of frames in the order of the numbers in their names.

    Args:
        path: the file or folder.
        fps: frames a second of a folder, which cannot say it itself.

    Attributes:
        fps: frames a second, on average.
        times: seconds at which each frame is shown, float64 ``[T]``, the first at 0.
        size: (height, width) in pixels, of the first frame in a folder.

    Raises:
        FileNotFoundError: if ``path`` does not exist.
        VideoError: if there is no video in it, or only a part of one.
    """

    def __init__(self, path: str | Path, *, fps: float = 25.0):
        self.path = Path(path)
        if not self.path.exists():
            raise FileNotFoundError(f"{self.path} does not exist; give a video file or a folder of frames")
        source = _Folder(self.path, fps) if self.path.is_dir() else _File(self.path)
        self._source = source
        self.fps, self.times, self.size = source.fps, source.times, source.size

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.times)

    def frames(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """The frames at ``indices`` (from 0, any order, repeats allowed), uint8 RGB ``N H W 3``.

        Each distinct frame is decoded once.

        Raises:
            IndexError: for a number outside the video.
            VideoError: if a frame is damaged or, in a folder, has another size.
        """
        wanted, places = np.unique(np.asarray(indices, np.int64).reshape(-1), return_inverse=True)
        if len(wanted) == 0:
            return np.zeros((0, *self.size, 3), np.uint8)
        if wanted[0] < 0 or wanted[-1] >= len(self):
            bad = wanted[0] if wanted[0] < 0 else wanted[-1]
            raise IndexError(f"{self.path} has the frames 0 to {len(self) - 1}; frame {bad} was asked for")
        distinct = None
        for place, pixels in enumerate(self._source.read([int(index) for index in wanted])):
            if distinct is None:
                distinct = np.empty((len(wanted), *pixels.shape), np.uint8)
            if pixels.shape != distinct.shape[1:]:
                raise VideoError(f"{self.path}: frame {wanted[place]} measures {pixels.shape[1]}x{pixels.shape[0]}, "
                                 f"earlier ones {distinct.shape[2]}x{distinct.shape[1]} pixels; make them equal")
            distinct[place] = pixels
        return distinct if np.array_equal(places, np.arange(len(wanted))) else distinct[places]

    def every_frame(self) -> Iterator[np.ndarray]:
        """All frames in order, uint8 RGB ``H W 3``, one in memory at a time.

        Raises:
            VideoError: if a frame is damaged or missing at the end.
        """
        return self._source.read(range(len(self)))


class _Folder:
    """Picture files of one folder in natural order."""

    def __init__(self, path: Path, fps: float):
        names = [name.name for name in path.iterdir()
                 if name.suffix.lower() in IMAGE_SUFFIXES and not name.name.startswith(".")]
        if not names:
            others = len(list(path.iterdir()))
            raise VideoError(f"{path} holds no frames ({', '.join(IMAGE_SUFFIXES)}) but {others} other entries; "
                             "give the folder of one video")
        self.files = [path / name for name in sorted(names, key=natural_key)]
        self.size = read_image(self.files[0]).shape[:2]
        self.fps, self.times = float(fps), np.arange(len(names)) / fps

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        return (read_image(self.files[index]) for index in indices)


class _Packet(NamedTuple):
    pts: int | None
    dts: int | None
    key: bool


class _File:
    """Frames of a video file. Opened anew for every call, so that it can be used on both sides of a fork."""

    def __init__(self, path: Path):
        self.path = path
        with _open(path, "video") as container:
            stream = container.streams.video[0]
            announced, rate = stream.frames, stream.average_rate or stream.guessed_rate
            self.base, duration = stream.time_base, stream.duration
            packets = [_Packet(found.pts, found.dts, found.is_keyframe) for found in _demux(container, stream, path)]
        if not packets:
            raise VideoError(f"{path} announces a video of {announced} frames but holds none; copy it again")
        self._refuse_part(packets, announced, duration)
        stamps = [packet.pts for packet in packets]
        # Without a distinct time for every packet frames can only be counted.
        self.indexed = None not in stamps and len(set(stamps)) == len(stamps)
        if self.indexed:
            self.stamps = sorted(stamps)
            self.keys = sorted((self.rank(packet.pts), packet.pts if packet.dts is None else packet.dts)
                               for packet in packets if packet.key)
            shown = np.array(self.stamps, np.float64)
        else:
            self.stamps, self.keys = [], []
            shown = np.array([index if frame.time is None else frame.time / float(self.base)
                              for index, frame in enumerate(self._decode_all())])
        self.times = (shown - shown[0]) * float(self.base)
        self.size = next(self.read([0])).shape[:2]  # after the rotation, which only frames carry
        self.fps = float(rate) if rate else _rate(self.times)

    def _refuse_part(self, packets: list[_Packet], announced: int, duration: int | None) -> None:
        # Some writers count a frame or two too many, and an AVI of variable rate counts pauses: a lost tail is
        # more than that in number and in time.
        last = max((packet.dts for packet in packets if packet.dts is not None), default=0)
        if len(packets) < 0.99 * announced - 2 and (duration is None or last < 0.95 * duration):
            raise VideoError(f"{self.path} announces {announced} frames but holds {len(packets)}: its end is missing; "
                             "copy or download it again")
        lacking = _lacking_bytes(self.path)
        if lacking > 0:
            raise VideoError(f"{self.path} breaks off {lacking} bytes too early; copy or download it again")

    def rank(self, stamp: int) -> int | None:
        """Frame number of a time stamp."""
        place = int(np.searchsorted(self.stamps, stamp))
        return place if place < len(self.stamps) and self.stamps[place] == stamp else None

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """Pictures of ascending frame numbers."""
        found = 0
        if self.indexed:
            for frame in self._seek_and_decode(indices):
                if frame is None:
                    break
                yield _pixels(frame, self.path, indices[found])
                found += 1
        if found < len(indices):  # no usable index: count from the start
            wanted = iter(indices[found:])
            index = next(wanted)
            for number, frame in enumerate(self._decode_all()):
                if number == index:
                    yield _pixels(frame, self.path, index)
                    index = next(wanted, None)
                    if index is None:
                        return
            raise VideoError(f"{self.path}: frame {index} cannot be decoded; copy or download the file again")

    def _seek_and_decode(self, indices: Sequence[int]) -> Iterator[av.VideoFrame | None]:
        """The frames wanted; None, and then no more, where the index turns out not to hold."""
        with _open(self.path, "video") as container:
            stream = container.streams.video[0]
            decoded, position = _decode(container, stream, self.path), 0
            for index in indices:
                start, stamp = max((key for key in self.keys if key[0] <= index), default=(0, None))
                if stamp is not None and (start > position or position > index):
                    container.seek(stamp, stream=stream)
                    decoded, position = _decode(container, stream, self.path), start
                for frame in decoded:
                    number = None if frame.pts is None else self.rank(frame.pts)
                    if number is None or number > index:
                        yield None
                        return
                    position = number + 1
                    if number == index:
                        yield frame
                        break
                else:
                    yield None
                    return

    def _decode_all(self) -> Iterator[av.VideoFrame]:
        with _open(self.path, "video") as container:
            yield from _decode(container, container.streams.video[0], self.path)


def read_audio(path: str | Path, rate: int | None = None) -> np.ndarray:
    """The sound of a video or audio file: mean of its channels, float64 in [-1, 1], shape ``[samples]``.

    Channels are averaged after resampling (libswresample, in double precision); at the file's own rate 16-bit
    samples come out as ``value / 32768`` exactly.

    Args:
        rate: samples a second to convert to; None keeps the file's.

    Raises:
        VideoError: if there is no sound in the file.
    """
    path = Path(path)
    if path.is_dir():
        raise VideoError(f"{path} is a folder of frames and has no sound; give a video or audio file")
    with _open(path, "audio") as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="dblp", rate=rate or stream.rate)
        parts = []
        try:
            for frame in container.decode(stream):
                parts += [part.to_ndarray() for part in resampler.resample(frame)]
            parts += [part.to_ndarray() for part in resampler.resample(None)]
        except av.error.FFmpegError as error:
            raise VideoError(f"{path}: its sound cannot be decoded ({error.strerror}); copy or download it again") \
                from error
    if not parts:
        raise VideoError(f"{path} has a sound track without samples; copy or record it again")
    return np.concatenate(parts, axis=1).mean(axis=0)


def write_video(path: str | Path, frames: Iterable[np.ndarray], fps: float, audio: np.ndarray | None = None,
                rate: int | None = None, *, quality: int = 18) -> None:
    """Write uint8 RGB frames ``H W 3`` as H.264 (``.mp4``, ``.mkv``) or MPEG-4 (``.avi``), with AAC or MP3 sound.

    Odd sides are extended by a pixel, which the codecs require.

    Args:
        frames: at least one; an array ``T H W 3`` or any iterable, consumed one by one.
        fps: frames a second.
        audio: mono samples in [-1, 1] at ``rate`` samples a second.
        quality: constant rate factor; 0 is best, 18 looks lossless.

    Raises:
        VideoError: without frames, or with frames of different sizes.
    """
    if (audio is None) != (rate is None):
        raise ValueError(f"write_video({path}): audio and rate belong together")
    path = Path(path)
    with complete_file(path) as temporary, av.open(str(temporary), "w") as container:
        video, sound = None, None
        for count, pixels in enumerate(frames):
            if video is None:
                shape = pixels.shape
                video = _video_stream(container, path, shape, fps, quality)
                sound = None if audio is None else _AudioTrack(container, path, audio, rate)
            if pixels.shape != shape or pixels.dtype != np.uint8:
                raise VideoError(f"{path}: frame {count} is {pixels.dtype}{list(pixels.shape)}, "
                                 f"expected uint8{list(shape)}")
            if shape[0] % 2 or shape[1] % 2:
                pixels = np.pad(pixels, ((0, shape[0] % 2), (0, shape[1] % 2), (0, 0)), "edge")
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
            if sound is not None:
                sound.write_until((count + 1) / fps)
        if video is None:
            raise VideoError(f"{path}: no frames to write")
        container.mux(video.encode(None))
        if sound is not None:
            sound.finish()


def _video_stream(container, path: Path, shape: tuple[int, ...], fps: float, quality: int):
    avi = path.suffix.lower() == ".avi"
    rate = Fraction(fps).limit_denominator(1001)
    stream = container.add_stream("mpeg4" if avi else "libx264", rate=rate)
    stream.height, stream.width = shape[0] + shape[0] % 2, shape[1] + shape[1] % 2
    stream.pix_fmt = "yuv420p"
    stream.codec_context.thread_count = 1  # the same bytes on every machine
    if avi:  # quantizer 2 (best) to 31
        quantizer = str(min(31, 2 + quality // 6))
        stream.options = {"qmin": quantizer, "qmax": quantizer}
    else:
        stream.options = {"crf": str(quality), "preset": "veryfast"}
    return stream


class _AudioTrack:
    """Sound that is written along with the pictures, so that both lie close together in the file."""

    def __init__(self, container, path: Path, audio: np.ndarray, rate: int):
        self.container, self.rate, self.written = container, rate, 0
        self.samples = np.asarray(audio, np.float32).reshape(1, -1)
        self.stream = container.add_stream("libmp3lame" if path.suffix.lower() == ".avi" else "aac", rate=rate)
        self.stream.layout = "mono"

    def write_until(self, seconds: float) -> None:
        end = min(round(seconds * self.rate), self.samples.shape[1])
        if end > self.written:
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(self.samples[:, self.written:end]), "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = self.rate, self.written, Fraction(1, self.rate)
            self.container.mux(self.stream.encode(frame))
            self.written = end

    def finish(self) -> None:
        self.write_until(self.samples.shape[1] / self.rate)
        self.container.mux(self.stream.encode(None))


def _open(path: Path, kind: str):
    """The opened file, which has a stream of ``kind``."""
    try:
        container = av.open(str(path))
    except av.error.FileNotFoundError as error:
        raise FileNotFoundError(f"{path} does not exist") from error
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise VideoError(f"{path} ({path.stat().st_size} bytes) is not a readable {kind} file ({reason}); "
                         "it may be cut off or of another type than its name says") from error
    still = re.fullmatch(r"image2|\w+_pipe|tty", container.format.name)
    if still or not getattr(container.streams, kind):
        held = "a still picture or text" if still else ", ".join(s.type for s in container.streams) or "nothing"
        container.close()
        raise VideoError(f"{path} has no {kind} stream (found: {held}); give a file with {kind}"
                         + (" or a folder of frames" if kind == "video" else ""))
    return container


def _lacking_bytes(path: Path) -> int:
    """How much of a Matroska or WebM file is missing by the size in its head; FFmpeg takes a cut one for whole."""
    with path.open("rb") as file:
        head = file.read(4096)
    place = head.find(b"\x18\x53\x80\x67")  # the segment, which holds all the rest
    if not head.startswith(b"\x1a\x45\xdf\xa3") or place < 0:
        return 0
    place += 4
    width = 9 - head[place].bit_length()  # leading zeros tell how many bytes the size has
    size = int.from_bytes(head[place:place + width], "big") - (1 << 7 * width)
    if size == (1 << 7 * width) - 1:  # unknown: written to a stream
        return 0
    return place + width + size - path.stat().st_size


def _demux(container, stream, path: Path) -> Iterator[av.Packet]:
    try:
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                yield packet
    except av.error.FFmpegError as error:
        raise VideoError(f"{path} cannot be read to its end ({error.strerror}); copy or download it again") from error


def _decode(container, stream, path: Path) -> Iterator[av.VideoFrame]:
    try:
        yield from container.decode(stream)
    except av.error.FFmpegError as error:
        raise VideoError(f"{path} cannot be decoded ({error.strerror}); copy or download it again") from error


def _pixels(frame: av.VideoFrame, path: Path, index: int) -> np.ndarray:
    """uint8 RGB ``H W 3``, turned as the file's rotation flag says."""
    if frame.is_corrupt:
        raise VideoError(f"{path}: frame {index} is damaged; copy or download the file again")
    pixels = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def _rate(times: np.ndarray) -> float:
    return (len(times) - 1) / times[-1] if len(times) > 1 and times[-1] > 0 else 25.0
