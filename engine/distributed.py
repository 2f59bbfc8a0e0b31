"""One process or several, started by ``python -m paddle.distributed.launch``: who am I, and what do the others have.

Data parallelism is done on the gradients: after the backward pass they are averaged over the processes. Unlike
``paddle.DataParallel`` this asks nothing of the network: it may be called several times in a step, by any of its
methods, and leave parameters unused. With one process every function here does nothing.
"""
from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import paddle
import paddle.distributed as dist
from paddle import Tensor, nn

_BUCKET = 16 * 2 ** 20  # values sent together


def initialize() -> None:
    """Join the other processes, if the launcher started several (gloo on CPU, NCCL on GPU). May be called again."""
    if int(os.environ.get("PADDLE_TRAINERS_NUM", "1")) > 1 and not dist.is_initialized():
        dist.init_parallel_env()


def rank() -> int:
    """Number of this process, 0 .. world_size() - 1."""
    return dist.get_rank()


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size()


def is_main() -> bool:
    """Whether this process writes files and talks."""
    return rank() == 0


@paddle.no_grad()
def broadcast(network: nn.Layer) -> None:
    """Give every process the parameters, buffers and running statistics of rank 0."""
    if world_size() > 1:
        for tensor in network.state_dict().values():
            dist.broadcast(tensor, src=0)


@paddle.no_grad()
def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace each gradient by its mean over the processes.

    A parameter without a gradient in some processes counts as 0 there; without one in all it stays without.
    """
    if world_size() == 1:
        return
    parameters = list(parameters)
    used = paddle.to_tensor([float(p.grad is not None) for p in parameters])
    dist.all_reduce(used, dist.ReduceOp.MAX)
    touched = [p for p, flag in zip(parameters, used.tolist(), strict=True) if flag]
    for parameter in touched:
        if parameter.grad is None:
            parameter.grad = paddle.zeros_like(parameter)
    for bucket in _buckets(touched):
        _average([parameter.grad for parameter in bucket])


@paddle.no_grad()
def average(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by its mean over the processes."""
    if world_size() > 1:
        for bucket in _buckets(list(tensors)):
            _average(bucket)


def mean(values: dict[str, float]) -> dict[str, float]:
    """Mean of each number over the processes, in float64; every process must have the same keys."""
    if world_size() == 1 or not values:
        return values
    total = paddle.to_tensor(list(values.values()), "float64")
    dist.all_reduce(total)
    return dict(zip(values, (total / world_size()).tolist(), strict=True))


def any_of(*flags: bool) -> list[bool]:
    """For each flag whether it is set in any process."""
    if world_size() == 1:
        return list(flags)
    total = paddle.to_tensor([float(flag) for flag in flags])
    dist.all_reduce(total, dist.ReduceOp.MAX)
    return [value > 0 for value in total.tolist()]


def gather(value: Any) -> list[Any]:
    """The picklable ``value`` of every process, in order of rank, in every process."""
    if world_size() == 1:
        return [value]
    values: list[Any] = []
    dist.all_gather_object(values, value)
    return values


def barrier() -> None:
    """Wait for the others."""
    if world_size() > 1:
        dist.barrier()


def _average(tensors: list[Tensor]) -> None:
    flat = paddle.concat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    flat = flat / world_size()
    start = 0
    for tensor in tensors:
        end = start + tensor.size
        paddle.assign(flat[start:end].reshape(tensor.shape), tensor)
        start = end


def _buckets(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    """Runs of tensors of one dtype, of about ``_BUCKET`` values."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and (tensor.dtype != bucket[0].dtype or sum(t.size for t in bucket) + tensor.size > _BUCKET):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket
