"""Initial values by PyTorch's rules, drawn from Paddle's generator.

Paddle's defaults differ (convolutions N(0, 2/fan_in), linear layers Xavier-uniform, biases 0), so a network
trained from scratch would start elsewhere than its original.
"""
from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator

import paddle
from paddle import nn

_skipped = False


@contextlib.contextmanager
def skipped() -> Iterator[None]:
    """Networks built inside hold zeros instead of random values: for one whose every entry is loaded next.

    Drawing the values of ViT-B/32 takes four times as long as copying them from a file.
    """
    global _skipped
    zero = nn.initializer.Constant(0.0)
    before, _skipped = _skipped, True
    nn.initializer.set_global_initializer(zero, zero)
    try:
        yield
    finally:
        _skipped = before
        if not before:
            nn.initializer.set_global_initializer(None)


def fans(weight, *, linear: bool = False) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight: ``[in, out]`` for a linear layer, else ``[out, in / groups, ...]``."""
    if linear:
        return weight.shape[0], weight.shape[1]
    receptive = math.prod(weight.shape[2:])
    return weight.shape[1] * receptive, weight.shape[0] * receptive


def _fill(parameter, draw: Callable[[], paddle.Tensor]) -> None:
    if not _skipped:
        parameter.set_value(draw())


def normal_(parameter, std: float, mean: float = 0.0) -> None:
    """Fill with N(mean, std**2)."""
    _fill(parameter, lambda: paddle.normal(mean, std, parameter.shape).astype(parameter.dtype))


def uniform_(parameter, bound: float) -> None:
    """Fill with U(-bound, bound)."""
    _fill(parameter, lambda: paddle.uniform(parameter.shape, dtype=parameter.dtype, min=-bound, max=bound))


def constant_(parameter, value: float) -> None:
    """Fill with one value."""
    _fill(parameter, lambda: paddle.full(parameter.shape, value, parameter.dtype))


def trunc_normal_(parameter, std: float, mean: float = 0.0, low: float = -2.0, high: float = 2.0) -> None:
    """Normal values redrawn into [low, high] (absolute bounds, as ``torch.nn.init.trunc_normal_``)."""
    def draw() -> paddle.Tensor:
        lower, upper = (0.5 * (1 + math.erf((bound - mean) / (std * math.sqrt(2)))) for bound in (low, high))
        even = paddle.uniform(parameter.shape, dtype="float64", min=2 * lower - 1, max=2 * upper - 1)
        return paddle.clip(paddle.erfinv(even) * (std * math.sqrt(2)) + mean, low, high).astype(parameter.dtype)
    _fill(parameter, draw)


def kaiming_normal_(parameter, mode: str = "fan_out") -> None:
    """N(0, 2 / fan), the rule of the original ResNets (fan_out) for ReLU networks."""
    fan = fans(parameter)[0 if mode == "fan_in" else 1]
    normal_(parameter, math.sqrt(2.0 / fan))


def torch_default_(layer: nn.Layer) -> None:
    """What ``torch.nn`` gives a convolution or linear layer at construction: U(+-1/sqrt(fan_in)), bias too."""
    bound = 1.0 / math.sqrt(fans(layer.weight, linear=isinstance(layer, nn.Linear))[0])
    uniform_(layer.weight, bound)
    if layer.bias is not None:
        uniform_(layer.bias, bound)


def normal_linears_(network: nn.Layer, std: float) -> None:
    """Every linear layer below ``network``: weight N(0, std**2), bias 0."""
    for layer in network.sublayers():
        if isinstance(layer, nn.Linear):
            normal_(layer.weight, std)
            if layer.bias is not None:
                constant_(layer.bias, 0.0)
