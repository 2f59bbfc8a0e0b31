"""Heads of PSPNet: pyramid pooling, and the auxiliary fully convolutional head.

Papers: Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017; Long et al., "Fully Convolutional Networks", CVPR 2015.
Parameter names are mmsegmentation's (``mmseg/models/decode_heads/{psp_head,fcn_head}.py``, 1.2.2).

PSPNet upsamples four pooled maps of 1, 2, 3 and 6 squares a side, joins them to the backbone's output and convolves
the whole by 3x3. Upsampling and convolution are both linear, so their half of that convolution has a closed form:
multiply the nine taps with the 50 pooled squares, then spread the products by interpolation matrices that are shifted
by a tap. The result is the same (6e-16 in float64), half of the head's multiplications are saved.
"""
from __future__ import annotations

from collections.abc import Sequence

import paddle
import paddle.nn.functional as F
from paddle import nn

from models.layers import BatchNorm2D, Conv2D, resize
from models.layers.pool import AdaptiveAveragePool
from models.layers.warp import sizes


class ConvModule(nn.Layer):
    """Convolution without bias, batch norm, ReLU; sides are kept."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int):
        super().__init__()
        self.conv = Conv2D(in_channels, out_channels, kernel, padding=kernel // 2, bias_attr=False)
        self.bn = BatchNorm2D(out_channels)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class PSPHead(nn.Layer):
    """``[N, C, H, W]`` of the backbone -> class scores ``[N, classes, H, W]``.

    Args:
        in_channels: C.
        width: channels of each pooled map and of the last feature.
        num_classes: of the classifier.
        scales: squares a side of the pooled maps.
        dropout: share of channels dropped before the classifier, in training.
        closed_form: use the closed form above (default) or the plain concatenation.
    """

    def __init__(self, *, in_channels: int, width: int = 512, num_classes: int = 19,
                 scales: Sequence[int] = (1, 2, 3, 6), dropout: float = 0.1, closed_form: bool = True):
        super().__init__()
        self.in_channels, self.scales, self.closed_form = in_channels, tuple(scales), closed_form
        self.conv_seg = Conv2D(width, num_classes, 1)
        self.dropout = nn.Dropout2D(dropout)
        self.psp_modules = nn.LayerList([
            nn.Sequential(AdaptiveAveragePool(scale), ConvModule(in_channels, width, 1)) for scale in scales])
        self.bottleneck = ConvModule(in_channels + len(self.scales) * width, width, 3)

    def forward(self, x):
        return self.classify(self.feature(x))

    def classify(self, feature):
        """``[N, width, H, W]`` -> class scores ``[N, classes, H, W]``."""
        return self.conv_seg(self.dropout(feature))

    def feature(self, x):
        """``[N, C, H, W]`` -> ``[N, width, H, W]``, the input of the classifier."""
        pooled = [module(x) for module in self.psp_modules]
        if self.closed_form:
            weight = self.bottleneck.conv.weight
            mixed = F.conv2d(x, weight[:, :self.in_channels], padding=1)
            mixed = mixed + pyramid_convolution(pooled, weight[:, self.in_channels:], *sizes(x)[2:])
        else:
            spread = [_spread(part, x.shape[2:]) for part in pooled]
            mixed = self.bottleneck.conv(paddle.concat([x, *spread], 1))
        return F.relu(self.bottleneck.bn(mixed))


class FCNHead(nn.Layer):
    """One 3x3 convolution and a classifier: ``[N, C, H, W]`` -> ``[N, classes, H, W]``."""

    def __init__(self, *, in_channels: int, width: int = 256, num_classes: int = 19, dropout: float = 0.1):
        super().__init__()
        self.conv_seg = Conv2D(width, num_classes, 1)
        self.dropout = nn.Dropout2D(dropout)
        self.convs = nn.Sequential(ConvModule(in_channels, width, 3))

    def forward(self, x):
        return self.conv_seg(self.dropout(self.convs(x)))


@paddle.jit.not_to_static  # tracing would evaluate both sides of the ``and`` in ``resize``
def _spread(part, size):
    return resize(part, size)


def pyramid_convolution(pooled: Sequence, weight, height, width):
    """3x3 convolution (padding 1) of the joined bilinear upsamplings of square maps, without making them.

    Args:
        pooled: maps ``[N, C, s, s]``.
        weight: ``[O, C * len(pooled), 3, 3]``.
        height, width: of the output; integers, or 0-d integer tensors in a traced graph.

    Returns:
        ``[N, O, height, width]``.
    """
    out, spread_rows, row_weights = weight.shape[0], [], []
    slices = paddle.split(weight, len(pooled), axis=1)
    for index, part in enumerate(pooled):  # not zip: tracing a static graph does not know its ``strict``
        taps, channels, side = slices[index], part.shape[1], part.shape[2]
        kernels = taps.transpose([2, 3, 0, 1]).reshape([9 * out, channels, 1, 1])
        products = F.conv2d(part, kernels).reshape([-1, 3, 3, out, side, side])  # N ty tx O j i
        products = products.transpose([0, 3, 1, 4, 2, 5]).reshape([-1, out, 3 * side, 3 * side])  # N O ty·j tx·i
        columns = tap_matrix(width, side, part.dtype)
        spread_rows.append(paddle.matmul(products, columns, transpose_y=True))  # N O 3s W
        row_weights.append(tap_matrix(height, side, part.dtype))
    return paddle.matmul(paddle.concat(row_weights, 1), paddle.concat(spread_rows, 2))


def tap_matrix(target, source: int, dtype):
    """``[target, 3 * source]``: row y, tap t holds the weights of the upsampled row y + t - 1, zeros outside.

    Bilinear with half-pixel centres (``align_corners=False``), coordinates in ``dtype``.
    """
    place = paddle.arange(target, dtype=dtype).unsqueeze(1) + paddle.arange(-1, 2, dtype=dtype)  # target 3
    inside = (place >= 0) & (place <= target - 1)
    centre = ((place + 0.5) * source / target - 0.5).clip(0, source - 1)
    weights = F.relu(1 - (centre.unsqueeze(2) - paddle.arange(source, dtype=dtype)).abs())  # target 3 source
    return (weights * inside.unsqueeze(2).astype(dtype)).reshape([-1, 3 * source])
