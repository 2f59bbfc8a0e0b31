"""Batches of a dataset: seeded per item, decoded in worker processes, cut among ranks, resumable at any step.

The only module of this package that knows Paddle. What an item holds depends on (seed, epoch, index) alone, so the
number of workers, a resume in mid-epoch and the number of ranks never change a sample.
"""
from __future__ import annotations

import collections
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol

import cv2
import numpy as np
import paddle


class Dataset(Protocol):
    """Items by index. A dataset may also have ``begin_epoch(epoch)``, called before an epoch's first item.

    ``get`` draws whatever it needs from ``rng`` and returns arrays, numbers and strings by name, among them
    ``'name'``, the file the item was read from.
    """

    def __len__(self) -> int: ...

    def get(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray | int | float | str]: ...


class LoaderError(RuntimeError):
    """An item could not be read, or the items of a batch do not fit together; the message says which and why."""


def item_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The generator that item ``index`` draws from in ``epoch``."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch, index)))


class Loader:
    """Iterates batches of ``dataset``.

    A global batch holds ``batch_size * world_size`` consecutive items of the epoch's order; every rank takes one of
    ``world_size`` equal contiguous parts, so that the global batches are the same for any number of ranks.
    The last global batch may be smaller. In order (``shuffle=False``) its items are dealt out completely, one more to
    the first ranks, and a rank without any has one step fewer. Shuffled, for training, all ranks must step together
    and with equal weight: the remainder that cannot be dealt out equally is left for another epoch.

    Args:
        dataset: see :class:`Dataset`.
        batch_size: items a batch of one rank.
        shuffle: a new order every epoch, drawn from (seed, epoch).
        drop_last: leave out a smaller last batch.
        workers: processes that read ahead; 0 reads in this process.
        seed: any integer from 0.
        rank, world_size: this process among those that train together.
        prefetch: batches that workers prepare ahead.

    Raises:
        ValueError: for an empty dataset or impossible numbers.
    """

    def __init__(self, dataset: Dataset, *, batch_size: int, shuffle: bool = False, drop_last: bool = False,
                 workers: int = 0, seed: int = 0, rank: int = 0, world_size: int = 1, prefetch: int = 2):
        for name, value, low in (("batch_size", batch_size, 1), ("workers", workers, 0), ("seed", seed, 0),
                                 ("world_size", world_size, 1), ("rank", rank, 0), ("prefetch", prefetch, 1)):
            if value < low:
                raise ValueError(f"Loader: {name} must be at least {low}, got {value}")
        if rank >= world_size:
            raise ValueError(f"Loader: rank {rank} does not exist among {world_size} ranks (they count from 0)")
        if len(dataset) == 0:
            raise ValueError(f"Loader: {type(dataset).__name__} holds no items; check its list file and folder")
        self.dataset, self.batch_size, self.shuffle, self.drop_last = dataset, batch_size, shuffle, drop_last
        self.workers, self.seed, self.rank, self.world_size, self.prefetch = workers, seed, rank, world_size, prefetch
        if len(self) == 0:
            raise ValueError(f"Loader: {len(dataset)} items of {type(dataset).__name__} make no batch of {batch_size} "
                             f"for rank {rank} of {world_size}; choose a smaller batch_size"
                             + (" or drop_last=False" if drop_last else ""))

    def __len__(self) -> int:
        """Steps an epoch of this rank."""
        whole, rest = divmod(len(self.dataset), self.batch_size * self.world_size)
        if self.drop_last or not rest:
            return whole
        return whole + (self._part(rest)[1] > self._part(rest)[0])

    def order(self, epoch: int) -> np.ndarray:
        """Item numbers in the order in which the epoch visits them, all ranks together."""
        if not self.shuffle:
            return np.arange(len(self.dataset))
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(epoch,)))
        return rng.permutation(len(self.dataset))

    def batches(self, epoch: int) -> list[list[int]]:
        """Item numbers of every batch of this rank."""
        order = self.order(epoch)
        size = self.batch_size * self.world_size
        found = []
        for step in range(len(self)):
            whole = order[step * size:(step + 1) * size]
            first, last = self._part(len(whole))
            found.append([int(index) for index in whole[first:last]])
        return found

    def epoch(self, epoch: int, start: int = 0) -> Iterator[dict[str, paddle.Tensor | list[str]]]:
        """Batches of one epoch from step ``start``; the steps before it are not read.

        Yields:
            Arrays stacked into tensors ``[B, ...]`` of their dtype, integers as int64 ``[B]``, floats as float32
            ``[B]``, strings as lists.

        Raises:
            LoaderError: naming the item that could not be read.
            ValueError: if ``start`` lies outside the epoch.
        """
        if not 0 <= start <= len(self):
            raise ValueError(f"Loader: step {start} lies outside an epoch of {len(self)} steps")
        if hasattr(self.dataset, "begin_epoch"):
            self.dataset.begin_epoch(epoch)
        batches = self.batches(epoch)[start:]
        read = self._read_here if self.workers == 0 else self._read_ahead
        return (collate(items) for items in read(batches, epoch))

    def _part(self, count: int) -> tuple[int, int]:
        """First and last (exclusive) item of this rank in a global batch of ``count`` items."""
        share, rest = divmod(count, self.world_size)
        if self.shuffle or rest == 0:
            return self.rank * share, (self.rank + 1) * share
        first = self.rank * share + min(self.rank, rest)
        return first, first + share + (self.rank < rest)

    def _read_here(self, batches: list[list[int]], epoch: int) -> Iterator[list[dict]]:
        for batch in batches:
            yield [_read(self.dataset, self.seed, epoch, index) for index in batch]

    def _read_ahead(self, batches: list[list[int]], epoch: int) -> Iterator[list[dict]]:
        """Items come from worker processes, in order. The pool lives as long as the epoch, so that it sees what
        ``begin_epoch`` changed, and ends when the iterator is exhausted, closed or fails."""
        pool = ProcessPoolExecutor(self.workers, mp_context=_context(), initializer=_start_worker,
                                   initargs=(self.dataset, os.getpid()))
        waiting: collections.deque[list[Future]] = collections.deque()
        items = math.ceil(2 * self.workers / self.batch_size)  # enough batches that no worker is idle
        try:
            for batch in batches:
                waiting.append([pool.submit(_read_in_worker, self.seed, epoch, index) for index in batch])
                if len(waiting) > max(self.prefetch, items):
                    yield _results(waiting.popleft())
            while waiting:
                yield _results(waiting.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def collate(items: list[dict]) -> dict[str, paddle.Tensor | list[str]]:
    """Stack items: arrays and numbers into tensors, strings into lists.

    Raises:
        LoaderError: where keys, shapes or dtypes differ, with the items' names.
    """
    first = items[0]
    for item in items[1:]:
        if item.keys() != first.keys():
            raise LoaderError(f"items of one batch differ: {_name(first)} has {sorted(first)}, "
                              f"{_name(item)} has {sorted(item)}")
    return {key: _stack(key, items) for key in first}


def _stack(key: str, items: list[dict]):
    values = [item[key] for item in items]
    if isinstance(values[0], str):
        return values
    if isinstance(values[0], (bool, int, np.integer)):
        return paddle.to_tensor(np.array(values, np.int64))
    if isinstance(values[0], float):
        return paddle.to_tensor(np.array(values, np.float32))
    arrays = [np.asarray(value) for value in values]
    for item, array in zip(items, arrays, strict=True):
        if array.shape != arrays[0].shape or array.dtype != arrays[0].dtype:
            raise LoaderError(
                f"{key!r} of one batch differs: {arrays[0].dtype}{list(arrays[0].shape)} in {_name(items[0])}, "
                f"{array.dtype}{list(array.shape)} in {_name(item)}; make them equal or use a batch size of 1")
    return paddle.to_tensor(np.stack(arrays))


def _name(item: dict) -> str:
    return str(item.get("name", "an item without a name"))


def _read(dataset: Dataset, seed: int, epoch: int, index: int) -> dict:
    try:
        return dataset.get(index, item_rng(seed, epoch, index))
    except Exception as error:
        raise LoaderError(f"item {index} of {type(dataset).__name__}: {type(error).__name__}: {error}") from error


def _results(futures: list[Future]) -> list[dict]:
    try:
        return [future.result() for future in futures]
    except BrokenProcessPool as error:
        raise LoaderError("a worker process of the loader was killed, most often for lack of memory; "
                          "use fewer workers or smaller batches (workers=0 reads in the main process)") from error


# --- in the worker processes -----------------------------------------------------------------------------------------

_dataset: Dataset | None = None


def _context() -> multiprocessing.context.BaseContext:
    """Forked workers start in milliseconds and share the dataset; elsewhere than on Linux forking is not safe."""
    return multiprocessing.get_context("fork" if sys.platform.startswith("linux") else "spawn")


def _start_worker(dataset: Dataset, parent: int) -> None:
    global _dataset
    _dataset = dataset
    # Ctrl-C reaches the whole group; the main process decides and ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    cv2.setNumThreads(0)  # OpenCV's own threads do not survive a fork
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when the main one was killed: nobody else would."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _read_in_worker(seed: int, epoch: int, index: int) -> dict:
    return _read(_dataset, seed, epoch, index)
