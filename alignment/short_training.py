"""The first steps of a system's ``mini`` run in both frameworks, from one weight file, on the same batches.

A preparing process makes the miniature data set, draws the network's first weights, reads the batches (augmentation is
drawn there, once) and writes all of it as arrays. Our side then trains with the system's own ``training_step``,
optimizer and evaluation (``alignment/paddle_training.py``), the twin's with PyTorch's. This module is for both.
"""
from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alignment import processes
from alignment.bundle import Run, jittered

STAGE = "short_training"
STEPS = 50


def manifest(system: str, *, run: str, layout: str, names: str, overrides: list[str], network: str | None = None,
             companions: dict[str, dict[str, str]] | None = None, case: str = "mini_50_steps") -> dict[str, Any]:
    """A built-in case that trains ``STEPS`` steps.

    Args:
        run: the configuration file of the ``mini`` run.
        layout: the miniature it trains on (``datasets.synthetic``); it is written to a folder of the comparison.
        names: ``module:function`` that renames our entries to upstream's.
        overrides: what is changed of the run, ``KEY=VALUE``: what is random in the network (dropout) is switched off.
            ``{data}`` is the miniature's folder.
        network: the part that is trained, where a system has several.
        companions: frozen networks that training needs beside it, by name: ``make`` is ``module:function`` that takes
            the system and returns one, ``names`` as above.
    """
    return {"system": system, "case": case, "network": network or system, "config": {}, "salt": "mini",
            "inputs": {}, "state": [["(from the preparing process)", [0], "float32"]], "prepare": {
                "run": run, "layout": layout, "names": names, "overrides": overrides, "steps": STEPS,
                "companions": companions or {}},
            "stages": {STAGE: {"mode": "train", "about": f"the first {STEPS} steps of {run} on its own data"}}}


def prepare(manifest: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write weights and batches below ``folder``; returns the manifest with their place.

    Raises:
        RuntimeError: if the preparing process fails, with its last lines.
    """
    folder.mkdir(parents=True)
    request = folder / "request.json"
    request.write_text(json.dumps(manifest["prepare"] | {"system": manifest["system"]}))
    title = f"preparing {manifest['system']}/{manifest['case']}"
    processes.run_module("alignment.paddle_training", request, title, "paddle")
    return {**manifest, "files": str(folder)}


@dataclass(frozen=True)
class Material:
    """What both sides train with. ``config`` is the run's, as plain dicts; arrays are in the run's precision."""

    config: dict[str, Any]
    steps_per_epoch: int
    ours: dict[str, np.ndarray]  # weights under our names
    upstream: dict[str, np.ndarray]  # the same under upstream's names, in its layout
    batches: list[dict[str, Any]]
    validation: list[dict[str, Any]]
    companions: dict[str, dict[str, dict[str, np.ndarray]]]  # weights by name and side: ours, upstream


def read(run: Run) -> Material:
    """The prepared material."""
    folder = Path(run.manifest["files"])
    facts = json.loads((folder / "facts.json").read_text())

    def cast(array: np.ndarray) -> np.ndarray:
        return array.astype(run.dtype) if array.dtype == np.float32 else array

    def weights(prefix: str = "") -> dict[str, dict[str, np.ndarray]]:
        found = {side: {name: cast(array) for name, array in _load(folder / f"{prefix}{side}.npz").items()}
                 for side in ("ours", "upstream")}
        if run.jitter is not None:
            found["upstream"] = jittered(found["upstream"], run.jitter)
        return found
    return Material(facts["config"], facts["steps_per_epoch"], **weights(),
                    batches=[_batch(part, cast) for part in _parts(folder, "train")],
                    validation=[_batch(part, cast) for part in _parts(folder, "val")],
                    companions={name: weights(f"{name}_") for name in facts.get("companions", [])})


def write_batch(path: Path, batch: dict[str, np.ndarray | list[str]]) -> None:
    """One batch; lists of strings become arrays of text."""
    np.savez(path, **{key: np.asarray(value) for key, value in batch.items()})


def _parts(folder: Path, split: str) -> Iterator[dict[str, np.ndarray]]:
    for path in sorted(folder.glob(f"{split}_*.npz")):
        yield _load(path)


def _load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def _batch(part: dict[str, np.ndarray], cast: Callable[[np.ndarray], np.ndarray]) -> dict[str, Any]:
    return {key: value.tolist() if value.dtype.kind == "U" else cast(value) for key, value in part.items()}


def arrays(losses: list[float], rates: list[float] | list[dict[str, float]], metrics: dict[str, float],
           dtype: str) -> dict[str, np.ndarray]:
    """A side's answer: the loss and rates of every step, and the validation metrics after the last.

    Args:
        rates: a number for every step, or the groups' numbers by name. Groups of different rates become
            ``rates:GROUP``; where all have the same, it is one series whatever a side calls its groups.
    """
    made = {"losses": np.asarray(losses, dtype)}
    steps = [step if isinstance(step, dict) else {"all": step} for step in rates]
    by_group = {name: [step[name] for step in steps] for name in steps[0]}
    alike = all(series == by_group[next(iter(by_group))] for series in by_group.values())
    for name, series in by_group.items():
        made["rates" if alike else f"rates:{name}"] = np.asarray(series, "float64")
    return made | {f"metric:{name}": np.asarray(value, dtype) for name, value in metrics.items()}
