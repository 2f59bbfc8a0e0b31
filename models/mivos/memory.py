"""Space-time memory: the bank of keys and values of one video, and reading from it.

Reading gives every query position a weighted mean of memory values. With ``A[j, i] = q_j · k_i / sqrt(128)``
(query j, memory i) the weights over memory are, as in upstream's ``EvalMemoryReader``:

======  =====  ====================================================================================
top_k   km     weight of memory i for query j
======  =====  ====================================================================================
K       None   softmax over the K largest A[j], 0 elsewhere
None    None   softmax over all of A[j]
K       s      E = exp(A - max A)·G; the K largest of E divided by their sum
None    s      E divided by its sum
======  =====  ====================================================================================

G is a Gaussian of width s (in 1/16 pixels) around the query position that memory i likes best.

Layout: queries and memory are *rows*, so the search runs along contiguous memory and the K chosen values are
gathered instead of multiplying a matrix of zeros. Queries are taken a few at a time: their rows of A stay in the
cache, memory does not grow with A, and the result does not depend on the chunk. K objects, N = slots · h · w rows.
"""
from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import paddle
import paddle.nn.functional as F

TILE = 2_600_000  # affinities held at once; about 10 MB of float32: larger blocks fall out of the cache
FEWEST, MOST = 16, 256  # queries per chunk


def rows(x):
    """``[K, C, h, w]`` -> ``[K, h·w, C]``."""
    return paddle.transpose(x.flatten(2), [0, 2, 1])


def scaled_query(query_key):
    """``[1, C, h, w]`` -> rows ``[h·w, C]`` divided by sqrt(C); upstream divides before the product too."""
    return rows(query_key)[0] / math.sqrt(query_key.shape[1])


