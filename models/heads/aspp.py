"""DeepLabV3+ head: atrous spatial pyramid pooling and the low-level path.

Chen et al., "Encoder-Decoder with Atrous Separable Convolution", ECCV 2018, in the form of
VainF/DeepLabV3Plus-Pytorch, whose parameter names these are.
"""
from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn

from models.layers import BatchNorm2D, Conv2D, resize
from models.layers.init import kaiming_normal_


class DeepLabHeadV3Plus(nn.Layer):
    """Pyramid on the coarse features, enlarged, joined with reduced fine features, classified.

    Args:
        in_channels: of the coarse features.
        low_channels: of the fine features.
        num_classes: outputs.
        rates: dilations of the three 3x3 branches: 6, 12, 18 at output stride 16, the double at 8.
    """

    def __init__(self, *, in_channels: int = 2048, low_channels: int = 256, num_classes: int = 1,
                 rates: Sequence[int] = (6, 12, 18)):
        super().__init__()
        self.project = conv_bn_relu(low_channels, 48, 1)
        self.aspp = ASPP(in_channels=in_channels, rates=rates)
        self.classifier = nn.Sequential(*conv_bn_relu(48 + 256, 256, 3, padding=1), Conv2D(256, num_classes, 1))

    def forward(self, low, x):
        """Fine ``[B, 256, H/4, W/4]`` and coarse ``[B, 2048, h, w]`` features -> logits at the fine size."""
        low, x = self.project(low), self.aspp(x)
        return self.classifier(paddle.concat([low, resize(x, low.shape[2:])], 1))

    def init_weights(self) -> None:
        """Kaiming normal by fan_in; the class convolution's bias keeps PyTorch's uniform default."""
        for layer in self.sublayers():
            if isinstance(layer, nn.Conv2D):
                kaiming_normal_(layer.weight, "fan_in")


class ASPP(nn.Layer):
    """Five views of the features: 1x1, three dilations, the image's mean; 256 channels each, merged to 256."""

    def __init__(self, *, in_channels: int, rates: Sequence[int]):
        super().__init__()
        self.convs = nn.LayerList([
            conv_bn_relu(in_channels, 256, 1),
            *(conv_bn_relu(in_channels, 256, 3, padding=rate, dilation=rate) for rate in rates),
            ImagePooling(in_channels)])
        self.project = nn.Sequential(*conv_bn_relu(5 * 256, 256, 1), nn.Dropout(0.1))

    def forward(self, x):
        return self.project(paddle.concat([branch(x) for branch in self.convs], 1))


class ImagePooling(nn.Sequential):
    """Mean over the image, a 1x1 convolution, spread over the map again."""

    def __init__(self, in_channels: int):
        super().__init__(_Mean(), *conv_bn_relu(in_channels, 256, 1))

    def forward(self, x):
        mean = super().forward(x)  # B 256 1 1; enlarging one pixel by whatever rule repeats it
        return mean + paddle.zeros_like(x[:, :1])  # not expand: sizes may be unknown in a static graph


class _Mean(nn.Layer):
    """Mean over the image. The backward pass of Paddle's adaptive pooling divides in float32 (2e-8 in float64)."""

    def forward(self, x):
        return x.mean([2, 3], keepdim=True)


def conv_bn_relu(in_channels: int, out_channels: int, kernel: int, **options) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU."""
    return nn.Sequential(Conv2D(in_channels, out_channels, kernel, bias_attr=False, **options),
                         BatchNorm2D(out_channels), nn.ReLU())
