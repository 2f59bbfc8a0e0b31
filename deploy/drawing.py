"""Pictures and videos of predictions. Frames are uint8 RGB, ``H W C``; label maps are integers, ``H W``."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

IGNORED = 255  # label of pixels without an answer; drawn as the frame itself
SMALLEST_SIDE = 320  # pixels; text on a smaller picture could not be read
BAR, SHADE, TEXT = (78, 154, 241), (16, 18, 24), (255, 255, 255)


@lru_cache
def palette(count: int = 256) -> np.ndarray:
    """Colours ``[count, 3]`` uint8 of PASCAL VOC and DAVIS: black, then dark red, green, ... by the label's bits."""
    labels = np.arange(count)
    colours = np.zeros((count, 3), dtype=np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((labels >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    colours.setflags(write=False)
    return colours


def overlay(frame: np.ndarray, labels: np.ndarray, *, colours: np.ndarray | None = None,
            opacity: float = 0.5) -> np.ndarray:
    """``frame [H, W, 3]`` with ``labels [H, W]`` in colour and their borders drawn out; label 0 and 255 stay clear.

    Raises:
        ValueError: the sizes differ.
    """
    if frame.shape[:2] != labels.shape:
        raise ValueError(f"a frame of {list(frame.shape)} cannot carry a label map of {list(labels.shape)}")
    colours = palette() if colours is None else colours
    marked = (labels != 0) & (labels != IGNORED)
    picture = frame.copy()
    blend = (1 - opacity) * frame[marked] + opacity * colours[labels[marked]]
    picture[marked] = np.rint(blend).astype(np.uint8)
    for label in np.unique(labels[marked]):
        outline, _ = cv2.findContours((labels == label).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        picture = cv2.drawContours(np.ascontiguousarray(picture), outline, -1, colours[label].tolist(), 1)
    return picture


def class_bars(frame: np.ndarray, names: Sequence[str], scores: Sequence[float]) -> np.ndarray:
    """``frame [H, W, 3]``, enlarged if it is small, with one bar per class in a shaded strip at its foot."""
    scale = max(1.0, SMALLEST_SIDE / min(frame.shape[:2]))
    width, height = round(frame.shape[1] * scale), round(frame.shape[0] * scale)
    line = max(18, height // 16)
    picture = Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC).convert("RGBA")
    strip = Image.new("RGBA", (width, line * len(names) + line // 2), (*SHADE, 190))
    pen = ImageDraw.Draw(strip)
    font = ImageFont.truetype(str(font_file()), round(line * 0.62))
    for row, (name, score) in enumerate(zip(names, scores, strict=True)):
        top = line // 4 + row * line
        length = round((width - 16) * float(np.clip(score, 0.0, 1.0)))
        pen.rectangle((8, top + 1, 8 + max(length, 1), top + line - 3), fill=(*BAR, 215))
        pen.text((14, top + line // 2 - 1), f"{100 * score:5.1f} %  {name}", fill=TEXT, font=font, anchor="lm")
    picture.alpha_composite(strip, (0, max(0, height - strip.height)))
    return np.asarray(picture.convert("RGB"))


def font_file() -> Path:
    """DejaVu Sans, which comes with matplotlib: the same picture on every machine."""
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


def text_bars(names: Sequence[str], scores: Sequence[float], width: int = 30) -> list[str]:
    """One line per class: name, bar, percent."""
    room = max((len(name) for name in names), default=0)
    return [f"{name:<{room}}  {'█' * round(width * float(score)):<{width}}  {100 * float(score):6.2f} %"
            for name, score in zip(names, scores, strict=True)]


def write_label_png(path: str | Path, labels: np.ndarray, colours: np.ndarray | None = None) -> None:
    """Write ``labels [H, W]`` (0 to 255) as an indexed PNG, the form of DAVIS and VOC annotations.

    Raises:
        ValueError: a label that one byte cannot hold.
    """
    if labels.size and (labels.min() < 0 or labels.max() > 255):
        raise ValueError(f"{path}: labels from {labels.min()} to {labels.max()} do not fit an 8-bit PNG")
    picture = Image.fromarray(labels.astype(np.uint8), mode=None)
    picture.putpalette((palette() if colours is None else colours).reshape(-1).tolist())
    picture.save(path, format="PNG")


def write_mp4(path: str | Path, frames: Iterable[np.ndarray], fps: float, *, audio: np.ndarray | None = None,
              rate: int | None = None) -> int:
    """Write H.264 in mp4, with sound as AAC if there is some.

    Args:
        frames: ``[H, W, 3]`` uint8, all of one size; an odd last row or column is doubled, as H.264 needs even sides.
        fps: frames per second.
        audio: mono samples in [-1, 1].
        rate: samples per second.

    Returns:
        The number of frames.

    Raises:
        ValueError: no frame, frames of several sizes, sound without a rate.
    """
    if audio is not None and not rate:
        raise ValueError("sound needs its rate in samples per second")
    count, size = 0, None
    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(65535))
        sound = container.add_stream("aac", rate=rate, layout="mono") if audio is not None else None
        for frame in frames:
            if size is None:
                size = frame.shape
                video.height, video.width = size[0] + size[0] % 2, size[1] + size[1] % 2
                video.pix_fmt, video.options = "yuv420p", {"crf": "20", "preset": "veryfast"}
            elif frame.shape != size:
                raise ValueError(f"frame {count} is {list(frame.shape)}, the first was {list(size)}")
            even = np.pad(frame, ((0, size[0] % 2), (0, size[1] % 2), (0, 0)), mode="edge")
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")))
            count += 1
        if size is None:
            raise ValueError(f"{path}: no frame to write")
        container.mux(video.encode())
        if sound is not None:
            _encode_sound(container, sound, audio, rate)
    return count


def _encode_sound(container, stream, audio: np.ndarray, rate: int) -> None:
    samples = np.clip(np.asarray(audio, dtype=np.float32), -1, 1).reshape(1, -1)
    for start in range(0, samples.shape[1], rate):  # a second at a time; the encoder cuts its own frames
        chunk = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[:, start:start + rate]), format="fltp",
                                           layout="mono")
        chunk.sample_rate, chunk.pts = rate, start
        container.mux(stream.encode(chunk))
    container.mux(stream.encode())
