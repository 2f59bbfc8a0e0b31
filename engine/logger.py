"""What a run tells: console lines in the form TIPC reads, ``log.jsonl`` for programs, ``curves.png`` for eyes."""
from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from engine import distributed
from engine.files import atomic_write

LOG_FILE, CURVES_FILE = "log.jsonl", "curves.png"


class _AboveBars(logging.StreamHandler):
    """Writes lines to standard output without tearing a progress bar apart."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stdout  # whatever it is now: it may have been redirected since
        with tqdm.external_write_mode():
            super().emit(record)


def console() -> logging.Logger:
    """The logger all parts talk through: standard output, rank 0 only (errors from every rank)."""
    logger = logging.getLogger("paddletwin")
    if not logger.handlers:
        handler = _AboveBars(sys.stdout)
        handler.setFormatter(logging.Formatter("[%(asctime)s] %(name)s %(levelname)s: %(message)s",
                                               "%Y/%m/%d %H:%M:%S"))
        logger.addHandler(handler)
        logger.propagate = False
    logger.setLevel(logging.INFO if distributed.is_main() else logging.ERROR)
    return logger


@dataclass
class Meter:
    """Averages since the last console line; part of a checkpoint, so that a resumed log is the unbroken one."""

    steps: int = 0
    samples: int = 0
    reader_seconds: float = 0.0
    batch_seconds: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)

    def add(self, losses: dict[str, float], samples: int, reader_seconds: float, batch_seconds: float) -> None:
        """Count one step; ``batch_seconds`` includes the reading."""
        self.steps += 1
        self.samples += samples
        self.reader_seconds += reader_seconds
        self.batch_seconds += batch_seconds
        for name, value in losses.items():
            self.losses[name] = self.losses.get(name, 0.0) + value

    def averages(self) -> dict[str, float]:
        """Means per step, losses averaged over the processes."""
        steps = max(self.steps, 1)
        return {**distributed.mean({name: total / steps for name, total in self.losses.items()}),
                "avg_reader_cost": self.reader_seconds / steps, "avg_batch_cost": self.batch_seconds / steps,
                "avg_samples": self.samples / steps,
                "avg_ips": self.samples / self.batch_seconds if self.batch_seconds else 0.0}


def train_line(*, epoch: int, epochs: int, step: int, steps: int, rate: float, averages: dict[str, float]) -> str:
    """One console line of training; from ``loss:`` to ``images/sec`` it is what TIPC's tools look for.

    Args:
        epoch, step: counted from 1.
        rate: learning rate of the first group.
        averages: :meth:`Meter.averages`.
    """
    others = "".join(f"{name}: {value:.5f}, " for name, value in averages.items()
                     if name != "loss" and not name.startswith("avg_"))
    left = int(((epochs - epoch) * steps + steps - step) * averages["avg_batch_cost"])
    return (f"epoch: [{epoch}/{epochs}], iter: [{step}/{steps}], lr: {rate:.8f}, {others}"
            f"loss: {averages['loss']:.5f}, avg_reader_cost: {averages['avg_reader_cost']:.5f} sec, "
            f"avg_batch_cost: {averages['avg_batch_cost']:.5f} sec, avg_samples: {averages['avg_samples']:.1f}, "
            f"avg_ips: {averages['avg_ips']:.2f} images/sec, "
            f"eta: {left // 3600}:{left // 60 % 60:02}:{left % 60:02}")


class RunLog:
    """``log.jsonl``: one JSON object a line, written by rank 0.

    Args:
        folder: the run's output folder.
        keep: bytes of an existing file to keep: a resumed run continues where its checkpoint was made,
            and what the killed run wrote after that goes. 0 begins anew.
    """

    def __init__(self, folder: str | Path, keep: int = 0) -> None:
        self.path = Path(folder) / LOG_FILE
        self._file = None
        if distributed.is_main():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab")
            if keep < self._file.tell():
                self._file.truncate(keep)

    def write(self, kind: str, **values: Any) -> None:
        """Append ``{"kind": kind, **values}``."""
        if self._file is not None:
            self._file.write((json.dumps({"kind": kind, **values}) + "\n").encode())
            self._file.flush()

    def size(self) -> int:
        """Bytes so far, all of them on the disk."""
        if self._file is None:
            return 0
        os.fsync(self._file.fileno())
        return self._file.seek(0, os.SEEK_END)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def read_log(path: str | Path) -> list[dict[str, Any]]:
    """The records of a ``log.jsonl``; a last line cut off by a kill is left out."""
    lines = Path(path).read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1]]


def draw_curves(log: str | Path, picture: str | Path) -> None:
    """Draw losses, learning rates and metrics over the updates, from a ``log.jsonl`` to a PNG."""
    from matplotlib.figure import Figure

    records = read_log(log)
    train = [r for r in records if r["kind"] == "train"]
    evaluations = [r for r in records if r["kind"] == "evaluation"]
    panels = [("loss", _series(train, "losses")), ("learning rate", _series(train, "rates")),
              ("evaluation", _series(evaluations, "metrics"))]
    figure = Figure(figsize=(15, 4))
    figure.subplots_adjust(left=0.05, right=0.98, bottom=0.13, top=0.92)  # automatic layout would draw everything twice
    for axes, (title, series) in zip(figure.subplots(1, 3), panels, strict=True):
        axes.set(title=title, xlabel="updates")
        for name, (updates, values) in series.items():
            axes.plot(updates, values, label=name, marker="o" if len(values) < 30 else None, markersize=3)
        if series:
            axes.legend(fontsize="small")
        axes.grid(alpha=0.3)
    with atomic_write(picture, "wb") as file:
        figure.savefig(file, format="png", dpi=110)


def _series(records: list[dict[str, Any]], key: str) -> dict[str, tuple[list[int], list[float]]]:
    names = dict.fromkeys(name for record in records for name in record[key])
    return {name: ([r["updates"] for r in records if name in r[key]], [r[key][name] for r in records if name in r[key]])
            for name in names}
