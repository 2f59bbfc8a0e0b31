"""The ears of AVSNet: VGGish, frozen, with its features remembered by video.

AVSBench never changes the sound of a clip, so its features are computed once (saves 0.86 GMAC per second of sound in
every epoch). No checkpoint of AVSNet holds VGGish.
"""
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import paddle
from paddle import nn

from models.backbones.vggish import VGGish, postprocess

SILENCE = math.log(0.01)  # the log-mel of no sound


class Listener:
    """Log-mel patches -> features ``[n, 128]``.

    Args:
        vggish: is frozen here.
        pca: eigenvectors and means of AudioSet's post-processing; None for the features themselves, as published.
    """

    def __init__(self, vggish: VGGish, pca: tuple[np.ndarray, np.ndarray] | None = None):
        self.vggish = vggish.freeze()
        self.pca = None if pca is None else tuple(paddle.to_tensor(part.astype("float32")) for part in pca)
        self.known: dict[str, np.ndarray] = {}

    def features(self, log_mel) -> paddle.Tensor:
        """``log_mel [..., 1, 96, 64]`` -> ``[n, 128]``, n the number of patches."""
        with paddle.no_grad():
            found = self.vggish(log_mel.reshape([-1, *log_mel.shape[-3:]]))
            return found if self.pca is None else postprocess(found, *self.pca).reshape([-1, 128])

    def remembered(self, names: Sequence[str], log_mel) -> paddle.Tensor:
        """As :meth:`features` for a batch of named videos ``[B, T, 1, 96, 64]``; each is computed once."""
        new = [index for index, name in enumerate(names) if name not in self.known]
        if new:
            count = log_mel.shape[1]
            found = self.features(paddle.stack([log_mel[index] for index in new])).numpy()
            for place, index in enumerate(new):
                self.known[names[index]] = found[place * count:(place + 1) * count]
        return paddle.to_tensor(np.concatenate([self.known[name] for name in names]))


def random_vggish(seed: int, **options) -> VGGish:
    """A VGGish with He-initialised weights that depend on ``seed`` alone: enough to tell the timbres of a miniature.

    Its last bias takes the answer to silence away. What all sounds have in common is three times as large as what
    tells them apart, and would hide it from a network that is trained for a minute.
    """
    network, rng = VGGish(**options), np.random.default_rng(seed)
    for layer in network.sublayers():
        if isinstance(layer, nn.Linear | nn.Conv2D):
            shape = layer.weight.shape
            fan_in = shape[0] if isinstance(layer, nn.Linear) else int(np.prod(shape[1:]))
            layer.weight.set_value(rng.normal(0, np.sqrt(2 / fan_in), shape).astype("float32"))
            layer.bias.set_value(np.zeros(layer.bias.shape, "float32"))
    with paddle.no_grad():
        common = network.embeddings[:5](network.flat(paddle.full([1, 1, 96, 64], SILENCE)))
    network.embeddings[4].bias.set_value(-common[0])
    return network
