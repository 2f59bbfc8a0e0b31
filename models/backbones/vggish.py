"""VGGish: 0.96 s of log-mel -> 128 numbers.

Paper: Hershey et al., "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017. Weights and names:
harritaylor/torchvggish f3f9096 (``vggish-10086976.pth``). That port has a ReLU after the last layer which the
TensorFlow original lacks (its issue 24); AVSBench is trained with it, so it stays.

Shapes: n patches of 96 frames (10 ms) by 64 mel bands.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import paddle
from paddle import nn

from models.layers import Conv2D

WIDTHS = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M")  # M: a 2x2 max pooling
UPSTREAM_DROPPED: tuple[str, ...] = (r"^pproc\.",)  # PCA of the post-processing, read by pca_from_upstream


def upstream_name(name: str) -> str:
    """Our names are torchvggish's."""
    return name


class VGGish(nn.Layer):
    """``[n, 1, 96, 64]`` log-mel -> ``[n, 128]``, not negative.

    Args:
        widths: of the convolutions, with "M" for a pooling; four poolings leave 6 x 4 positions.
        hidden: width of the two hidden linear layers.
    """

    def __init__(self, *, widths: Sequence[int | str] = WIDTHS, hidden: int = 4096):
        super().__init__()
        layers, channels = [], 1
        for width in widths:
            if width == "M":
                layers.append(nn.MaxPool2D(2, stride=2))
            else:
                layers += [Conv2D(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
        self.features = nn.Sequential(*layers)
        self.embeddings = nn.Sequential(nn.Linear(channels * 24, hidden), nn.ReLU(), nn.Linear(hidden, hidden),
                                        nn.ReLU(), nn.Linear(hidden, 128), nn.ReLU())

    def forward(self, log_mel):
        """``log_mel [n, 1, 96, 64]``, natural logarithm of magnitudes -> ``[n, 128]``."""
        return self.embeddings(self.flat(log_mel))

    def flat(self, log_mel):
        """What the linear layers see: ``[n, 12288]``, in TensorFlow's order (channels last)."""
        return self.features(log_mel).transpose([0, 2, 3, 1]).flatten(1)  # from n 512 6 4

    def freeze(self) -> VGGish:
        """No gradients, eval mode: how AVSBench uses it."""
        for parameter in self.parameters():
            parameter.stop_gradient = True
        self.eval()
        return self


def postprocess(embeddings, eigen_vectors, means):
    """AudioSet's post-processing: PCA, clamp to [-2, 2], 256 levels.

    Args:
        embeddings: ``[n, 128]``.
        eigen_vectors: ``[128, 128]``; means: ``[128]`` or ``[128, 1]``.

    Returns:
        Whole numbers 0..255 as floats, ``[n, 128]``, or ``[128]`` for a single patch (the original squeezes).
    """
    applied = paddle.matmul(embeddings - means.reshape([1, -1]), eigen_vectors, transpose_y=True)
    levels = paddle.round((paddle.clip(applied, -2.0, 2.0) + 2.0) * 63.75)  # half to even, as in PyTorch
    return levels.squeeze(0) if levels.shape[0] == 1 else levels


def pca_from_upstream(state: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvectors ``[128, 128]`` and means ``[128]`` of ``vggish_pca_params-970ea276.pth`` or of ``pproc.*`` entries.

    Raises:
        ValueError: if they are absent or of another shape.
    """
    found = {}
    for name, size in (("pca_eigen_vectors", 128 * 128), ("pca_means", 128)):
        array = state.get(name, state.get(f"pproc.{name}"))
        if array is None or np.size(array) != size:
            held = "absent" if array is None else f"of shape {list(np.shape(array))}"
            raise ValueError(f"the PCA parameters need {name} with {size} values; it is {held}")
        found[name] = np.asarray(array)
    return found["pca_eigen_vectors"].reshape(128, 128), found["pca_means"].reshape(128)
