"""Objects that appear later in a video: the form of the inference core that YouTubeVOS needs.

hkchengrex/Mask-Propagation 7db3902 ``inference_core_yv.py``. Every object has its own memory, which starts at the
frame of its first annotation and is kept from then on. Forward only, no fusion.
"""
from __future__ import annotations

import numpy as np
import paddle

from models.layers import resize
from models.mivos.aggregation import EDGE, aggregate_wbg, pad, pad_amounts, unpad
from models.mivos.memory import MemoryBank


class AppearingObjects:
    """State over one video.

    Args:
        propagation: as for :class:`~models.mivos.inference_core.InferenceCore`.
        frames: sequence of normalised ``[3, H, W]`` images.
        num_objects: all objects that will ever appear.
        mem_freq: every so many frames one stays in memory.
    """

    def __init__(self, *, propagation, frames, num_objects: int, mem_freq: int = 5):
        self.propagation, self._frames, self.k, self.mem_freq = propagation, frames, num_objects, mem_freq
        self.length = len(frames)
        self.size = tuple(np.shape(frames[0])[-2:])
        self.pad = pad_amounts(*self.size)
        self.enabled: list[int] = []  # objects in the order of their appearance, from 1
        self._groups: list[tuple[list[int], MemoryBank]] = []  # objects that appeared together share a bank
        self._results: dict[int, np.ndarray] = {}

    @paddle.no_grad()
    def add(self, mask: np.ndarray, index: int, objects: list[int], *, until: int) -> None:
        """Objects join at a labelled frame; everything is carried on to frame ``until``, inclusive.

        Args:
            mask: ``[k + 1, 1, H, W]``; of ``objects`` only.
            index: the labelled frame.
            objects: the new ones (from 1). Where the mask has any object, the others' probability becomes 0.
            until: the next labelled frame, or the last frame.
        """
        mask = pad(paddle.to_tensor(mask), self.pad)
        prob = paddle.to_tensor(self.prob(index))
        free = (mask[1:].sum(0, keepdim=True) <= 0.5).astype(prob.dtype)
        prob = prob * free
        for label in objects:
            prob[label] = mask[label]
        prob = aggregate_wbg(prob[1:], keep_bg=True)
        self._results[index] = prob.numpy()
        self.enabled += objects
        self._groups.append((list(objects), MemoryBank()))
        self._memorize(index, prob, permanent=True)
        last_permanent = index
        for t in range(index + 1, until + 1):
            query = self.propagation.query(self._frame(t))
            found = {label: one for labels, bank in self._groups for label, one in zip(
                labels, self.propagation.segment_from_bank(bank, query), strict=True)}
            out = aggregate_wbg(paddle.stack([found[label] for label in self.enabled]), keep_bg=True)
            whole = paddle.to_tensor(self.prob(t))
            whole[0] = out[0]
            for place, label in enumerate(self.enabled, 1):
                whole[label] = out[place]
            self._results[t] = whole.numpy()
            if t != until:
                permanent = t - last_permanent >= self.mem_freq
                self._memorize(t, whole, permanent)
                last_permanent = t if permanent else last_permanent

    def _memorize(self, index: int, prob, permanent: bool) -> None:
        masks = paddle.stack([prob[label] for label in self.enabled])
        key, value = self.propagation.memorize(self._frame(index), masks)
        for labels, bank in self._groups:
            places = [self.enabled.index(label) for label in labels]
            own = [paddle.stack([tensor[place] for place in places]) for tensor in (key, value)]
            (bank.add_permanent(*own, index) if permanent else bank.set_temporary(*own))

    def prob(self, index: int) -> np.ndarray:
        """Padded distribution ``[k + 1, 1, H', W']``."""
        if index in self._results:
            return self._results[index]
        left, right, top, bottom = self.pad
        empty = np.zeros((self.k + 1, 1, self.size[0] + top + bottom, self.size[1] + left + right), np.float32)
        empty[0] = EDGE
        return empty

    def labels_at(self, index: int, size: tuple[int, int]) -> np.ndarray:
        """uint8 labels of a frame at ``size``: probabilities resized (bilinear), then compared."""
        prob = paddle.to_tensor(np.ascontiguousarray(unpad(self.prob(index), self.pad)[:, 0][None]))
        if tuple(size) != self.size:
            prob = resize(prob, list(size))
        return prob[0].argmax(0).numpy().astype(np.uint8)

    def _frame(self, index: int):
        return pad(paddle.to_tensor(self._frames[index]).unsqueeze(0), self.pad)
