"""Where the results of a video's frames are kept: distributions in memory or in files, label maps compressed.

A long video must not fill the memory: a distribution of two objects at 480 x 864 takes 5 MB, its label map 0.4 MB, but
compressed only a few kB.
"""
from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from models.processor import release_freed_memory


class FrameStore:
    """One array per frame, in memory or, with a folder, in files. Old values stay readable for :meth:`restore`."""

    def __init__(self, folder: Path | None = None):
        self.folder, self._entries, self._written = folder, {}, 0

    def __contains__(self, frame: int) -> bool:
        return frame in self._entries

    def __getitem__(self, frame: int) -> np.ndarray:
        entry = self._entries[frame]
        return np.load(entry) if isinstance(entry, Path) else entry

    def __setitem__(self, frame: int, array: np.ndarray) -> None:
        if self.folder is None:
            self._entries[frame] = array
            return
        path = self.folder / f"{frame:06d}_{self._written}.npy"
        self._written += 1
        np.save(path, array)
        self._entries[frame] = path

    def state(self) -> dict:
        return dict(self._entries)

    def restore(self, state: dict) -> None:
        self._entries = dict(state)

    def tidy(self, kept: Sequence[dict] = ()) -> None:
        """Delete files that neither the present state nor one of ``kept`` uses."""
        if self.folder is not None:
            used = {path for state in (self._entries, *kept) for path in state.values()}
            for path in set(self.folder.glob("*.npy")) - used:
                path.unlink()


class LabelMaps:
    """uint8 ``[T, H, W]``, at first all 0, each frame compressed on its own.

    ``maps[t]`` is a fresh array ``[H, W]``; ``maps[t] = labels`` replaces a frame.
    """

    RELEASE = 16  # frames; the few kB that stay of each would keep the heap from using freed memory again

    def __init__(self, length: int, size: tuple[int, int]):
        self.shape, self._written = (length, *size), 0
        self._packed: list[bytes] = [zlib.compress(bytes(size[0] * size[1]), 1)] * length

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, frame: int) -> np.ndarray:
        return np.frombuffer(bytearray(zlib.decompress(self._packed[frame])), np.uint8).reshape(self.shape[1:])

    def __setitem__(self, frame: int, labels: np.ndarray) -> None:
        if labels.shape != self.shape[1:] or labels.dtype != np.uint8:
            raise ValueError(f"frame {frame}: expected uint8 labels {list(self.shape[1:])}, got {labels.dtype} "
                             f"{list(labels.shape)}")
        self._packed[frame] = zlib.compress(np.ascontiguousarray(labels), 1)
        self._written += 1
        if self._written % self.RELEASE == 0:
            release_freed_memory()

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[frame] for frame in range(len(self)))

    def state(self) -> list[bytes]:
        return list(self._packed)

    def restore(self, state: list[bytes]) -> None:
        self._packed = list(state)
