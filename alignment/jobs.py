"""Units of work: how long and how large each is, and running several at a time within a limit of memory."""
from __future__ import annotations

import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from alignment import processes
from alignment.bundle import Bundle, split_stage
from alignment.results import Outcome, Unit

MEMORY = 7.3  # GB that the computing processes of a run may need together; those that start and judge need 0.5
BASE = 0.8  # GB of a process with its library and a small network
COSTLY, LARGE = 10.0, 100.0  # million parameters


@dataclass(frozen=True)
class Job:
    """One unit of work, how long it may take compared with others, and how many GB it may need."""

    unit: Unit
    run: Callable[[], Outcome]
    weight: float
    memory: float = BASE


class Waiting:
    """Jobs, the longest first. One process prefers those that need over half of the memory, the others the others: the
    large networks then follow each other while small ones fill the second processor, and the shortest come last. A job
    that does not fit lets others pass."""

    def __init__(self, jobs: list[Job], memory: float):
        self._jobs, self._limit, self._free, self._running = list(jobs), memory, memory, 0
        self._changed = threading.Condition()

    def take(self, large: bool = True) -> Job | None:
        """The next job, as soon as one fits (alone, anything fits); None when none is left.

        Args:
            large: prefer those over half of the memory, the largest first.
        """
        with self._changed:
            while self._jobs:
                ordered = sorted(self._jobs, key=lambda job: self._preference(job, large))  # else in their order
                fitting = next((job for job in ordered if job.memory <= self._free or not self._running), None)
                if fitting is not None:
                    self._jobs.remove(fitting)
                    self._free, self._running = self._free - fitting.memory, self._running + 1
                    return fitting
                self._changed.wait()
            return None

    def _preference(self, job: Job, large: bool) -> tuple[bool, float]:
        is_large = job.memory > self._limit / 2
        return is_large != large, -job.memory if is_large else 0.0

    def done(self, job: Job) -> None:
        with self._changed:
            self._free, self._running = self._free + job.memory, self._running - 1
            self._changed.notify_all()

    def drop(self) -> None:
        """Nothing more shall begin."""
        with self._changed:
            self._jobs.clear()
            self._changed.notify_all()


def outcomes_of(jobs: list[Job], workers: int, memory: float = MEMORY) -> Iterator[Outcome]:
    """Run the jobs, ``workers`` at a time, and hand out what each gave as it ends.

    Raises:
        KeyboardInterrupt: after an interrupt or a request to terminate; no child is left.
    """
    previous = signal.signal(signal.SIGTERM, _interrupt)
    waiting, ended = Waiting(jobs, memory), queue.SimpleQueue()
    pool = ThreadPoolExecutor(workers)
    try:
        for index in range(workers):
            pool.submit(_work, waiting, ended, index == 0)
        for _ in jobs:
            outcome = ended.get()
            if isinstance(outcome, BaseException):
                raise outcome
            yield outcome
    except BaseException:
        waiting.drop()
        processes.stop()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        signal.signal(signal.SIGTERM, previous)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _work(waiting: Waiting, ended: queue.SimpleQueue, large: bool) -> None:
    while (job := waiting.take(large)) is not None:
        try:
            ended.put(_run(job))
        except BaseException as error:  # noqa: BLE001 - raised by whoever waits for the outcome
            ended.put(error)
        finally:
            waiting.done(job)


def _run(job: Job) -> Outcome:
    started = time.perf_counter()
    try:
        return job.run()
    except (RuntimeError, ValueError, KeyError) as error:
        # A broken case must not hide the others' results: it is a failure of its own.
        return Outcome(job.unit, errors={"unit": f"{type(error).__name__}: {error}"},
                       seconds=time.perf_counter() - started)


def parameters(bundle: Bundle) -> float:
    """Size of the bundle's network in million numbers."""
    count = 0
    for _, shape, *_ in bundle.manifest["state"]:
        product = 1
        for side in shape:
            product *= side
        count += product
    return count / 1e6


def memory_of(bundle: Bundle, stages: list[str]) -> float:
    """GB that these stages may need, measured on the networks of this project: activations, weights of the recipe, and
    in float64 the network, its gradients and what Adam remembers."""
    size = parameters(bundle)
    if size <= COSTLY:
        return BASE
    return 2.2 + size * (34 if "train64" in stages else 16) / 1e3


def repeats(bundle: Bundle, stage: str, side: str) -> bool:
    """Whether a stage is left to a thorough run: it takes long and says little that others do not say.

    Of networks over 10 million parameters: the twin in float32 where it is judged in float64, its training, which the
    record judges on our side, and our float32 training where the same is recorded in float64. Of networks over 100
    million: the training itself (7 GB, minutes), which the built-in cases and the short training run on small networks
    of the same code.
    """
    size = parameters(bundle)
    base, dtype = split_stage(stage)
    if size <= COSTLY:
        return False
    if base == "train" and (size > LARGE or (side == "torch" and "train64" in bundle.stages)):
        return True
    return dtype == "float32" and f"{base}64" in bundle.stages and (base == "train" or side == "torch")
