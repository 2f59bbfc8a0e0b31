"""Files and folders that appear complete or not at all, and names in the order people count."""
from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def complete_file(path: str | Path) -> Iterator[Path]:
    """A temporary name in the folder of ``path``, with its suffix; renamed to ``path`` if the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def complete_folder(path: str | Path) -> Iterator[Path]:
    """A new folder that becomes ``path`` if the block succeeds.

    Raises:
        FileExistsError: if there is a ``path`` already.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists already; remove it to have it written again")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)  # what a killed run left
    temporary.mkdir()
    try:
        yield temporary
        os.rename(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def natural_key(name: str) -> list:
    """Sorting key under which ``frame_9`` comes before ``frame_10``."""
    parts = re.split(r"(\d+)", name)  # texts and numbers in turn
    return [(int(part), "") if place % 2 else (-1, part) for place, part in enumerate(parts)]
