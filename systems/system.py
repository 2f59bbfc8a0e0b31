"""What a system offers. Everything above this floor (scripts, engine, deploy, alignment) asks for no more."""
from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np
import paddle

from datasets.loader import Loader
from deploy.export import Graph
from deploy.prediction import Prediction
from engine.config import RunConfig
from engine.optimization import Optimizer

Progress = Callable[..., Iterable]  # progress(iterable, title, total): the same items, with a bar


class System(Protocol):
    """One of the six systems, configured. A system with several networks trains, converts and exports the one that its
    configuration names (``part``) and predicts and evaluates with all of them."""

    config: RunConfig
    score: str  # the key of ``evaluate``'s result that decides which checkpoint is best; larger is better

    def network(self) -> paddle.nn.Layer:
        """The network that is trained, initialised as the original does without a file."""

    def initial_weights(self, network: paddle.nn.Layer) -> None:
        """Where training starts: ``config.pretrained`` and backbone files the configuration names. What such a file
        lacks by the recipe (a classifier of another size) is named; everything else must fit."""

    def load_weights(self, network: paddle.nn.Layer, path: str) -> None:
        """A trained network, whole and strictly: our file, or a published one."""

    def dataset(self, split: str) -> Any:
        """The data of ``train``, ``val`` or ``test``."""

    def loader(self, split: str) -> Loader:
        """Batches of that data, sharded over processes."""

    def optimizer(self, network: paddle.nn.Layer, steps_per_epoch: int) -> Optimizer:
        """The recipe's groups, rates and clipping; ``steps_per_epoch`` counts batches, ``train.accumulate`` of which
        make an update."""

    def training_step(self, network: paddle.nn.Layer, batch: dict[str, Any]) -> dict[str, paddle.Tensor]:
        """0-d tensors; ``loss`` is minimised, the others are logged."""

    def evaluate(self, network: paddle.nn.Layer, loader: Loader, progress: Progress) -> dict[str, float]:
        """The metrics of the recipe."""

    def predict(self, network: paddle.nn.Layer, path: str, **options: Any) -> Prediction:
        """The answer for a user's own file."""

    def inference_graphs(self, network: paddle.nn.Layer) -> dict[str, Graph]:
        """The static graphs that export saves, by name."""

    def description(self) -> dict[str, Any]:
        """What ``deploy.yaml`` says beside the graphs: preprocessing, labels, how graphs are chained."""

    def convert(self, upstream: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Entries of a published checkpoint (wrappers removed) under our names, strictly."""
