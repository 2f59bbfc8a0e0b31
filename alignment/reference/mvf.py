"""MVFNet in PyTorch, as whwu95/MVFNet 0ddc7e2 computes it: three Conv3D on the transposed clip, full-size testing head.

The names of modules and parameters are the original's. Compare with ``models/mvf.py``: what differs is dialect
(``axis``/``dim``) and the two fast forms (merged depthwise convolutions, pooling before the classifier).
"""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from alignment.reference.resnet import ResNet


class MVFNet(nn.Module):
    """Arguments as ``models.mvf.MVFNet``."""

    def __init__(self, *, num_classes, num_frames, depth=50, alpha=0.125, fused_stages=(0, 0, 1, 1), mode="THW",
                 share=False, activate=True, dropout=0.5, init_std=0.01, backbone=None):
        super().__init__()
        self.num_frames = num_frames
        self.backbone = ResNet(depth=depth, **(backbone or {}))
        for stage, fused in enumerate(fused_stages):
            if fused:
                for block in getattr(self.backbone, f"layer{stage + 1}"):
                    block.conv1 = MultiViewFusion(block.conv1, num_frames=num_frames, alpha=alpha, mode=mode,
                                                  share=share, activate=activate)
        self.cls_head = SegmentHead(self.backbone.channels[-1], num_classes, dropout=dropout)

    def forward(self, frames, full_size=False):
        count, height, width = frames.shape[1], frames.shape[3], frames.shape[4]
        x = frames.reshape(-1, 3, height, width)  # B M 3 H W -> N 3 H W
        features = self.backbone(x)[-1]  # N C h w
        if full_size:
            return self.cls_head.forward_full_size(features, self.num_frames)
        return self.cls_head(features, count if self.training else self.num_frames)


class MultiViewFusion(nn.Module):
    """Three depthwise Conv3D over ``[B, F, T, H, W]``, summed; then norm and hard-swish."""

    def __init__(self, net, *, num_frames, alpha, mode, share, activate):
        super().__init__()
        self.num_frames, self.mode, self.share, self.activate = num_frames, mode, share, activate
        self.channels = fused = int(net.in_channels * alpha)
        self.net = net
        if fused == 0:
            return
        self.shift_conv = nn.Conv3d(fused, fused, (3, 1, 1), padding=(1, 0, 0), groups=fused, bias=False)
        self.bn = nn.BatchNorm3d(fused)
        if not share:
            if "H" in mode:
                self.h_conv = nn.Conv3d(fused, fused, (1, 3, 1), padding=(0, 1, 0), groups=fused, bias=False)
            if "W" in mode:
                self.w_conv = nn.Conv3d(fused, fused, (1, 1, 3), padding=(0, 0, 1), groups=fused, bias=False)

    def forward(self, x):
        return self.net(self.fuse(x))

    def fuse(self, x):
        if self.channels == 0:
            return x
        images, channels, height, width = x.shape
        clips = x.view(-1, self.num_frames, channels, height, width).transpose(1, 2)  # B C T H W
        fused, rest = clips[:, :self.channels], clips[:, self.channels:]
        out = self.shift_conv(fused)
        if "H" in self.mode:
            out = out + (self._shared(fused, 3) if self.share else self.h_conv(fused))
        if "W" in self.mode:
            out = out + (self._shared(fused, 4) if self.share else self.w_conv(fused))
        if self.activate:
            # Contiguous, because the CPU gradient of batch norm in PyTorch 2.13 is wrong on transposed tensors whose
            # maps are 1x1: it disagrees with the numeric derivative of PyTorch's own forward.
            out = self.bn(out.contiguous())
            out = out * F.relu6(out + 3) / 6
        out = torch.cat([out, rest], 1)
        return out.transpose(1, 2).reshape(images, channels, height, width)

    def _shared(self, fused, axis):
        """The kernel along T, applied along another axis by swapping the two."""
        return self.shift_conv(fused.transpose(2, axis)).transpose(2, axis)


class SegmentHead(nn.Module):
    def __init__(self, channels, num_classes, *, dropout):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.new_fc = nn.Linear(channels, num_classes)

    def forward(self, features, frames):
        x = F.adaptive_avg_pool2d(features, 1).flatten(1)
        scores = self.new_fc(self.dropout(x))
        return scores.view(-1, frames, scores.shape[1]).mean(1)

    def forward_full_size(self, features, frames):
        """A 1x1x1 convolution with the classifier's weights on every place, then the mean."""
        _, channels, height, width = features.shape
        clips = features.view(-1, frames, channels, height, width).transpose(1, 2)
        maps = F.conv3d(clips, self.new_fc.weight[:, :, None, None, None], self.new_fc.bias)
        return maps.mean((2, 3, 4))


def average_clips(logits, kind):
    """The original's average over all rows of the batch."""
    if kind is None:
        return logits
    return (F.softmax(logits, 1) if kind == "prob" else logits).mean(0, keepdim=True)
