"""Items for an exported graph: arrays from ``.npy`` and ``.npz`` files, or videos that a system turns into arrays."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ARRAYS = (".npy", ".npz")
IMAGES = (".jpg", ".jpeg", ".png", ".bmp")
VIDEOS = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv")

Arrays = Mapping[str, np.ndarray]
ReadClip = Callable[[Path], Arrays]


@dataclass(frozen=True)
class Item:
    """One clip, or one row of an array file.

    Attributes:
        name: for the report.
        arrays: input name -> ``[V, ...]``; V rows (views) belong to this item, usually one.
    """

    name: str
    arrays: Arrays

    @property
    def rows(self) -> int:
        return len(next(iter(self.arrays.values())))


def read_items(path: str | Path, names: Sequence[str], read_clip: ReadClip) -> list[Item]:
    """Read what ``--input`` names.

    Args:
        path: an array file (``.npy`` for a graph of one input, ``.npz`` with one array per input; rows are items), a
            video file, a folder of frames, or a folder tree that holds any of these.
        names: the graph's inputs.
        read_clip: the system's way from a video file or folder of frames to input arrays ``[V, ...]``.

    Raises:
        FileNotFoundError: nothing there, or nothing to read in the folder.
        ValueError: arrays that do not fit the graph.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"--input {path} does not exist")
    sources = [path] if path.is_file() else list(find_sources(path))
    if not sources:
        raise FileNotFoundError(f"--input {path} holds no {', '.join(ARRAYS)} file, no video and no folder of frames")
    items = []
    for source in sources:
        if source.suffix.lower() in ARRAYS:
            items += array_items(source, names)
        else:
            items.append(Item(str(source), check_arrays(source, read_clip(source), names)))
    return items


def find_sources(folder: Path) -> Iterator[Path]:
    """Array files, video files and folders of frames below ``folder``, in alphabetical order."""
    children = sorted(folder.iterdir())
    if any(child.suffix.lower() in IMAGES for child in children):
        yield folder
        return
    for child in children:
        if child.name.startswith("."):
            continue
        if child.is_dir():
            yield from find_sources(child)
        elif child.suffix.lower() in (*ARRAYS, *VIDEOS):
            yield child


def array_items(path: Path, names: Sequence[str]) -> list[Item]:
    """Rows of an array file, one item each."""
    try:
        loaded = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as NumPy arrays: {error}") from error
    if isinstance(loaded, np.ndarray):
        if len(names) != 1:
            raise ValueError(f"{path} is one array but the graph takes {list(names)}; use an .npz file")
        arrays = {names[0]: loaded}
    else:
        with loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    arrays = check_arrays(path, arrays, names)
    rows = len(next(iter(arrays.values())))
    return [Item(f"{path}[{row}]", {name: value[row:row + 1] for name, value in arrays.items()})
            for row in range(rows)]


def check_arrays(source: Path, arrays: Arrays, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays in the graph's order, with equally many rows."""
    if sorted(arrays) != sorted(names):
        raise ValueError(f"{source} gives the arrays {sorted(arrays)}, the graph takes {list(names)}")
    rows = {name: len(arrays[name]) if arrays[name].ndim else 0 for name in names}
    if len(set(rows.values())) != 1 or 0 in rows.values():
        raise ValueError(f"{source} gives unequal or no rows: {rows}")
    return {name: arrays[name] for name in names}


def batches(items: Sequence[Item], batch_size: int) -> Iterator[dict[str, np.ndarray]]:
    """All items' rows in batches; a batch may cut through the views of an item, and the last may be smaller."""
    names = list(items[0].arrays)
    rows = [{name: item.arrays[name][row:row + 1] for name in names} for item in items for row in range(item.rows)]
    for start in range(0, len(rows), batch_size):
        part = rows[start:start + batch_size]
        yield {name: np.concatenate([row[name] for row in part]) for name in names}


def split_by_item(outputs: Sequence[Arrays], items: Sequence[Item]) -> list[dict[str, np.ndarray]]:
    """Outputs of ``batches``, put together and given back to the items: ``[V, ...]`` each.

    Raises:
        ValueError: an output without one row per input row, which no batch can be cut into.
    """
    total = sum(item.rows for item in items)
    whole = {}
    for name in outputs[0]:
        parts = [batch[name] for batch in outputs]
        whole[name] = np.concatenate(parts) if all(part.ndim for part in parts) else np.stack(parts)
        if len(whole[name]) != total:
            raise ValueError(f"output {name} has {len(whole[name])} rows for {total} input rows")
    ends = np.cumsum([item.rows for item in items])
    return [{name: value[end - item.rows:end] for name, value in whole.items()}
            for item, end in zip(items, ends, strict=True)]
