"""Difference-aware fusion of MiVOS: which of two results to believe, pixel by pixel.

Cheng, Tai, Tang, CVPR 2021, section 3.3; hkchengrex/MiVOS f2600a6 ``model/fusion_net.py``. Parameter names are
upstream's. Between two frames the user touched there is an earlier result and a new propagation; the attention maps
say where the new interaction added and removed something.
"""
from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import nn

from models.layers import Conv2D
from models.layers.init import torch_default_
from models.mivos.aggregation import aggregate_wbg_channel

UPSTREAM_DROPPED = ()


class FusionNet(nn.Layer):
    """Six 3x3 convolutions with two residual sums, at full resolution."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Sequential(Conv2D(9, 32, 3, padding=1), nn.ReLU())
        self.conv2 = nn.Sequential(Conv2D(32, 32, 3, padding=1), nn.ReLU(), Conv2D(32, 32, 3, padding=1))
        self.conv3 = nn.Sequential(Conv2D(32, 32, 3, padding=1), nn.ReLU(), Conv2D(32, 32, 3, padding=1))
        self.final_conv = Conv2D(32, 1, 3, padding=1)

    def forward(self, image, seg1, seg2, attention, time):
        """Logits ``[B, 1, H, W]`` of one object.

        Args:
            image: ``[B, 3, H, W]``, normalised.
            seg1, seg2: ``[B, 1, H, W]``, earlier result and new propagation in [0, 1].
            attention: ``[B, 2, H, W]``, added and removed.
            time: ``[B, 2]``, distance to the frame of the earlier and to that of the new interaction, as shares.
        """
        time = time.unsqueeze([2, 3]) + paddle.zeros_like(image[:, :1])  # B 2 H W, of sizes unknown to a static graph
        x = self.conv1(paddle.concat([image, seg1, seg2, attention, time], 1))
        x = F.relu(x + self.conv2(x))
        x = F.relu(x + self.conv3(x))
        return self.final_conv(x)

    def init_weights(self) -> None:
        """PyTorch's default for convolutions."""
        for layer in self.sublayers():
            if isinstance(layer, nn.Conv2D):
                torch_default_(layer)


def aggregate_objects(logits, selector):
    """Training form: one logit map ``[B, 1, H, W]`` per object -> (log-odds, distribution), ``[B, 1 + K, H, W]``.

    ``selector [B, K]`` of 0 and 1 says which objects a sample has.
    """
    return aggregate_wbg_channel(F.sigmoid(paddle.concat(logits, 1)) * selector.unsqueeze([2, 3]))


def upstream_name(name: str) -> str:
    """Our parameter name -> upstream's: the same."""
    return name
