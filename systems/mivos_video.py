"""Between files and the inference core: frames of a video as the networks want them, masks and their way back."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from PIL import Image

from datasets import davis
from datasets.mivos_transforms import normalize
from datasets.video import VideoReader
from models.mivos.inference_core import InferenceCore


class Images:
    """Normalised frames ``[3, h, w]`` of a video, made when asked for.

    Args:
        read: frame number -> uint8 RGB ``[H, W, 3]``.
        length: frames.
        original: (height, width) of what ``read`` gives.
        short_side: shorter side to bring frames to (bicubic), or 0; smaller videos are not enlarged.
    """

    ndim = 0  # not an array

    def __init__(self, read: Callable[[int], np.ndarray], length: int, original: tuple[int, int], short_side: int):
        self._read, self._length, self.original = read, length, original
        scale = short_side / min(original) if short_side and min(original) > short_side else 1.0
        self.size = (max(round(original[0] * scale), 1), max(round(original[1] * scale), 1))

    @classmethod
    def of_sequence(cls, video: davis.Sequence, short_side: int) -> Images:
        return cls(lambda t: np.asarray(video.image(t)), len(video.frames), video.image(0).size[::-1], short_side)

    @classmethod
    def of_reader(cls, reader: VideoReader, short_side: int) -> Images:
        """A video file or folder; a few frames around the last one asked for are kept decoded."""
        return cls(DecodedWindow(reader), len(reader), tuple(reader.size), short_side)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, frame: int) -> np.ndarray:
        return normalize(self.picture(frame))

    def picture(self, frame: int) -> np.ndarray:
        """uint8 ``[h, w, 3]`` at the working size."""
        image = self._read(frame)
        if self.size == self.original:
            return image
        return np.asarray(Image.fromarray(image).resize(self.size[::-1], Image.Resampling.BICUBIC))

    def full_size(self) -> Images:
        """The same frames as the video has them."""
        return Images(self._read, self._length, self.original, 0)

    def pictures(self) -> Pictures:
        """The frames as uint8 ``[h, w, 3]``, made when asked for."""
        return Pictures(self)


class Pictures(Sequence):
    """What :meth:`Images.pictures` gives."""

    def __init__(self, images: Images):
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, frame: int) -> np.ndarray:
        if not 0 <= frame < len(self):
            raise IndexError(f"frame {frame} of {len(self)}")
        return self._images.picture(frame)


class DecodedWindow:
    """Frames of a video by number, decoded a stretch at a time: passes go forward and backward, and memory stays flat.

    Args:
        reader: the video.
        length: frames of a stretch.
    """

    def __init__(self, reader: VideoReader, length: int = 16):
        self._reader, self._length = reader, length
        self._start, self._frames = 0, ()

    def __call__(self, frame: int) -> np.ndarray:
        """uint8 RGB ``[H, W, 3]``."""
        if not self._start <= frame < self._start + len(self._frames):
            self._start = frame - frame % self._length
            self._frames = ()  # before the next ones are made
            self._frames = self._reader.frames(range(self._start, min(self._start + self._length, len(self._reader))))
        return self._frames[frame - self._start]


def start_core(networks: dict, images: Images, objects: int, options, *, fuse: bool = True, undo: int = 0
               ) -> InferenceCore:
    """The state over one video, with the configured memory."""
    return InferenceCore(propagation=networks["propagation"], fusion=networks["fusion"] if fuse else None,
                         frames=images, num_objects=objects, mem_freq=options.mem_freq,
                         mem_profile=options.mem_profile, bank_limit=options.bank_limit or None, undo=undo)


def check_shape(labels: np.ndarray, size: tuple[int, int], source: str = "the mask") -> None:
    """Refuse a label map ``[H, W]`` that belongs to another picture than one of (height, width) ``size``.

    Raises:
        ValueError: if its aspect ratio is another one (a rounded side is no difference).
    """
    if abs(labels.shape[1] / labels.shape[0] - size[1] / size[0]) > 0.02 * size[1] / size[0] + 1 / min(size):
        raise ValueError(f"{source} has {labels.shape[1]} x {labels.shape[0]} pixels, the video "
                         f"{size[1]} x {size[0]}: another shape; give a mask of a frame of this video")


def label_probabilities(labels: np.ndarray, objects: int, size: tuple[int, int]) -> np.ndarray:
    """Label map ``[H, W]`` -> one-hot float32 ``[objects + 1, 1, h, w]``, resized by nearest neighbours.

    Raises:
        ValueError: see :func:`check_shape`.
    """
    check_shape(labels, size)
    if labels.shape != tuple(size):
        labels = cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST)
    return (np.arange(objects + 1)[:, None, None] == labels[None]).astype(np.float32)[:, None]
