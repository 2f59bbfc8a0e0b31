"""Mixed precision on GPUs: autocast and a loss scale. On a CPU Paddle's AMP silently does nothing, so it is refused."""
from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

import paddle
from paddle import Tensor, nn

GROWTH_EVERY = 2000  # good updates after which the loss scale doubles


class Precision:
    """The arithmetic of a run.

    Args:
        level: ``'off'``, ``'O1'`` (float16 where it is safe) or ``'O2'`` (float16 weights, float32 masters).
        scale: loss scale at the start; halved when gradients overflow, doubled after 2000 good updates.

    Raises:
        ValueError: for AMP on a CPU, or a scale that is not positive.
    """

    def __init__(self, level: str, scale: float) -> None:
        self.level = level
        if self.active and not paddle.device.get_device().startswith("gpu"):
            raise ValueError(f"train.amp={level} needs a GPU; this run is on {paddle.device.get_device()}, where "
                             "Paddle would compute in float32 without saying so. Use train.amp=off or --device gpu")
        self.scaler = LossScale(scale) if self.active else None

    @property
    def active(self) -> bool:
        return self.level != "off"

    def prepare(self, network: nn.Layer) -> None:
        """Turn the weights to float16 for level O2; before the optimizer is made."""
        if self.level == "O2":
            paddle.amp.decorate(models=network, level="O2")

    def autocast(self) -> contextlib.AbstractContextManager:
        """The context of forward passes."""
        return paddle.amp.auto_cast(level=self.level) if self.active else contextlib.nullcontext()

    def scaled(self, loss: Tensor) -> Tensor:
        """What to call ``backward`` on."""
        return loss * self.scaler.scale if self.scaler else loss

    def unscale(self, parameters: Iterable[Tensor]) -> bool:
        """Divide the scale out of the gradients; False when they overflowed and the update must be left out."""
        return self.scaler.unscale(parameters) if self.scaler else True

    def state(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"scale": self.scaler.scale, "good": self.scaler.good} if self.scaler else {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up :meth:`state`; one of a run without AMP is ignored."""
        if self.scaler and state:
            self.scaler.scale, self.scaler.good = state["scale"], state["good"]


class LossScale:
    """Dynamic loss scaling (Micikevicius et al., "Mixed Precision Training", 2018)."""

    def __init__(self, scale: float) -> None:
        if scale <= 0:
            raise ValueError(f"the loss scale must be positive, got {scale}")
        self.scale, self.good = float(scale), 0

    @paddle.no_grad()
    def unscale(self, parameters: Iterable[Tensor]) -> bool:
        """Divide the gradients by the scale; False (and a smaller scale) if one of them is not finite."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        finite = all(bool(paddle.isfinite(gradient).all()) for gradient in gradients)
        for gradient in gradients if finite else []:
            gradient.multiply_(paddle.to_tensor(1 / self.scale, gradient.dtype))
        self.good = self.good + 1 if finite else 0
        if not finite:
            self.scale /= 2
        elif self.good == GROWTH_EVERY:
            self.scale, self.good = self.scale * 2, 0
        return finite
