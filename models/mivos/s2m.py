"""Scribble to mask (S2M): DeepLabV3+ on image, current mask and scribbles.

Cheng, Tai, Tang, CVPR 2021, section 3.1; hkchengrex/Scribble-to-Mask 2b55b23 (the same network as in MiVOS).
Parameter names are upstream's.
"""
from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from models.backbones.resnet import ResNet
from models.heads.aspp import DeepLabHeadV3Plus
from models.layers import resize
from models.layers.init import torch_default_
from models.mivos.aggregation import aggregate_wbg, pad_amounts

UPSTREAM_DROPPED = ()


class S2M(nn.Layer):
    """ResNet-50 with a dilated last stage and the DeepLabV3+ head.

    Args:
        num_classes: outputs; 1.
        output_stride: 16 (published) or 8.
        depth, base_channels: of the ResNet; 50 and 64 in published weights, less for miniatures.

    Raises:
        ValueError: for another output stride.
    """

    def __init__(self, *, num_classes: int = 1, output_stride: int = 16, depth: int = 50,
                 base_channels: int = 64):
        super().__init__()
        if output_stride not in (8, 16):
            raise ValueError(f"S2M output_stride {output_stride}: expected 8 or 16")
        fine = output_stride == 8
        self.backbone = ResNet(depth=depth, in_channels=6, base_channels=base_channels, out_stages=(0, 3),
                               contract_dilation=True,
                               strides=(1, 2, 1, 1) if fine else (1, 2, 2, 1),
                               dilations=(1, 1, 2, 4) if fine else (1, 1, 1, 2))
        low, *_, high = self.backbone.channels
        self.classifier = DeepLabHeadV3Plus(in_channels=high, low_channels=low, num_classes=num_classes,
                                            rates=(12, 24, 36) if fine else (6, 12, 18))

    def forward(self, x):
        """Logits ``[B, 1, H, W]`` of ``x [B, 6, H, W]``.

        Channels: the normalised image, this object's mask, its scribbles, scribbles of anything else (each 0 or 1).
        """
        low, high = self.backbone(x)
        return resize(self.classifier(low, high), x.shape[2:])

    def init_weights(self) -> None:
        """As upstream before the Pascal VOC weights are loaded."""
        self.backbone.init_weights()
        torch_default_(self.classifier.classifier[3])
        self.classifier.init_weights()


@paddle.no_grad()
def scribbles_to_mask(network, image: np.ndarray, labels: np.ndarray, objects: int, draw, *, displaced: bool = False):
    """One interaction: the mask of every object on a frame, from its scribbles and its current mask.

    Args:
        network: S2M in eval mode.
        image: ``[3, H, W]``, normalised.
        labels: ``[H, W]``, the current result (0 is background).
        objects: how many there are.
        draw: called with a height and a width, gives scribble maps ``[objects, 2, height, width]`` (own, others').
        displaced: draw at the padded size, as upstream does: scribbles are then off by up to half the padding (5
            pixels in 854). For equality with published numbers only.

    Returns:
        logits ``[K, 1, H', W']`` and the nearly one-hot distribution ``[K + 1, 1, H', W']``, both padded; the padding.
    """
    amounts = pad_amounts(*image.shape[1:])
    left, right, top, bottom = amounts
    border = ((top, bottom), (left, right))
    padded = np.pad(image, ((0, 0), *border))
    current = np.pad(labels, border)
    maps = draw(*padded.shape[1:]) if displaced else np.pad(draw(*image.shape[1:]), ((0, 0), (0, 0), *border))
    logits = []
    for i in range(objects):
        channels = np.concatenate([padded, (current == i + 1)[None], maps[i]]).astype(image.dtype)
        logits.append(network(paddle.to_tensor(channels[None])))
    logits = paddle.concat(logits)
    return logits.numpy(), aggregate_wbg(F.sigmoid(logits), keep_bg=True, hard=True).numpy(), amounts


def upstream_name(name: str) -> str:
    """Our parameter name -> upstream's: the same."""
    return name
