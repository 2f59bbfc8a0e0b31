"""State over one video: memory, results and interactions. No parameters.

hkchengrex/MiVOS f2600a6 ``inference_core.py``. Per interaction: the frame's mask enters the memory for good, then
masks are carried forward and backward up to the nearest frame the user touched before (or the end). Frames on the way
to such a frame have an earlier result: the two are fused, guided by what the interaction changed.

Kept as upstream has it: the memory stores the results *before* fusion; interactions are never forgotten, and touching
a frame twice stores it twice; the background starts at 1e-7.
"""
from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import numpy as np
import paddle
import paddle.nn.functional as F

from models.layers import resize
from models.mivos.aggregation import EDGE, aggregate_wbg, pad, pad_amounts, unpad
from models.mivos.frame_store import FrameStore, LabelMaps
from models.mivos.memory import MemoryBank
from models.mivos.propagation import get_attention

# Frames whose query features are kept between interactions, by memory profile (44 MB a frame at 480 x 854).
QUERY_CACHE = {0: 105, 1: 105, 2: 3, 3: 1}
IN_FILES = (2, 3)  # profiles that keep results in files


class InferenceCore:
    """Interactions with one video of k objects.

    Args:
        propagation: :class:`~models.mivos.propagation.PropagationNetwork` in eval mode, or anything with its
            ``memorize``, ``query`` and ``segment_from_bank``.
        fusion: FusionNet in eval mode; None keeps the newer result instead of fusing.
        frames: normalised images: an array or tensor ``[1, T, 3, H, W]``, or a sequence of ``[3, H, W]`` arrays that
            loads them when asked.
        num_objects: k, at least 1.
        mem_freq: every so many frames one stays in memory for the rest of the pass.
        mem_profile: 0 to 3, upstream's; how much is kept between interactions (never what comes out): query
            features of 105, 105, 3 or 1 frames; with 2 and 3, results live in files of a temporary folder.
        bank_limit: None keeps every permanent frame, as upstream; else see :class:`MemoryBank`.
        undo: how many interactions can be taken back.

    Raises:
        ValueError: for impossible arguments.
    """

    def __init__(self, *, propagation, fusion, frames, num_objects: int, mem_freq: int = 5, mem_profile: int = 0,
                 bank_limit: int | None = None, undo: int = 0):
        if num_objects < 1 or mem_freq < 1 or mem_profile not in QUERY_CACHE:
            raise ValueError(f"num_objects {num_objects} and mem_freq {mem_freq} must be 1 or more, "
                             f"mem_profile {mem_profile} one of {sorted(QUERY_CACHE)}")
        self.propagation, self.fusion, self.k = propagation, fusion, num_objects
        self._frames = frames[0] if getattr(frames, "ndim", 0) == 5 else frames
        self.length = len(self._frames)
        if self.length < 1:
            raise ValueError("a video needs at least one frame")
        first = paddle.to_tensor(self._frames[0])
        self.dtype, self.size = first.dtype, tuple(first.shape[-2:])
        self.pad = pad_amounts(*self.size)
        self.mem_freq, self._cache_size = mem_freq, QUERY_CACHE[mem_profile]
        self._spool = tempfile.TemporaryDirectory(prefix="mivos-") if mem_profile in IN_FILES else None
        self._results = FrameStore(Path(self._spool.name) if self._spool else None)
        self._maps = LabelMaps(self.length, self.size)
        self.interacted: set[int] = set()
        self.bank = MemoryBank(bank_limit)
        self._shown: set[int] = set()  # frames whose mask is not the argmax of their result
        self._queries: dict[int, object] = {}
        self._undo, self._history = undo, []

    # What callers see -----------------------------------------------------------------------------------------------

    def frame(self, index: int):
        """Padded image ``[1, 3, H', W']``."""
        image = paddle.to_tensor(self._frames[index]).astype(self.dtype)
        return pad(image.unsqueeze(0), self.pad)

    def prob(self, index: int) -> np.ndarray:
        """Padded distribution ``[k + 1, 1, H', W']`` of a frame, background first."""
        if index in self._results:
            return self._results[index]
        left, right, top, bottom = self.pad
        empty = np.zeros((self.k + 1, 1, self.size[0] + top + bottom, self.size[1] + left + right),
                         str(self.dtype).removeprefix("paddle."))
        empty[0] = EDGE
        return empty

    def unpadded(self, prob: np.ndarray) -> np.ndarray:
        """``[..., H', W']`` cut to the frame's own size."""
        return unpad(prob, self.pad)

    @property
    def masks(self) -> np.ndarray:
        """Labels uint8 ``[T, H, W]`` of the whole video, made anew; of one frame: :meth:`labels_at`."""
        return np.stack(list(self._maps))

    def labels_at(self, index: int, size: tuple[int, int] | None = None) -> np.ndarray:
        """Labels uint8 of a frame, at another size if asked: probabilities are resized (bilinear), then compared.

        A frame shown by :meth:`update_mask_only` or without any result has no probabilities; its labels are resized.
        """
        if size is None or tuple(size) == self.size:
            return self._maps[index]
        if index in self._shown or index not in self._results:
            return cv2.resize(self._maps[index], tuple(size)[::-1], interpolation=cv2.INTER_NEAREST)
        prob = paddle.to_tensor(np.ascontiguousarray(self.unpadded(self.prob(index))[:, 0][None]))
        return resize(prob, list(size))[0].argmax(0).numpy().astype(np.uint8)

    @paddle.no_grad()
    def interact(self, mask: np.ndarray, index: int, progress=None, soften: bool = False) -> None:
        """Take a frame's mask as the truth and carry it through the video.

        Args:
            mask: ``[k + 1, 1, H, W]`` with the background first; used as it is.
            index: the frame, from 0.
            progress: called with an iterable and its length for each pass; returns an iterable.
            soften: aggregate the mask's objects first (soft even where it was one-hot), as upstream's semi-supervised
                evaluation does.

        Raises:
            ValueError: if the mask or the frame does not fit the video.
        """
        expected = (self.k + 1, 1, *self.size)
        if tuple(mask.shape) != expected:
            raise ValueError(f"the mask is {list(mask.shape)}, this video with {self.k} objects needs {list(expected)}")
        self._check_frame(index)
        self._remember()
        self.interacted.add(index)
        mask = pad(paddle.to_tensor(mask).astype(self.dtype), self.pad)
        if soften:
            mask = aggregate_wbg(mask[1:], keep_bg=True)
        difference = mask - paddle.to_tensor(self.prob(index))
        self._added, self._removed = paddle.clip(difference, 0, 1), paddle.clip(-difference, 0, 1)
        self._store(index, mask)
        self._key, value = self.propagation.memorize(self.frame(index), mask[1:])
        self.bank.add_certain(self._key, value, index)
        for step in (1, -1):
            self._run_pass(index, step, progress)
        self.bank.start_pass()
        self._results.tidy([entry["results"] for entry in self._history])

    def update_mask_only(self, prob: np.ndarray, index: int) -> None:
        """Show another mask on one frame without propagating or remembering it; ``prob [k + 1, 1, H', W']``, padded."""
        self._check_frame(index)
        self._remember()
        self._maps[index] = self._labels(np.asarray(prob))
        self._shown.add(index)

    def undo(self) -> bool:
        """Take the last interaction (or single-frame update) back; False if there is none to take back."""
        if not self._history:
            return False
        state = self._history.pop()
        self._results.restore(state["results"])
        self._maps.restore(state["masks"])
        self.interacted, self._shown = state["interacted"], state["shown"]
        self.bank.slots = self.bank.slots[:state["slots"]]
        return True

    # One pass --------------------------------------------------------------------------------------------------------

    def _run_pass(self, index: int, step: int, progress) -> None:
        """Carry masks from ``index`` in one direction up to the nearest touched frame (exclusive) or the end."""
        ahead = [t for t in self.interacted if (t - index) * step > 0]
        closest = min(ahead, key=lambda t: abs(t - index)) if ahead else (self.length if step > 0 else -1)
        self.bank.start_pass()
        last_permanent = index
        steps = range(index + step, closest, step)
        for t in steps if progress is None else progress(steps, len(steps)):
            query = self._query(t)
            out = aggregate_wbg(self.propagation.segment_from_bank(self.bank, query), keep_bg=True)
            if t != closest - step:  # the last frame of a pass serves no other
                key, value = self.propagation.memorize(self.frame(t), out[1:])
                if abs(t - last_permanent) >= self.mem_freq:
                    self.bank.add_permanent(key, value, t)
                    last_permanent = t
                else:
                    self.bank.set_temporary(key, value)
            self._store(t, self._fuse(closest, index, t, query, out) if ahead and self.fusion is not None else out)

    def _fuse(self, closest: int, index: int, t: int, query, out):
        """The earlier result and the new one, each believed where the interaction's difference says."""
        span = abs(closest - index)
        time = paddle.to_tensor([[abs(closest - t) / span, abs(index - t) / span]], dtype=out.dtype)
        earlier, image, fused = paddle.to_tensor(self.prob(t)), self.frame(t), []
        for i in range(self.k):  # one at a time: full-resolution features of many objects would fill the memory
            here = slice(i + 1, i + 2)
            attention = get_attention(self._key[i:i + 1], self._added[here], self._removed[here], query.key)
            fused.append(F.sigmoid(self.fusion(image, earlier[here], out[here], attention, time)))
        return aggregate_wbg(paddle.concat(fused), keep_bg=True)

    def _query(self, index: int):
        if index not in self._queries:
            if len(self._queries) > self._cache_size:
                self._queries.clear()
            self._queries[index] = self.propagation.query(self.frame(index))
        return self._queries[index]

    # Results ---------------------------------------------------------------------------------------------------------

    def _store(self, index: int, prob) -> None:
        array = prob.numpy()
        self._results[index] = array
        self._shown.discard(index)
        self._maps[index] = self._labels(array)

    def _labels(self, prob: np.ndarray) -> np.ndarray:
        return unpad(prob.argmax(0)[0], self.pad).astype(np.uint8)

    def _remember(self) -> None:
        if self._undo:
            self._history.append({
                "results": self._results.state(), "masks": self._maps.state(), "interacted": set(self.interacted),
                "shown": set(self._shown), "slots": len(self.bank.slots)})
            del self._history[:-self._undo]

    def _check_frame(self, index: int) -> None:
        if not 0 <= index < self.length:
            raise ValueError(f"frame {index} is outside the video's {self.length} frames (0 to {self.length - 1})")
