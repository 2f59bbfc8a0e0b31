"""Precise batch norm: running statistics as the plain average over many batches of the current weights."""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import paddle
from paddle import nn

from engine import distributed
from models.layers import batch_norms


@paddle.no_grad()
def update_statistics(network: nn.Layer, batches: Iterable[Any], forward: Callable[[Any], Any], *, count: int,
                      unbiased: bool = False) -> int:
    """Replace running means and variances by the averages of the batches' own ones (weights stay).

    The moving average of training lags behind the weights; PaddleMVF recomputes it every fifth epoch this way
    (PaddleVideo's ``do_preciseBN``, after Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021).

    Args:
        network: batch norms that are in training mode and not frozen are updated; it stays in training mode.
        batches: gives at least one batch; only the first ``count`` are used.
        forward: runs the network on a batch, the result is dropped.
        count: number of batches to average over, e.g. ``min(200, len(loader))``.
        unbiased: average n / (n - 1) times the batch variances; the published recipe averages the biased ones.

    Returns:
        the number of batches used (of this process; with several the averages are over all).

    Raises:
        ValueError: if there is no batch.
    """
    layers = [layer for layer in batch_norms(network) if layer.training and not layer._use_global_stats]
    if not layers:
        return 0
    sums = [(paddle.zeros_like(layer._mean), paddle.zeros_like(layer._variance)) for layer in layers]
    used = 0
    with _storing_one_batch(layers, unbiased):
        for _, batch in zip(range(count), batches, strict=False):
            forward(batch)
            used += 1
            for layer, (mean, variance) in zip(layers, sums, strict=True):
                paddle.assign(mean + layer._mean, mean)
                paddle.assign(variance + layer._variance, variance)
    if not used:
        raise ValueError("precise batch norm needs at least one batch, the loader gave none")
    distributed.average([total for pair in sums for total in pair])
    for layer, (mean, variance) in zip(layers, sums, strict=True):
        layer._mean.set_value(mean / used)
        layer._variance.set_value(variance / used)
    return used


@contextlib.contextmanager
def _storing_one_batch(layers: list[nn.Layer], unbiased: bool) -> Iterator[None]:
    """Inside, each forward pass leaves its own batch's statistics alone in the running ones."""
    kept = [(layer._momentum, layer.unbiased) for layer in layers]
    try:
        for layer in layers:
            layer._momentum, layer.unbiased = 0.0, unbiased
        yield
    finally:
        for layer, (momentum, was_unbiased) in zip(layers, kept, strict=True):
            layer._momentum, layer.unbiased = momentum, was_unbiased
