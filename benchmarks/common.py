"""Fair measurements: every contender lives in a process of its own, and rounds are interleaved.

A contender is a function that prepares everything and returns what is to be timed. Processes are asked in turn, so a
busy moment of the machine hits all of them; ratios are made of medians of one run, never across runs. A process'
largest resident memory is its own, not that of the neighbour that was imported before.
"""
from __future__ import annotations

import contextlib
import gc
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.memory import peak_memory, reset_peak_memory

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Prepare = Callable[[int], Callable[[], Any]]  # threads -> what is timed


@dataclass
class Timing:
    """What one contender needed.

    Attributes:
        wall, cpu: seconds of each round: on the clock, and of this process' threads together.
        before, peak: resident MB when all was prepared, and at most from then on.
    """

    name: str
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    before: float = 0.0
    peak: float = 0.0

    def median(self, clock: str = "wall") -> float:
        return statistics.median(getattr(self, clock))

    def spread(self, clock: str = "wall") -> float:
        """(slowest - fastest) / median: how quiet the machine was."""
        times = getattr(self, clock)
        return (max(times) - min(times)) / self.median(clock)


def race(contenders: Mapping[str, Prepare], *, threads: int = 1, rounds: int = 7, warmup: int = 2) -> dict[str, Timing]:
    """Time all contenders in turn.

    Args:
        contenders: name -> function of a module (it is sent to another process).
        threads: that each may use.
        rounds: measured runs of each.
        warmup: runs before them.

    Raises:
        RuntimeError: a contender failed; the message holds its traceback's last line.
    """
    timings = {name: Timing(name) for name in contenders}
    with contextlib.ExitStack() as stack:
        pipes = {name: stack.enter_context(_process(name, prepare, threads)) for name, prepare in contenders.items()}
        for name, pipe in pipes.items():
            timings[name].before = _ask(name, pipe, None)["memory"]
        for number in range(warmup + rounds):
            for name, pipe in pipes.items():
                answer = _ask(name, pipe, "run")
                timings[name].peak = answer["memory"]
                if number >= warmup:
                    timings[name].wall.append(answer["wall"])
                    timings[name].cpu.append(answer["cpu"])
    return timings


@contextlib.contextmanager
def _process(name: str, prepare: Prepare, threads: int) -> Iterator[Any]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with _environment({variable: str(threads) for variable in THREAD_VARIABLES}):
        process = context.Process(target=_serve, args=(theirs, prepare, threads), name=name, daemon=True)
        process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.join(timeout=10)
        if process.is_alive():
            process.terminate()


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Variables that a started process inherits: thread pools read them when they are imported."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(pipe, prepare: Prepare, threads: int) -> None:
    try:
        timed = prepare(threads)
        gc.collect()
        reset_peak_memory()  # what preparing needed for a moment is not the contender's
        pipe.send({"memory": peak_memory()})
        while pipe.recv() == "run":
            wall, cpu = time.perf_counter(), time.process_time()
            timed()
            pipe.send({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu,
                       "memory": peak_memory()})
    except EOFError:  # the race is over
        return
    except Exception as error:  # noqa: BLE001 - whatever a contender raises is reported by the parent
        pipe.send({"error": f"{type(error).__name__}: {error}"})


def _ask(name: str, pipe, message: str | None) -> dict[str, float]:
    if message is not None:
        pipe.send(message)
    try:
        answer = pipe.recv()
    except EOFError as error:
        raise RuntimeError(f"{name} ended without an answer") from error
    if "error" in answer:
        raise RuntimeError(f"{name} failed: {answer['error']}")
    return answer


def processor() -> str:
    """The CPU's name."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def table(timings: Mapping[str, Timing], base: str, clock: str = "wall") -> list[str]:
    """Markdown rows: median, spread, ratio to ``base``, memory."""
    lines = [f"| | median ms ({clock}) | spread | ratio to {base} | peak MB | above its start MB |",
             "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for name, timing in timings.items():
        lines.append(f"| {name} | {1000 * timing.median(clock):.1f} | {100 * timing.spread(clock):.0f} % | "
                     f"{timing.median(clock) / timings[base].median(clock):.3f} | {timing.peak:.0f} | "
                     f"{timing.peak - timing.before:.0f} |")
    return lines


def write(folder: str | Path, name: str, title: str, sections: list[str], timings: Mapping[str, Any]) -> None:
    """Write ``NAME.md`` for people and ``NAME.json`` for programs."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    head = f"# {title}\n\n{processor()}, {os.cpu_count()} CPUs, Python {platform.python_version()}\n\n"
    (folder / f"{name}.md").write_text(head + "\n".join(sections) + "\n", "utf-8")
    (folder / f"{name}.json").write_text(json.dumps(timings, indent=1) + "\n", "utf-8")
