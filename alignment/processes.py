"""A process for every request, forked from a parent that has imported the library and done nothing else.

Importing Paddle or PyTorch takes longer than most requests, hence parents: ``python -m alignment.processes SIDE``. A
parent reads requests from its standard input, a line of JSON each, forks a child for one at a time, and answers with
the child's exit status. The children share imported code and nothing more. Where there is no safe ``fork``, and for
code in a checkout, a request gets an interpreter of its own.
"""
from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
# ``models`` first: it says how Paddle's libraries are to start (see models/processor.py). PyTorch would import its
# compiler, for a second, when the first optimizer is made.
PRELOADED = {"paddle": ("models", "alignment.paddle_tools"), "torch": ("alignment.torch_tools", "torch._dynamo")}
# glibc keeps freed memory for the next tensor (see models/processor.py), on the torch side as on ours.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
FORKS = sys.platform == "linux"


def run_module(module: str, request: Path, title: str, side: str | None = None) -> None:
    """``module.main(request)`` in a process of its own; on all processors, unless ``OMP_NUM_THREADS`` is set.

    Args:
        request: a file; the process may write beside it.
        title: begins the message of an error.
        side: ``paddle`` or ``torch``: forked from a parent that has the library; any other: a fresh interpreter.

    Raises:
        RuntimeError: if it fails, with ``title`` and its last lines; after a :func:`stop`.
    """
    environment = dict(os.environ, CUDA_VISIBLE_DEVICES="")
    environment.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))
    for name, value in KEEP_MEMORY.items():
        environment.setdefault(name, value)
    errors = request.with_name("errors.txt")
    if FORKS and side in PRELOADED:
        with _parent(side, environment) as parent:
            status = parent.run(module, request, errors)
    else:
        with errors.open("w") as file, child([sys.executable, "-m", module, str(request)], cwd=ROOT, env=environment,
                                             stdout=subprocess.DEVNULL, stderr=file) as process:
            status = process.wait()
    if status != 0:
        tail = "\n".join(errors.read_text(errors="replace").strip().splitlines()[-25:])
        raise RuntimeError(f"{title} failed (exit status {status}):\n{tail}")


class Parent:
    """A process that has imported a side's library and forks."""

    def __init__(self, side: str, environment: dict[str, str]):
        self._process = _start([sys.executable, "-m", "alignment.processes", side], cwd=ROOT, env=environment,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, module: str, request: Path, errors: Path) -> int:
        """Exit status of a child that computes the request; negative for a signal that ended it."""
        try:
            self._process.stdin.write(json.dumps([module, str(request), str(errors)]) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:  # its own end comes with a message on the console, or from stop()
            raise RuntimeError("interrupted" if _stopping.is_set() else
                               f"the process that starts others ended (exit status {self._process.wait()})")
        return int(line)

    def kill(self) -> None:
        """End it with what it has forked."""
        _kill(self._process)
        self.end()

    def end(self) -> None:
        """Let it see that nothing more will come."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        _children.discard(self._process)


_children: set[subprocess.Popen] = set()
_idle: dict[tuple, list[Parent]] = {}
_lock = threading.Lock()
_stopping = threading.Event()


@contextlib.contextmanager
def _parent(side: str, environment: dict[str, str]) -> Iterator[Parent]:
    """An idle parent of that side and environment, or a new one."""
    key = (side, *sorted(environment.items()))
    with _lock:
        parent = _idle[key].pop() if _idle.get(key) else None
    parent = parent or Parent(side, environment)
    try:
        yield parent
    except BaseException:  # an interrupt: do not wait for what it runs
        parent.kill()
        raise
    with _lock:
        _idle.setdefault(key, []).append(parent)


@contextlib.contextmanager
def child(command: list[str], **options: Any) -> Iterator[subprocess.Popen]:
    """A process that :func:`stop` ends and that does not outlive the context.

    Raises:
        RuntimeError: after a :func:`stop`.
    """
    process = _start(command, **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            _kill(process)
            process.wait()
        _children.discard(process)


def _start(command: list[str], **options: Any) -> subprocess.Popen:
    with _lock:
        if _stopping.is_set():
            raise RuntimeError("interrupted")
        # A group of its own, so that what it forks ends with it.
        process = subprocess.Popen(command, start_new_session=True, **options)
        _children.add(process)
    return process


def _kill(process: subprocess.Popen) -> None:
    """End a process and what it forked. They write into folders that are thrown away: nothing is lost."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def stop() -> None:
    """End all processes and refuse to start more; for the end of an interrupted program."""
    with _lock:
        _stopping.set()
        _idle.clear()
        for process in list(_children):
            _kill(process)


@atexit.register
def close() -> None:
    """End the idle parents; their processor time then counts as this process's children's."""
    with _lock:
        parents = [parent for found in _idle.values() for parent in found]
        _idle.clear()
    for parent in parents:
        parent.end()


def serve(side: str) -> None:
    """A parent's life: import, then fork for every line of the standard input."""
    for module in PRELOADED[side]:
        importlib.import_module(module)
    gc.freeze()  # what is imported stays shared between the children
    for line in sys.stdin:
        number = os.fork()
        if number == 0:
            _compute(*json.loads(line))
        _, status = os.waitpid(number, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _compute(module: str, request: str, errors: str) -> NoReturn:
    """The child: ``module.main(request)``, its standard error in a file, without the parent's input and output."""
    status = 1
    try:
        for number, path in enumerate((os.devnull, os.devnull, errors)):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), number)
        importlib.import_module(module).main(Path(request))
        status = 0
    except BaseException:  # noqa: BLE001 - told to whoever asked, by the file and the status
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve(sys.argv[1])
