"""Files and folders that are either the old version or the new one, never half of one."""
from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@contextlib.contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """Open a new file that takes the place of ``path`` when the block ends without an error.

    The content goes to a hidden name in the same folder (which is created if missing), is flushed to the
    disk and renamed. After an error, or a kill at any moment, ``path`` is what it was before.

    Args:
        path: the file to write.
        mode: ``'w'`` (UTF-8 text) or ``'wb'``.
    """
    if mode not in ("w", "wb"):
        raise ValueError(f"atomic_write replaces whole files, mode must be 'w' or 'wb', got {mode!r}")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open(mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """A new folder to fill, which takes the place of ``path`` when the block ends without an error.

    On Linux old and new change names in one step, so ``path`` is complete at every moment. Where the system
    cannot do that, the old folder steps aside first; a kill between these two renames is mended by
    :func:`recover_folder`, which every reader calls. One process at a time may write the same path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    recover_folder(path)
    new = path.with_name(f".{path.name}.new")
    shutil.rmtree(new, ignore_errors=True)  # what a killed run left
    new.mkdir()
    try:
        yield new
        _sync_tree(new)
        _swap(new, path)
    finally:
        shutil.rmtree(new, ignore_errors=True)  # the old version, or the half-written one


def recover_folder(path: str | Path) -> None:
    """Finish what a kill between two renames of :func:`atomic_folder` left undone; usually does nothing."""
    path = Path(path)
    aside = _aside(path)
    if not aside.exists():
        return
    if path.exists():
        shutil.rmtree(aside)
    else:
        os.rename(aside, path)


def sync_folder(path: str | Path) -> None:
    """Flush a folder's entries to the disk, so that a rename survives a power cut."""
    if os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _sync_tree(folder: Path) -> None:
    for name in sorted(folder.rglob("*")):
        if name.is_file():
            with name.open("rb+") as file:
                os.fsync(file.fileno())
    sync_folder(folder)


def _swap(new: Path, path: Path) -> None:
    """``new`` becomes ``path``; an old ``path`` is left at ``new`` or removed."""
    if not path.exists():
        os.rename(new, path)
    elif not _exchange(new, path):
        aside = _aside(path)
        os.rename(path, aside)
        os.rename(new, path)
        shutil.rmtree(aside)
    sync_folder(path.parent)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step (Linux's renameat2); False where system or file system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EXDEV):
        return False
    raise OSError(code, os.strerror(code), str(second))
