"""Files that appear whole or not at all.

The engine has the same few lines for its checkpoints; the two rooms stand on one floor and do not import each other.
"""
from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` (same suffix); move it there when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _sync(temporary)
        _plain_mode(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_files(folder: str | Path, *, last: str | None = None, stale: Iterable[str] = ()) -> Iterator[Path]:
    """Yield an empty work folder; when the block ends without an error its entries replace those in ``folder``.

    Entries are files or whole folders. If one of the moves fails, the old ones come back. Others stay as they are.

    Args:
        folder: made if it does not exist.
        last: the file that is moved in last, so that its presence says that the others are complete.
        stale: names of earlier files that are removed together with the replacement.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".new-", dir=folder))
    kept = Path(tempfile.mkdtemp(prefix=".old-", dir=folder))
    try:
        yield work
        names = sorted((entry.name for entry in work.iterdir()), key=lambda name: (name == last, name))
        for name in names:
            _sync(work / name)
        _exchange(folder, work, kept, names, [name for name in stale if name not in names])
    finally:
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(kept, ignore_errors=True)


def _exchange(folder: Path, work: Path, kept: Path, names: list[str], stale: list[str]) -> None:
    old = [name for name in [*reversed(names), *stale] if (folder / name).exists()]
    moved_out, moved_in = [], []
    try:
        for name in old:
            (folder / name).replace(kept / name)
            moved_out.append(name)
        for name in names:
            (work / name).replace(folder / name)
            moved_in.append(name)
    except BaseException:  # an interrupt must not leave half of the new files either
        for name in moved_in:
            _remove(folder / name)
        for name in moved_out:
            (kept / name).replace(folder / name)
        raise


def sha256(path: str | Path) -> str:
    """SHA-256 of a file as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    for file_path in (path,) if path.is_file() else [child for child in path.rglob("*") if child.is_file()]:
        with open(file_path, "rb") as file:
            os.fsync(file.fileno())


def _plain_mode(path: Path) -> None:
    """Give a temporary file, which is private, the mode a new file has."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)
