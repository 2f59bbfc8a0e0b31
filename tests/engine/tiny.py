"""A system that trains in a second, for the tests of the trainer; also a script, to be killed and resumed.

python tests/engine/tiny.py OUTPUT [train.epochs=3 ...]
"""
from __future__ import annotations

import dataclasses
import json
import sys
import time
from dataclasses import dataclass, field

import numpy as np
import paddle
from paddle import nn

from engine import distributed
from engine.optimization import GlobalNorm, Group, Optimizer
from engine.schedules import cosine
from engine.seed import seed_everything
from engine.trainer import fit
from models.layers import BatchNorm1D


@dataclass(frozen=True)
class Train:
    epochs: int = 3
    batch_size: int = 4
    accumulate: int = 1
    workers: int = 0
    log_iters: int = 1
    eval_every: int = 1
    save_every: int = 0
    save_steps: int = 0
    amp: str = "off"
    amp_scale: float = 512.0
    max_steps: int = 0


@dataclass(frozen=True)
class Config:
    system: str = "tiny"
    seed: int = 5
    output_dir: str = "output"
    resume: str | None = None
    train: Train = field(default_factory=Train)
    batch_norm: bool = True
    dropout: float = 0.3
    dtype: str = "float32"
    samples: int = 34
    nan_at: int = -1  # sample whose input is nan
    pause: float = 0.0  # seconds a step takes


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
        total = self.config.train.epochs * steps_per_epoch // self.config.train.accumulate
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
    """Config(output_dir=output) with 'dtype=float64' and 'train.epochs=3' applied."""
    config = Config(output_dir=str(output))
    for override in overrides:
        key, value = override.split("=", 1)
        owner, _, key = key.rpartition(".")
        target = getattr(config, owner) if owner else config
        kind = type(getattr(target, key))
        value = value if kind in (str, type(None)) else bool(int(value)) if kind is bool else kind(value)
        target = dataclasses.replace(target, **{key: value})
        config = dataclasses.replace(config, **{owner: target}) if owner else target
    return config


def run(config, system=System):
    system = system(config)
    return fit(system, system.network(), config=config)


if __name__ == "__main__":
    summary = run(configure(*sys.argv[1:]))
    print(json.dumps(dataclasses.asdict(summary)), flush=True)
