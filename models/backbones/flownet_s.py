"""FlowNetS: optical flow of a pair of images.

Paper: Dosovitskiy et al., "FlowNet: Learning Optical Flow with Convolutional Networks", ICCV 2015. Two published
forms: ``full`` of github.com/ClementPinard/FlowNetPytorch (also with batch norm), whose parameter names are kept, and
``slim`` of the article's repository, 3/8 as wide and with a bias in every layer.

Six strided levels halve the pair; a decoder climbs back to a quarter of the input. At level k it joins the encoder's
map, its own upsampled map and the upsampled flow of level k + 1, and predicts the flow there.
"""
from __future__ import annotations

from collections.abc import Sequence

import paddle
import paddle.nn.functional as F
from paddle import nn

from models.layers import BatchNorm2D, Conv2D, conv2d
from models.layers.init import constant_, normal_, torch_default_

SLIM = (24, 48, 96, 192, 192, 384)
FULL = (64, 128, 256, 512, 512, 1024)
FLOW_UNIT = 20.0  # the network predicts flow in units of 20 pixels of its input
SLOPE = 0.1


class FlowNetS(nn.Layer):
    """``[N, 6, H, W]`` (current image, key image) -> flows at 1/4, 1/8, ... 1/64 of the input.

    Args:
        channels: widths of the six encoder levels.
        decoder_bias: biases in predictors and transposed convolutions (the slim form has them, the full has not).
        batch_norm: normalise the encoder's convolutions, which then have no bias.
    """

    def __init__(self, *, channels: Sequence[int] = FULL, decoder_bias: bool = False, batch_norm: bool = False):
        super().__init__()
        c1, c2, c3, c4, c5, c6 = channels
        for name, cin, cout, kernel, stride in (
                ("conv1", 6, c1, 7, 2), ("conv2", c1, c2, 5, 2), ("conv3", c2, c3, 5, 2), ("conv3_1", c3, c3, 3, 1),
                ("conv4", c3, c4, 3, 2), ("conv4_1", c4, c4, 3, 1), ("conv5", c4, c5, 3, 2),
                ("conv5_1", c5, c5, 3, 1), ("conv6", c5, c6, 3, 2), ("conv6_1", c6, c6, 3, 1)):
            setattr(self, name, _convolution(cin, cout, kernel, stride, batch_norm))
        bias = None if decoder_bias else False
        joined = c6  # channels entering level k's upsamplers
        self.predict_flow6 = Conv2D(c6, 2, 3, padding=1, bias_attr=bias)
        for level, skip, width in ((5, c5, c4), (4, c4, c3), (3, c3, c2), (2, c2, c1)):
            deconvolution = nn.Conv2DTranspose(joined, width, 4, stride=2, padding=1, bias_attr=bias)
            setattr(self, f"deconv{level}", nn.Sequential(deconvolution, Leaky()))
            setattr(self, f"upsampled_flow{level + 1}_to_{level}",
                    nn.Conv2DTranspose(2, 2, 4, stride=2, padding=1, bias_attr=bias))
            joined = skip + width + 2
            setattr(self, f"predict_flow{level}", Conv2D(joined, 2, 3, padding=1, bias_attr=bias))
        self.last_channels = joined

    def forward(self, pair):
        """(flow2, flow3, flow4, flow5, flow6), each ``[N, 2, h, w]``, x then y, in units of 20 input pixels."""
        return self.decode(self.conv1(pair))[0]

    def key_half(self, key):
        """The part of the first convolution that reads the key image: ``[N, 3, H, W]`` -> ``[N, c1, H/2, W/2]``.

        A key image serves several frames, so this is computed once for all of them.
        """
        return F.conv2d(key, self.conv1[0].weight[:, 3:], stride=2, padding=3)

    def first_level(self, current, key_half):
        """``conv1`` of the pair, from the current image and :meth:`key_half` of the other."""
        first = self.conv1[0]
        x = conv2d(current, first.weight[:, :3], first.bias, stride=2, padding=3) + key_half
        for layer in list(self.conv1)[1:]:
            x = layer(x)
        return x

    def decode(self, level1):
        """``conv1``'s output -> (the five flows, the last joined map ``[N, last_channels, H/4, W/4]``)."""
        level2 = self.conv2(level1)
        level3 = self.conv3_1(self.conv3(level2))
        level4 = self.conv4_1(self.conv4(level3))
        level5 = self.conv5_1(self.conv5(level4))
        joined = self.conv6_1(self.conv6(level5))
        flows = [self.predict_flow6(joined)]
        for level, skip in ((5, level5), (4, level4), (3, level3), (2, level2)):
            flow = crop_like(getattr(self, f"upsampled_flow{level + 1}_to_{level}")(flows[0]), skip)
            up = crop_like(getattr(self, f"deconv{level}")(joined), skip)
            joined = paddle.concat([skip, up, flow], 1)
            flows.insert(0, getattr(self, f"predict_flow{level}")(joined))
        return tuple(flows), joined

    def init_weights(self, published: str = "full") -> None:
        """Start as published: ``full`` kaiming normal (a = 0.1) and zero biases, ``slim`` PyTorch's defaults."""
        for layer in self.sublayers():
            if not isinstance(layer, nn.Conv2D | nn.Conv2DTranspose):
                continue
            if published == "slim":
                torch_default_(layer)
                continue
            fan_in = layer.weight.shape[1] * layer.weight.shape[2] * layer.weight.shape[3]
            normal_(layer.weight, (2.0 / ((1 + SLOPE**2) * fan_in)) ** 0.5)
            if layer.bias is not None:
                constant_(layer.bias, 0.0)


class Leaky(nn.Layer):
    """Leaky ReLU of slope 0.1.

    Outside training as a PReLU of constant slopes: fusing the operator ``leaky_relu`` with a convolution crashes
    oneDNN in Paddle 3.3, and of the operators it does not fuse this is the fastest.
    """

    def forward(self, x):
        return F.leaky_relu(x, SLOPE) if self.training else F.prelu(x, paddle.full([x.shape[1]], SLOPE, x.dtype))


def _convolution(cin: int, cout: int, kernel: int, stride: int, batch_norm: bool) -> nn.Sequential:
    convolution = Conv2D(cin, cout, kernel, stride=stride, padding=kernel // 2,
                            bias_attr=False if batch_norm else None)
    norm = [BatchNorm2D(cout)] if batch_norm else []
    return nn.Sequential(convolution, *norm, Leaky())


@paddle.jit.not_to_static  # it looks at what is known while tracing
def crop_like(x, like):
    """Cut ``x`` at its end to the sides of ``like``: a level of odd size was rounded up on the way down.

    The slim original pads nothing and cuts one line at the start too, which is the same function.
    """
    if all(side >= 0 for side in (*x.shape[2:], *like.shape[2:])):
        return x if x.shape[2:] == like.shape[2:] else x[:, :, :like.shape[2], :like.shape[3]]
    size = paddle.shape(like)
    return x[:, :, :size[2], :size[3]]
