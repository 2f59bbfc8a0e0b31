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

from datasets.loader import Loader
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


class Dataset:
    """A function of six numbers, which are seen with noise."""

    def __init__(self, config):
        self.config = config

    def __len__(self):
        return self.config.samples

    def get(self, index, rng):
        x = np.random.default_rng([7, index]).standard_normal(6)
        target = np.tanh(x[:2] * 2 - x[2:4])
        x = x + rng.normal(0, 0.1, 6) if index != self.config.nan_at else np.full(6, np.nan)
        return {"x": x.astype(self.config.dtype), "target": target.astype(self.config.dtype),
                "name": f"sample_{index}.avi"}


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
        ranks = {"rank": distributed.rank(), "world_size": distributed.world_size()} if split == "train" else {}
        return Loader(Dataset(self.config), batch_size=self.config.train.batch_size, shuffle=split == "train",
                      drop_last=True, workers=self.config.train.workers, seed=self.config.seed, **ranks)

    def optimizer(self, network, steps_per_epoch):
        total = self.config.train.epochs * (steps_per_epoch // self.config.train.accumulate)
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
