"""Checkpoints: a folder with ``model.pdparams``, ``model.pdopt`` and ``state.json``, always whole.

The two Paddle files are what ``paddle.load`` reads; ours are read by ``models.weights``, which runs nothing in them.
"""
from __future__ import annotations

import dataclasses
import functools
import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from engine.files import atomic_folder, recover_folder
from engine.optimization import Optimizer
from models import weights
from models.conversion import load as load_weights

MODEL, OPTIMIZER, STATE = "model.pdparams", "model.pdopt", "state.json"
LATEST, BEST = "latest", "best"


class NonFiniteWeights(FloatingPointError):
    """Weights that hold nan or infinity are not written over good ones."""


@dataclass
class State:
    """Where a run stands; everything but weights and optimizer.

    Attributes:
        epoch: epochs finished.
        step: batches used of the epoch after those.
        updates: optimizer updates done.
        best, best_epoch: highest score so far (None before the first) and after how many epochs it was reached.
        log_bytes: length of ``log.jsonl`` at this moment.
        meter: averages since the last console line (``engine.logger.Meter`` as a dict).
        scaler: state of the loss scale, where AMP is on.
        random: random states of every rank (``engine.seed.random_states``).
        config: the run's configuration as nested dicts.
        revision: git's name of the code, None outside a repository.
    """

    epoch: int = 0
    step: int = 0
    updates: int = 0
    best: float | None = None
    best_epoch: int | None = None
    log_bytes: int = 0
    meter: dict[str, Any] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)
    random: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    revision: str | None = None


def save(folder: str | Path, network: nn.Layer, optimizer: Optimizer, state: State) -> None:
    """Write a checkpoint; a kill at any moment leaves the old or the new one.

    Raises:
        NonFiniteWeights: if a weight is nan or infinite; the old checkpoint stays.
    """
    entries = network.state_dict()
    for name, tensor in entries.items():
        if tensor.is_floating_point() and not bool(paddle.isfinite(tensor).all()):
            raise NonFiniteWeights(f"{folder} is left as it is: after {state.updates} updates {name} holds nan or "
                                   "infinity. Lower the learning rate, clip the gradients, or look at the data")
    with atomic_folder(folder) as new:
        paddle.save(entries, str(new / MODEL))
        paddle.save(optimizer.state_dict(), str(new / OPTIMIZER))
        (new / STATE).write_text(json.dumps(dataclasses.asdict(state)), encoding="utf-8")


def load(folder: str | Path, network: nn.Layer, optimizer: Optimizer) -> State:
    """Put weights and optimizer state back and tell where the run stood.

    Raises:
        FileNotFoundError: if the folder is no checkpoint (it says what is there).
        ValueError: if a file is damaged or belongs to another network or optimizer.
    """
    folder = find(folder)
    state = read_state(folder)
    load_weights(network, weights.read(folder / MODEL), str(folder / MODEL))
    try:
        optimizer.set_state_dict(weights.read(folder / OPTIMIZER))
    except ValueError as error:
        raise ValueError(f"{folder / OPTIMIZER}: {error}") from error
    return state


def read_state(folder: str | Path) -> State:
    """The ``state.json`` of a checkpoint.

    Raises:
        FileNotFoundError, ValueError: as :func:`load`.
    """
    path = find(folder) / STATE
    try:
        return State(**json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, TypeError) as error:
        raise ValueError(f"{path} is not the state of a run: {error}") from error


def find(path: str | Path) -> Path:
    """The checkpoint meant by ``path``: its folder, one of its files, or an output folder (then its ``latest``).

    Raises:
        FileNotFoundError: if there is none.
    """
    path = Path(path)
    for folder in (path, path.parent if path.suffix else path / LATEST):
        recover_folder(folder)
        if (folder / STATE).is_file():
            return folder
    if path.is_dir():
        there = f"it holds {', '.join(sorted(p.name for p in path.iterdir())[:8]) or 'nothing'}"
    else:
        there = "there is no such folder"
    raise FileNotFoundError(f"{path} is no checkpoint: a folder with {STATE}, {MODEL} and {OPTIMIZER} "
                            f"(such as output/{LATEST}) was expected, but {there}")


@functools.cache
def revision() -> str | None:
    """Git's name of this code, ``-dirty`` with uncommitted changes; None where there is no repository or no git."""
    try:
        answer = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=40"], capture_output=True,
                                text=True, timeout=20, cwd=Path(__file__).parent, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def is_better(score: float, best: float | None) -> bool:
    """Whether ``score`` beats ``best``; the first score always does, nan never."""
    return not np.isnan(score) and (best is None or score > best)
