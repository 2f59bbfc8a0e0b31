"""A system that trains in a second, for the tests of the trainer; also a script, to be killed and resumed.

python tests/engine/tiny.py OUTPUT [train.epochs=3 ...]
"""
from __future__ import annotations

import dataclasses
import json
import sys
import time
from dataclasses import dataclass

import numpy as np
import paddle
from paddle import nn

from engine import distributed
from engine.config import RunConfig, load, option
from engine.optimization import GlobalNorm, Group, Optimizer
from engine.schedules import cosine
from engine.seed import seed_everything
from engine.trainer import fit
from models.layers import BatchNorm1D


@dataclass(frozen=True)
class Config(RunConfig):
    batch_norm: bool = option(True, "with a batch norm")
    dropout: float = option(0.3, "its probability")
    dtype: str = option("float32", "of everything")
    samples: int = option(34, "in an epoch")
    nan_at: int = option(-1, "sample whose input is nan")
    pause: float = option(0.0, "seconds that a step takes")


class Loader:
    """The interface of datasets/loader.py over numbers drawn from (seed, epoch, index)."""

    def __init__(self, config, shuffle, rank=0, world_size=1):
        self.config, self.shuffle, self.rank, self.world_size = config, shuffle, rank, world_size

    def __len__(self):
        return self.config.samples // (self.config.train.batch_size * self.world_size)

    def epoch(self, epoch, start=0):
        size = self.config.train.batch_size
        order = np.arange(self.config.samples)
        if self.shuffle:
            order = np.random.default_rng([self.config.seed, epoch]).permutation(self.config.samples)
        for step in range(start, len(self)):
            first = (step * self.world_size + self.rank) * size
            yield self.batch(epoch, order[first:first + size])

    def batch(self, epoch, indices):
        x = np.stack([np.random.default_rng([7, i]).standard_normal(6) for i in indices])
        noise = np.stack([np.random.default_rng([self.config.seed, epoch, i]).normal(0, 0.1, 6) for i in indices])
        target = np.tanh(x[:, :2] * 2 - x[:, 2:4])
        x = np.where((indices == self.config.nan_at)[:, None], np.nan, x + noise)
        return {"x": paddle.to_tensor(x, self.config.dtype), "target": paddle.to_tensor(target, self.config.dtype),
                "name": [f"sample_{i}.avi" for i in indices]}


class System:
    score = "fit"

    def __init__(self, config):
        self.config = config

    def network(self):
        paddle.set_default_dtype(self.config.dtype)
        seed_everything(self.config.seed)
        layers = [nn.Linear(6, 8)] + [BatchNorm1D(8)] * self.config.batch_norm
        network = nn.Sequential(*layers, nn.ReLU(), nn.Dropout(self.config.dropout), nn.Linear(8, 2))
        paddle.set_default_dtype("float32")
        return network

    def loader(self, split):
        if split == "train":
            return Loader(self.config, True, distributed.rank(), distributed.world_size())
        return Loader(self.config, False)

    def optimizer(self, network, steps_per_epoch):
        total = self.config.train.epochs * steps_per_epoch
        return Optimizer([Group("all", network.named_parameters(), cosine(0.1, total), 1e-3)], kind="sgd",
                         momentum=0.9, nesterov=True, clip=GlobalNorm(1.0))

    def training_step(self, network, batch):
        time.sleep(self.config.pause)
        error = network(batch["x"]) - batch["target"]
        return {"loss": (error * error).mean(), "worst": error.abs().max()}

    def evaluate(self, network, loader, progress):
        errors = [self.training_step(network, batch)["loss"].item()
                  for batch in progress(loader.epoch(0), "validate", len(loader))]
        return {"fit": -float(np.mean(errors))}


def configure(output, *overrides):
    """The configuration of a small run, with changes such as 'dtype=float64', 'train.epochs=2'."""
    return load(Config, None, ["seed=5", f"output_dir={output}", "train.epochs=3", "train.batch_size=4",
                               "train.log_iters=1", "train.workers=0", *overrides])


def run(config, system=System):
    system = system(config)
    return fit(system, system.network(), config=config)


if __name__ == "__main__":
    summary = run(configure(*sys.argv[1:]))
    sys.stdout.write(json.dumps(dataclasses.asdict(summary)) + "\n")
