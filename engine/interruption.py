"""SIGTERM and Ctrl-C as a wish to stop: the trainer looks, saves and leaves."""
from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import TypeVar

Item = TypeVar("Item")


class Interrupted(Exception):
    """Raised inside an evaluation, whose result is not needed any more, to leave it early."""


class Interruption:
    """A context in which the first SIGTERM or SIGINT only sets ``signal``.

    A Ctrl-C after that acts as usual, for the impatient; more SIGTERMs change nothing (Paddle's launcher sends three
    within half a second).

    Worker processes started inside (data loading) inherit the handlers: there Ctrl-C, which a terminal sends to
    all processes, does nothing, and SIGTERM ends the worker, so that the trainer can finish its step.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.signal: str | None = None
        self._owner = os.getpid()
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers there only
            self._previous = {number: signal.signal(number, self._note) for number in self.SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def watch(self, iterable: Iterable[Item]) -> Iterator[Item]:
        """The items of ``iterable``; raises :class:`Interrupted` between two of them once a signal has come."""
        for item in iterable:
            if self.signal:
                raise Interrupted(self.signal)
            yield item

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        if self.signal is None:
            self.signal = signal.Signals(number).name
        elif number == signal.SIGINT:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
