"""Progress bars with rate and time left on a terminal; one summary line elsewhere."""
from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

from engine import distributed
from engine.logger import console

Item = TypeVar("Item")


def progress(iterable: Iterable[Item], title: str, total: int | None = None, *, initial: int = 0,
             summary: bool = True) -> Iterator[Item]:
    """Hand on the items of ``iterable`` and show how far it has come.

    Args:
        iterable: anything to iterate over.
        title: what is counted, e.g. ``'validate'``.
        total: number of items, where ``len(iterable)`` does not tell.
        initial: items done in an earlier run.
        summary: where standard error is no terminal, log count, time and rate at the end.
    """
    if total is None and hasattr(iterable, "__len__"):
        total = len(iterable)
    if not distributed.is_main():
        yield from iterable
    elif sys.stderr.isatty():
        yield from tqdm(iterable, title, total, initial=initial, dynamic_ncols=True, leave=False)
    else:
        start, count = time.perf_counter(), 0
        for item in iterable:
            yield item
            count += 1
        seconds = time.perf_counter() - start
        if summary and count:
            console().info("%s: %d in %.1f s (%.2f/s)", title, count, seconds, count / max(seconds, 1e-9))
