"""Gradient clipping: each class, called with the parameters that have a gradient, scales the gradients in place."""
from __future__ import annotations

from dataclasses import dataclass

import paddle
from paddle import Tensor


@dataclass(frozen=True)
class GlobalNorm:
    """``torch.nn.utils.clip_grad_norm_``: all gradients times max_norm / (norm + 1e-6) where that is below 1."""

    max_norm: float

    def __call__(self, parameters: list[Tensor]) -> None:
        if parameters:
            _scale(parameters, (self.max_norm / (global_norm(parameters) + 1e-6)).clip(max=1.0))


@dataclass(frozen=True)
class PaddleGlobalNorm:
    """``paddle.nn.ClipGradByGlobalNorm``: all gradients times max_norm / max(norm, max_norm)."""

    max_norm: float

    def __call__(self, parameters: list[Tensor]) -> None:
        if parameters:
            _scale(parameters, self.max_norm / global_norm(parameters).clip(min=self.max_norm))


@dataclass(frozen=True)
class PerTensorNorm:
    """``paddle.nn.ClipGradByNorm``, here for float64 too: each gradient by itself to a norm of at most max_norm."""

    max_norm: float

    def __call__(self, parameters: list[Tensor]) -> None:
        for parameter in parameters:
            norm = _norm(parameter.grad)
            _scale([parameter], self.max_norm / norm.clip(min=self.max_norm))


@dataclass(frozen=True)
class Value:
    """``torch.nn.utils.clip_grad_value_``: each entry into -max_value .. max_value."""

    max_value: float

    def __call__(self, parameters: list[Tensor]) -> None:
        for parameter in parameters:
            with paddle.no_grad():
                paddle.assign(parameter.grad.clip(-self.max_value, self.max_value), parameter.grad)


def global_norm(parameters: list[Tensor]) -> Tensor:
    """Euclidean norm of all gradients together, 0-d; taken over the tensors' norms as PyTorch does."""
    if not parameters:
        return paddle.zeros([])
    norms = [_norm(parameter.grad) for parameter in parameters]
    widest = paddle.float64 if any(norm.dtype == paddle.float64 for norm in norms) else paddle.float32
    return _norm(paddle.stack([norm.astype(widest) for norm in norms]))


@paddle.no_grad()
def _norm(x: Tensor) -> Tensor:
    """Euclidean norm, 0-d, at least float32.

    ``paddle.linalg.norm`` (3.3, CPU) adds one square after the other: 9e-4 off for two million float32 numbers, and
    twenty times slower than a sum, which adds in a tree.
    """
    if x.dtype not in (paddle.float32, paddle.float64):
        x = x.astype("float32")  # squares of float16 overflow
    return (x * x).sum().sqrt()


@paddle.no_grad()
def _scale(parameters: list[Tensor], factor: Tensor) -> None:
    for parameter in parameters:
        parameter.grad.multiply_(factor.astype(parameter.grad.dtype))
