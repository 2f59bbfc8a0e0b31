"""Batch normalization whose running statistics follow PyTorch.

Paddle averages the *biased* batch variance into the running variance, PyTorch the unbiased one (n / (n - 1)).
The outputs of a training step agree, the states drift apart: 25 % per update at four values a channel.
Paddle also keeps the momentum as float32, which leaves 7e-9 in a float64 run. Both are mended here.
"""
from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import nn


class _TorchStatistics:
    """Mixed into Paddle's layers: the batch statistics come from the fast kernel, the averages are ours.

    Parameter names are Paddle's (``weight bias _mean _variance``); ``momentum`` is Paddle's too: 0.9 keeps
    nine tenths of the old value (PyTorch calls that 0.1).
    """

    unbiased = True  # False: the biased variance of Paddle's own layer, for recipes published with it

    def forward(self, x):
        """Normalize ``x [N, C, ...]`` over all axes but the second; shape and dtype are kept.

        Raises:
            ValueError: in training, when a channel has one value only (its variance would be 0).
        """
        if not self.training or self._use_global_stats:
            if x.dtype == paddle.float64:
                return self._normalize(x, self._mean, self._variance)[0]
            return F.batch_norm(x, self._mean, self._variance, self.weight, self.bias, training=False,
                                epsilon=self._epsilon)
        count = x.size // x.shape[1]
        if count < 2:
            raise ValueError(f"batch norm in training needs more than one value per channel, got input {x.shape}")
        if x.dtype == paddle.float64:
            y, batch_mean, batch_variance = self._normalize(x)
        else:
            batch_mean, batch_variance = paddle.zeros_like(self._mean), paddle.ones_like(self._variance)
            # With momentum 0 the kernel leaves exactly this batch's statistics in the two buffers.
            y = F.batch_norm(x, batch_mean, batch_variance, self.weight, self.bias, training=True, momentum=0.0,
                             epsilon=self._epsilon)
        self.track(batch_mean, batch_variance, count)
        return y

    @paddle.no_grad()
    def track(self, batch_mean, batch_variance, count: int) -> None:
        """Move the running statistics towards a batch's ``[C]`` mean and biased variance over ``count`` values."""
        correction = count / (count - 1) if self.unbiased else 1.0
        new = 1.0 - self._momentum
        self._mean.set_value(self._mean * self._momentum + batch_mean * new)
        self._variance.set_value(self._variance * self._momentum + batch_variance * (new * correction))

    def _normalize(self, x, mean=None, variance=None):
        """The definition in float64, by given statistics or the batch's: output, mean ``[C]``, biased variance ``[C]``.

        The kernel keeps epsilon as float32: 4e-13, which batch statistics amplify to some 1e-9 in the gradients of a
        deep network. One row a channel: Paddle broadcasts along a middle axis four to eight times more slowly.
        """
        batch, channels = x.shape[0], x.shape[1]
        rows = x.reshape([batch, channels, -1]).transpose([1, 0, 2]).reshape([channels, -1])
        mean = rows.mean(1, keepdim=True) if mean is None else mean.reshape([channels, 1])
        centred = rows - mean
        variance = (centred * centred).mean(1, keepdim=True) if variance is None else variance.reshape([channels, 1])
        y = centred / paddle.sqrt(variance + self._epsilon)
        if self.weight is not None:
            y = y * self.weight.reshape([channels, 1])
        if self.bias is not None:
            y = y + self.bias.reshape([channels, 1])
        y = y.reshape([channels, batch, -1]).transpose([1, 0, 2]).reshape(x.shape)
        return y, mean.reshape([-1]), variance.reshape([-1])


class BatchNorm1D(_TorchStatistics, nn.BatchNorm1D):
    """Over ``[N, C]`` or ``[N, C, L]``."""


class BatchNorm2D(_TorchStatistics, nn.BatchNorm2D):
    """Over ``[N, C, H, W]``."""


class BatchNorm3D(_TorchStatistics, nn.BatchNorm3D):
    """Over ``[N, C, T, H, W]``."""


def batch_norms(network: nn.Layer) -> list[nn.Layer]:
    """Every batch norm of ``network``, in registration order."""
    return [layer for layer in network.sublayers(include_self=True) if isinstance(layer, _TorchStatistics)]
