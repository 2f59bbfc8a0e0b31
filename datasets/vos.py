"""Training clips of the propagation network from videos with masks: DAVIS 2017, YouTubeVOS, BL30K.

hkchengrex/Mask-Propagation 7db3902 ``dataset/vos_dataset.py``.
"""
from __future__ import annotations

from collections.abc import Sequence as Sized

import numpy as np
from PIL import Image

from datasets import mivos_transforms as tf
from datasets.davis import FILL_LABEL, Sequence

START_JUMP, JUMPS = 5, (10, 15, 20, 25, 5)


def frame_triple(rng, frames: int, max_jump: int) -> list[int]:
    """Three frame indices of a clip, each at most ``max_jump + 1`` from the one before, in either direction.

    Args:
        rng: a generator; draws three integers and one random number.
        frames: in the video.
        max_jump: upper bound, lowered to the number of frames.
    """
    jump = min(frames, max_jump)
    start = rng.integers(0, frames - jump + 1)
    second = min(start + rng.integers(0, jump + 1) + 1, frames - jump, frames - 1)
    third = min(second + rng.integers(0, jump + 1) + 1, frames - jump // 2, frames - 1)
    triple = [int(start), int(second), int(third)]
    return triple[::-1] if rng.random() < 0.5 else triple


def jump_at(progress: float, last: float = 0.9) -> int:
    """How far frames of a clip may be apart after the share ``progress`` of all epochs.

    ``last`` is the share after which clips are short again: 0.9, for BL30K 0.8.
    """
    shares = (0.1, 0.2, 0.3, 0.4, last)
    passed = sum(progress > share for share in shares)
    return JUMPS[passed - 1] if passed else START_JUMP


class VOSClips:
    """Three frames of a video with at most two of its objects.

    Args:
        sources: video collections with ``len`` and ``[i] -> Sequence``; each with how often it is repeated and by
            what its jumps are divided (5 for YouTubeVOS, whose frames are five apart).
        epochs: of the whole training, for the jump schedule.
        size: side of the square crop.
        synthetic: BL30K's conditions: a label must cover more than 100 pixels in the first frame, and either more
            than 900 there or fewer than 400 in both others; larger crops.
    """

    def __init__(self, sources: Sized[tuple[object, int, int]], *, epochs: int, size: int = 384,
                 synthetic: bool = False):
        self.sources, self.epochs, self.size, self.synthetic = list(sources), epochs, size, synthetic
        self._index = [(source, place, divisor) for source, repeat, divisor in self.sources
                       for _ in range(repeat) for place in range(len(source))]
        self.max_jump = START_JUMP

    def begin_epoch(self, epoch: int) -> None:
        """Set the jump of this epoch (from 0)."""
        self.max_jump = jump_at(epoch / self.epochs, 0.8 if self.synthetic else 0.9)

    def __len__(self) -> int:
        return len(self._index)

    def get(self, index: int, rng: np.random.Generator) -> dict:
        """See :func:`sample` for the entries."""
        source, place, divisor = self._index[index]
        video = source[place]
        annotated = sorted(video.annotations)
        for _ in range(5):
            triple = frame_triple(rng, len(annotated), max(self.max_jump // divisor, 1))
            images, masks = self._transform(rng, video, [annotated[i] for i in triple])
            present = [int(i) for i in np.unique(masks[0]) if i and self._usable(masks, i)]
            if present:
                break
        targets = tf.pick_targets(rng, present) if present else []
        return sample(images, masks, targets, video.name)

    def _usable(self, masks: list[np.ndarray], label: int) -> bool:
        if not self.synthetic:
            return True
        first, *rest = (int((mask == label).sum()) for mask in masks)
        return first > 100 and (first > 900 or max(rest) < 400)

    def _transform(self, rng, video: Sequence, frames: list[int]):
        """Images float32 ``[3, size, size]`` and label maps: one flip, crop and jitter, an own affine per frame."""
        pairs = [(video.image(f), Image.fromarray(video.labels(f))) for f in frames]
        flipped = rng.random() < 0.5
        crop = tf.Crop.resized(rng, pairs[0][0].size, self.size, (0.25 if self.synthetic else 0.36, 1.0))
        jitter = tf.Jitter.draw(rng, 0.1, 0.03, 0.03, 0.0, grey=0.05)
        images, masks = [], []
        for image, mask in pairs:
            affine, own = tf.Affine.draw(rng, 15, 10), tf.Jitter.draw(rng, 0.01, 0.01, 0.01)
            if flipped:
                image, mask = tf.flip(image), tf.flip(mask)
            image = own(affine(jitter(crop(image, tf.BICUBIC)), tf.BICUBIC, tf.FILL))
            images.append(tf.normalize(image))
            masks.append(np.asarray(affine(crop(mask, tf.NEAREST), tf.NEAREST, FILL_LABEL)))
        return images, masks


def sample(images: list[np.ndarray], masks: list[np.ndarray], targets: list[int], name: str) -> dict:
    """A training sample.

    Returns:
        ``rgb [3, 3, S, S]``, ``gt`` and ``sec_gt [3, 1, S, S]`` float32, ``cls_gt [3, S, S]`` int64 (0, 1, 2),
        ``selector [2]`` (1 where the sample has that object), ``name``.
    """
    first = np.stack([tf.one_mask(mask, targets[0]) if targets else np.zeros((1, *mask.shape), np.float32)
                      for mask in masks])
    second = np.stack([tf.one_mask(mask, targets[1]) for mask in masks]) if len(targets) > 1 else np.zeros_like(first)
    classes = np.where(second[:, 0] > 0.5, 2, first[:, 0] > 0.5).astype(np.int64)
    return {"rgb": np.stack(images), "gt": first, "sec_gt": second, "cls_gt": classes,
            "selector": np.array([1.0, float(len(targets) > 1)], np.float32), "name": name}


class VOSVideos:
    """Whole videos, for evaluation: one item per sequence.

    Args:
        source: videos with ``len`` and ``[i] -> Sequence``.
        limit: use the first so many only (0: all).
    """

    def __init__(self, source, limit: int = 0):
        self.source, self.limit = source, limit

    def __len__(self) -> int:
        return min(len(self.source), self.limit) if self.limit else len(self.source)

    def get(self, index: int, rng: np.random.Generator) -> dict:
        """``index`` of the sequence in the source, and its ``name``; frames are read where they are needed."""
        return {"index": index, "name": self.source[index].name}
