"""Between files and the inference core: frames of a video as the networks want them, masks and their way back."""
from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from datasets.davis import Sequence
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
    def of_sequence(cls, video: Sequence, short_side: int) -> Images:
        return cls(lambda t: np.asarray(video.image(t)), len(video.frames), video.image(0).size[::-1], short_side)

    @classmethod
    def of_reader(cls, reader: VideoReader, short_side: int) -> Images:
        """A video file is decoded once, front to back, and kept as bytes."""
        frames = reader.frames(range(len(reader)))
        return cls(lambda t: frames[t], len(reader), tuple(frames.shape[1:3]), short_side)

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

    def full_picture(self, frame: int) -> np.ndarray:
        """uint8 ``[H, W, 3]`` as it is in the video."""
        return self._read(frame)


def start_core(networks: dict, images: Images, objects: int, options, *, fuse: bool = True, undo: int = 0
               ) -> InferenceCore:
    """The state over one video, with the configured memory."""
    return InferenceCore(propagation=networks["propagation"], fusion=networks["fusion"] if fuse else None,
                         frames=images, num_objects=objects, mem_freq=options.mem_freq,
                         mem_profile=options.mem_profile, bank_limit=options.bank_limit or None, undo=undo)


def label_probabilities(labels: np.ndarray, objects: int, size: tuple[int, int]) -> np.ndarray:
    """Label map ``[H, W]`` -> one-hot float32 ``[objects + 1, 1, h, w]``, resized by nearest neighbours.

    Raises:
        ValueError: if the map has another aspect ratio than ``size``: it belongs to another picture.
    """
    if abs(labels.shape[1] / labels.shape[0] - size[1] / size[0]) > 0.02 * size[1] / size[0] + 1 / min(size):
        raise ValueError(f"the mask has {labels.shape[1]} x {labels.shape[0]} pixels, the video "
                         f"{size[1]} x {size[0]}: another shape; give a mask of a frame of this video")
    if labels.shape != tuple(size):
        labels = cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST)
    return (np.arange(objects + 1)[:, None, None] == labels[None]).astype(np.float32)[:, None]
