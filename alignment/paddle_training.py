"""Our side of a short training, and the process that prepares it: ``python -m alignment.paddle_training REQUEST``."""
from __future__ import annotations

import importlib
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from alignment import paddle_tools as tools
from alignment import short_training
from alignment.bundle import Run
from datasets import synthetic
from engine import config as configuration
from engine.seed import seed_everything
from models import conversion
from systems import find_system

VALIDATION_BATCHES = 8
# What an evaluation says about its own speed is no metric; classes of a few pixels jump, their mean is compared.
NOT_COMPARED = ("seconds_", "iou/")


def train(run: Run, ready: Callable[[Any, short_training.Material, Run], None] = lambda *about: None
          ) -> dict[str, np.ndarray]:
    """``short_training.STEPS`` steps by the system's own step, optimizer and evaluation.

    Args:
        ready: told the system, the material and the run before the first step; gives the system its companions.
    """
    material = short_training.read(run)
    schema = find_system(run.manifest["system"])
    system = schema(configuration.build(schema.Config, material.config, "the prepared run"))
    with tools.default_dtype(run.dtype):
        network = system.network()
    conversion.load(network, material.ours, "the prepared weights")
    ready(system, material, run)
    network.train()
    optimizer = system.optimizer(network, material.steps_per_epoch)
    losses, rates = [], []
    for batch in map(_tensors, material.batches):
        loss = system.training_step(network, batch)["loss"]
        loss.backward()
        rates.append(optimizer.rates())
        optimizer.step()
        optimizer.clear_grad()
        losses.append(loss.item())
    network.eval()
    with paddle.no_grad():
        recorded = _Recorded(material.validation, system)
        metrics = system.evaluate(network, recorded, lambda batches, *about, **more: batches)
    metrics = {name: value for name, value in metrics.items() if not name.startswith(NOT_COMPARED)}
    return short_training.arrays(losses, rates, metrics, run.dtype)


class _Recorded:
    """Batches that were read before, in the form of a ``datasets.loader.Loader``."""

    def __init__(self, batches: list[dict[str, Any]], system: Any):
        self.batches, self._system = batches, system

    @property
    def dataset(self) -> Any:
        """What the system asks about its data beside the batches."""
        return self._system.dataset("val")

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[dict[str, Any]]:
        return map(_tensors, self.batches[start:])


def _tensors(batch: dict[str, Any]) -> dict[str, Any]:
    return {key: paddle.to_tensor(value) if isinstance(value, np.ndarray) else value for key, value in batch.items()}


def prepare(request: dict[str, Any], folder: Path) -> None:
    """Write ``ours.npz``, ``upstream.npz``, ``train_*.npz``, ``val_*.npz`` and ``facts.json`` into ``folder``; of a
    companion ``NAME_ours.npz`` and ``NAME_upstream.npz``."""
    data = folder / "data"
    schema = find_system(request["system"])
    config = configuration.load(schema.Config, request["run"],
                                [text.replace("{data}", str(data)) for text in request["overrides"]])
    synthetic.write(request["layout"], data)
    system = schema(config)
    seed_everything(config.seed)
    network = system.network()
    system.initial_weights(network)
    _write_weights(network, request["names"], folder)
    for name, about in request["companions"].items():
        _write_weights(_named(about["make"])(system), about["names"], folder, f"{name}_")
    loader = system.loader("train")
    every = itertools.chain.from_iterable(loader.epoch(epoch) for epoch in itertools.count())
    _write(itertools.islice(every, request["steps"]), folder, "train")
    _write(_spread(system.loader("val")), folder, "val")
    (folder / "facts.json").write_text(json.dumps({"config": configuration.to_dict(config),
                                                   "steps_per_epoch": len(loader),
                                                   "companions": list(request["companions"])}))


def _named(path: str) -> Callable:
    module, function = path.split(":")
    return getattr(importlib.import_module(module), function)


def _write_weights(network: paddle.nn.Layer, names: str, folder: Path, prefix: str = "") -> None:
    weights = conversion.arrays(network)
    np.savez(folder / f"{prefix}ours.npz", **weights)
    np.savez(folder / f"{prefix}upstream.npz", **conversion.to_upstream(weights, network, _named(names)))


def _spread(loader: Any) -> Iterator[dict[str, Any]]:
    """At most ``VALIDATION_BATCHES`` batches from all over the data: lists are often sorted by class."""
    for place in sorted({index * len(loader) // VALIDATION_BATCHES for index in range(VALIDATION_BATCHES)}):
        yield next(loader.epoch(0, start=place))


def _write(batches: Iterator[dict[str, Any]], folder: Path, split: str) -> None:
    for index, batch in enumerate(batches):
        short_training.write_batch(folder / f"{split}_{index:03}.npz", {
            key: value.numpy() if isinstance(value, paddle.Tensor) else value for key, value in batch.items()})


def main(path: Path) -> None:
    """Prepare what the request asks for, beside it."""
    prepare(json.loads(path.read_text()), path.parent)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