def read(keys, values, query, *, top_k: int | None, km: float | None = None, width: int | None = None,
         tile: int = TILE, usage: np.ndarray | None = None, positions: int | None = None):
    """Read one object's memory.

    Args:
        keys: ``[N, C]``.
        values: ``[N, D]``.
        query: ``[h·w, C]`` from :func:`scaled_query`.
        top_k: how many memory rows a query may use (more than N is the same as N), or None for all.
        km: width of the Gaussian, or None; needs ``width``, the w of the query map.
        tile: affinities held at once.
        usage: with top_k: float64 ``[slots]``, to which the weight that each slot of ``positions`` rows got is added.

    Returns:
        ``[h·w, D]``.
    """
    total = keys.shape[0]
    preferred = None if km is None else _preferred(keys, query, tile)
    chunk = min(max(tile // total, FEWEST), MOST)
    parts = []
    for start in range(0, query.shape[0], chunk):
        part = query[start:start + chunk]
        if km is None and top_k is not None:
            best, index = _search(part, keys, min(top_k, total), tile)
            weights = F.softmax(best, axis=-1)
        else:
            affinity = paddle.matmul(part, keys, transpose_y=True)
            if km is not None:
                place = paddle.arange(start, start + part.shape[0], dtype="int64")
                affinity = _near(affinity, place, preferred, width, km)
            else:
                affinity = F.softmax(affinity, axis=-1)
            if top_k is None:
                parts.append(paddle.matmul(affinity / affinity.sum(-1, keepdim=True) if km else affinity, values))
                continue
            best, index = largest(affinity, min(top_k, total))
            weights = best / best.sum(-1, keepdim=True)
        parts.append(_weighted(values, index, weights))
        if usage is not None:
            usage += np.bincount(index.numpy().ravel() // positions, weights.numpy().ravel(), len(usage))
    return parts[0] if len(parts) == 1 else paddle.concat(parts)


def _weighted(values, index, weights):
    """Sum over k of ``weights[j, k] · values[index[j, k]]``."""
    count, k = index.shape
    chosen = paddle.gather(values, index.flatten()).reshape([count, k, values.shape[1]])
    return paddle.matmul(weights.unsqueeze(1), chosen).squeeze(1)


def _search(query, keys, k: int, tile: int):
    """The k largest affinities of each query and their rows; over very long banks piece by piece, keeping the best."""
    total, longest = keys.shape[0], max(tile // query.shape[0], k)
    best = index = None
    for start in range(0, total, longest):
        piece = keys if longest >= total else keys[start:start + longest]
        values, where = largest(paddle.matmul(query, piece, transpose_y=True), min(k, piece.shape[0]))
        if best is None:
            best, index = values, where
            continue
        best, index = paddle.concat([best, values], 1), paddle.concat([index, where + start], 1)
        best, order = paddle.topk(best, min(k, best.shape[1]), axis=-1)
        index = paddle.take_along_axis(index, order, 1, broadcast=False)
    return best, index


def largest(table, k: int):
    """Values and indices of the k largest of each row, in descending order; what ``paddle.topk`` gives, faster.

    The k largest lie in the k blocks with the largest maxima, so only those are searched: a tenth of the time on
    rows of 81,000. Among exactly equal values at the boundary another one may be chosen.
    """
    count, total = table.shape
    block = next((b for b in range(96, 31, -1) if total % b == 0), None)
    if block is None or total // block < 4 * k:
        return paddle.topk(table, k, axis=-1)
    blocks = total // block
    if table.dtype == paddle.float32:
        maxima = F.max_pool1d(table.unsqueeze(1), block, block).squeeze(1)
    else:
        maxima = table.reshape([count, blocks, block]).max(-1)
    chosen = paddle.topk(maxima, k, axis=-1, sorted=False)[1]  # count, k
    offset = paddle.arange(0, count * blocks, blocks).unsqueeze(1)
    candidates = paddle.gather(table.reshape([-1, block]), (chosen + offset).flatten()).reshape([count, k * block])
    values, order = paddle.topk(candidates, k, axis=-1)
    index = paddle.take_along_axis(chosen, order // block, 1, broadcast=False) * block + order % block
    return values, index


def _preferred(keys, query, tile: int):
    """The query position at which each memory row has its largest affinity: int64 ``[N]`` (the first of equals)."""
    step = max(tile // query.shape[0], 1)
    return paddle.concat([paddle.argmax(paddle.matmul(keys[start:start + step], query, transpose_y=True), -1)
                          for start in range(0, keys.shape[0], step)])


def _near(affinity, place, preferred, width: int, km: float):
    """exp(A - max A) times the Gaussian around each memory row's preferred position; ``place`` are the queries'."""
    dy = (place // width).unsqueeze(1) - (preferred // width).unsqueeze(0)
    dx = (place % width).unsqueeze(1) - (preferred % width).unsqueeze(0)
    kernel = paddle.exp((dy * dy + dx * dx).astype(affinity.dtype) / (-2 * km * km))
    return paddle.exp(affinity - affinity.max(-1, keepdim=True)) * kernel


def read_dense(memory_key, memory_value, query_key):
    """Softmax over all memory, for any batch, with gradients: the training form.

    ``[B, C, T, h, w]``, ``[B, D, T, h, w]``, ``[B, C, h, w]`` -> ``[B, D, h, w]``.
    """
    weights = attention(memory_key, query_key)  # B N hw
    read_out = paddle.matmul(memory_value.flatten(2), weights)
    return read_out.reshape([*read_out.shape[:2], *query_key.shape[2:]])


def attention(memory_key, query_key):
    """Softmax over memory positions (axis 1) of ``[B, C, T, h, w]`` for each query: ``[B, T·h·w, h·w]``."""
    scaled = query_key.flatten(2) / math.sqrt(query_key.shape[1])
    return F.softmax(paddle.matmul(memory_key.flatten(2), scaled, transpose_x=True), axis=1)


def read_batched(keys, values, query, top_k: int | None):
    """All objects at once, for static graphs with every extent dynamic.

    ``[K, N, C]``, ``[K, N, D]``, ``[h·w, C]`` -> ``[K, h·w, D]``; equals :func:`read` up to the order of sums.
    """
    affinity = paddle.matmul(query.unsqueeze(0), keys, transpose_y=True)  # K hw N
    if top_k is None:
        return paddle.matmul(F.softmax(affinity, axis=-1), values)
    shape = paddle.shape(values).astype("int64")
    k = paddle.minimum(shape[1], paddle.full([], top_k, "int64"))
    best, index = paddle.topk(affinity, k, axis=-1)  # K hw k
    offset = paddle.arange(shape[0]) * shape[1]
    flat = (index + offset.reshape([-1, 1, 1])).reshape([-1])
    chosen = paddle.gather(values.reshape([-1, values.shape[2]]), flat)
    chosen = chosen.reshape([shape[0] * paddle.shape(query)[0].astype("int64"), k, values.shape[2]])
    weights = F.softmax(best, axis=-1).reshape([-1, 1, k])
    return paddle.matmul(weights, chosen).reshape([shape[0], -1, values.shape[2]])


@contextlib.contextmanager
def slices_as_views() -> Iterator[None]:
    """Within, a slice shares the memory of what it is cut from. ``models/__init__.py`` has Paddle's views off because
    operators on transposed ones are slow, but leading rows are contiguous, and a bank of 50 frames is 200 MB."""
    flag = "FLAGS_use_stride_kernel"
    before = paddle.get_flags(flag)
    paddle.set_flags({flag: True})
    try:
        yield
    finally:
        paddle.set_flags(before)


@dataclass
class Slot:
    """One memorised frame of the bank."""

    frame: int
    certain: bool  # an interaction: never evicted, survives the pass
    used: float = 0.0  # weight its rows received since it was stored


class MemoryBank:
    """Keys ``[K, rows, C]`` and values ``[K, rows, D]`` of the memorised frames, growing in place.

    Slots: first the interactions (*certain*), then the permanent frames of the current pass, then at most one
    temporary slot, which the next frame overwrites.

    Args:
        limit: None keeps everything, as upstream does. Else at most so many slots besides the temporary one: a new
            permanent frame replaces the pass's permanent frame whose rows were used least, the newest excepted.
            Interactions always stay, even where they alone exceed the limit.
    """

    def __init__(self, limit: int | None = None):
        if limit is not None and limit < 2:
            raise ValueError(f"a memory bank of {limit} frames: needs at least 2 (an interaction and the newest frame)")
        self.limit = limit
        self.slots: list[Slot] = []
        self.temporary = False
        self._newest: int | None = None  # the frame that became permanent last
        self._keys = self._values = None

    def __len__(self) -> int:
        """Slots in use, the temporary one included."""
        return len(self.slots) + self.temporary

    def start_pass(self) -> None:
        """Forget everything but the interactions."""
        self.slots = [slot for slot in self.slots if slot.certain]
        self.temporary = False

    def add_certain(self, key, value, frame: int) -> None:
        """Append an interaction; only between passes."""
        self.start_pass()
        self._write(len(self.slots), key, value)
        self.slots.append(Slot(frame, True))

    def add_permanent(self, key, value, frame: int) -> None:
        """Keep a frame for the rest of the pass."""
        own = [i for i, slot in enumerate(self.slots) if not slot.certain]
        if self.limit is not None and len(self.slots) >= self.limit and own:
            older = [i for i in own if self.slots[i].frame != self._newest] or own
            place = min(older, key=lambda i: self.slots[i].used)
            self.slots[place] = Slot(frame, False)
        else:
            place = len(self.slots)
            self.slots.append(Slot(frame, False))
        self._write(place, key, value)
        self.temporary, self._newest = False, frame

    def set_temporary(self, key, value) -> None:
        """Put a frame where only the next read sees it."""
        self._write(len(self.slots), key, value)
        self.temporary = True

    def contents(self):
        """Copies of the keys ``[K, N, C]`` and values ``[K, N, D]`` of the slots in use."""
        used = len(self) * self._positions
        return self._keys[:, :used], self._values[:, :used]

    def read(self, query_key, *, top_k: int | None, km: float | None = None):
        """Read-out ``[K, D, h, w]`` for the query key ``[1, C, h, w]``, one object at a time."""
        query, (h, w) = scaled_query(query_key), query_key.shape[2:]
        usage = np.zeros(len(self)) if self.limit is not None and top_k is not None else None
        outputs = [read(keys, values, query, top_k=top_k, km=km, width=w, usage=usage, positions=h * w)
                   for keys, values in self._by_object()]
        if usage is not None:
            for slot, used in zip(self.slots, usage, strict=False):
                slot.used += float(used)
        stacked = paddle.stack(outputs)  # K hw D
        return paddle.transpose(stacked, [0, 2, 1]).reshape([stacked.shape[0], -1, h, w])

    def _by_object(self) -> list[tuple]:
        """Keys ``[N, C]`` and values ``[N, D]`` of each object, sharing the bank's memory."""
        used = len(self) * self._positions
        with slices_as_views():
            return [(self._keys[i][:used], self._values[i][:used]) for i in range(self._keys.shape[0])]

    def _write(self, place: int, key, value) -> None:
        key, value = rows(key.flatten(2, 3) if key.ndim == 5 else key), rows(
            value.flatten(2, 3) if value.ndim == 5 else value)
        self._positions = key.shape[1]
        first, last = place * self._positions, (place + 1) * self._positions
        if self._keys is None or last > self._keys.shape[1]:
            self._grow(place, key, value)
        self._keys[:, first:last] = key
        self._values[:, first:last] = value

    def _grow(self, kept: int, key, value) -> None:
        """A quarter more room (at least 4 slots), so that frames are copied a few times at most."""
        room = (kept + max(4, kept // 4)) * self._positions
        grown = []
        for old, new in ((self._keys, key), (self._values, value)):
            buffer = paddle.zeros([new.shape[0], room, new.shape[2]], new.dtype)
            if old is not None:
                buffer[:, :kept * self._positions] = old[:, :kept * self._positions]
            grown.append(buffer)
        self._keys, self._values = grown
