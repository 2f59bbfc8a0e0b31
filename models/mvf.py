"""MVFNet: a 2-D ResNet whose blocks look at time through three views.

Paper: Wu et al., "MVFNet: Multi-View Fusion Network for Efficient Video Recognition", AAAI 2021 (arXiv 2012.06977).
Original: whwu95/MVFNet 0ddc7e2, ``codes/models/modules/MVF.py``, ``codes/models/tenons/cls_heads/tsn_clshead.py``,
``codes/models/recognizers/recognizer2d.py``.

Letters: B videos, V views of a video (clips x crops), T frames of a clip, N = B*V*T images, C channels, F fused
channels (the first alpha*C), H W pixels, K classes.

Data flow: frames are folded into the batch and run through a ResNet. Before the first convolution of chosen blocks a
``MultiViewFusion`` mixes the first F channels along time, height and width with three-tap depthwise convolutions. The
head pools each frame, maps it to class scores, and averages the scores over the frames of a clip.
"""
from __future__ import annotations

from collections.abc import Sequence

import paddle
import paddle.nn.functional as F
from paddle import nn

from models.backbones.resnet import ResNet
from models.layers import BatchNorm2D
from models.layers.init import constant_, normal_

MODES = ("THW", "TH", "T")
UPSTREAM_DROPPED = (r"^cls_head\.new_cls\.",)  # a copy of new_fc that the original makes for full-size testing


def upstream_name(name: str) -> str:
    """Our entries have the original's names."""
    return name


class MVFNet(nn.Layer):
    """ResNet with multi-view fusion and a segment-consensus head.

    Args:
        num_classes: K.
        num_frames: T of a clip; the taps along time never cross a clip's border.
        depth: of the ResNet.
        alpha: share of a convolution's input channels that is fused.
        fused_stages: for each of the four stages, whether its blocks are fused.
        mode: which views are summed: ``THW``, ``TH`` or ``T``.
        share: one kernel serves all three views.
        activate: batch norm and hard-swish after the sum (the original's ``use_hs``).
        dropout: on the pooled features of each frame, in training.
        init_std: of the classifier's weights.
        backbone: further options of :class:`~models.backbones.resnet.ResNet`.

    Raises:
        ValueError: for an unknown mode (the original fuses nothing then, silently).
    """

    def __init__(self, *, num_classes: int, num_frames: int, depth: int = 50, alpha: float = 0.125,
                 fused_stages: Sequence[int] = (0, 0, 1, 1), mode: str = "THW", share: bool = False,
                 activate: bool = True, dropout: float = 0.5, init_std: float = 0.01, backbone: dict | None = None):
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"mvf mode {mode!r}: expected one of {', '.join(MODES)}")
        self.num_frames = num_frames

        def wrap_conv1(stage: int, conv: nn.Conv2D) -> nn.Layer:
            if not fused_stages[stage]:
                return conv
            return MultiViewFusion(conv, num_frames=num_frames, alpha=alpha, mode=mode, share=share,
                                   activate=activate)

        self.backbone = ResNet(depth=depth, wrap_conv1=wrap_conv1, **(backbone or {}))
        self.cls_head = SegmentHead(self.backbone.channels[-1], num_classes, dropout=dropout, init_std=init_std)

    def forward(self, frames):
        """Class scores of clips.

        Args:
            frames: ``[B, M, 3, H, W]`` float, normalised; M = V*T frames, view after view.

        Returns:
            logits: in training ``[B, K]``, the mean over all M frames of a video (the original trains on one
            view); in evaluation ``[B*V, K]``, a row per view.

        Raises:
            ValueError: if M is no multiple of T.
        """
        count, height, width = frames.shape[1], frames.shape[3], frames.shape[4]
        if count % self.num_frames:
            raise ValueError(f"{count} frames do not make whole clips of {self.num_frames}")
        x = frames.reshape([-1, 3, height, width])  # B M 3 H W -> N 3 H W
        features = self.backbone(x)[-1]  # N C h w
        return self.cls_head(features, count if self.training else self.num_frames)

    def init_weights(self) -> None:
        """The original's start without a file."""
        self.backbone.init_weights()
        for layer in self.sublayers():
            if isinstance(layer, MultiViewFusion):
                layer.init_weights()
        self.cls_head.init_weights()


class MultiViewFusion(nn.Layer):
    """Wraps a convolution: its first F input channels are fused along time, height and width.

    Names are the original's: ``net`` is the wrapped convolution, ``shift_conv h_conv w_conv`` the depthwise kernels
    along T, H and W, ``bn`` the norm (it exists, unused, without ``activate`` too).

    The sum of three depthwise Conv3D is computed as one 3x3 Conv2D with the H and W taps in a cross, plus one 3x1
    Conv2D along T on the ``[B, F, T, H*W]`` view: the same numbers, half the time on a CPU. Nothing but the F
    channels is ever transposed. The norm over (N, T, H, W) equals a 2-D norm over the folded images.
    """

    def __init__(self, net: nn.Conv2D, *, num_frames: int, alpha: float, mode: str, share: bool, activate: bool):
        super().__init__()
        self.num_frames, self.mode, self.share, self.activate = num_frames, mode, share, activate
        self.channels = fused = int(net._in_channels * alpha)
        self.net = net
        if fused == 0:
            return
        self.shift_conv = DepthwiseKernel([fused, 1, 3, 1, 1])
        self.bn = BatchNorm2D(fused)
        if not share:
            if "H" in mode:
                self.h_conv = DepthwiseKernel([fused, 1, 1, 3, 1])
            if "W" in mode:
                self.w_conv = DepthwiseKernel([fused, 1, 1, 1, 3])

    def forward(self, x):
        """``x [N, C, H, W]``, N a multiple of T -> what the wrapped convolution makes of the fused tensor."""
        return self.net(self.fuse(x))

    def fuse(self, x):
        """``[N, C, H, W]`` -> the same shape, its first F channels replaced."""
        if self.channels == 0:
            return x
        fused, rest = x[:, :self.channels], x[:, self.channels:]
        out = self._views(fused)
        if self.activate:
            out = F.hardswish(self.bn(out))
        return paddle.concat([out, rest], axis=1) if rest.shape[1] else out

    def _views(self, x):
        """Sum of the views of ``x [N, F, H, W]``."""
        channels, (height, width) = self.channels, x.shape[2:]
        time = self.shift_conv.weight.reshape([channels, 1, 3, 1])
        clips = x.reshape([-1, self.num_frames, channels, height * width]).transpose([0, 2, 1, 3])  # B F T HW
        out = F.conv2d(clips, time, padding=[1, 0], groups=channels)
        out = out.transpose([0, 2, 1, 3]).reshape([-1, channels, height, width])  # N F H W
        if self.mode == "T":
            return out
        return out + F.conv2d(x, self._cross(), padding=1, groups=channels)

    def _cross(self):
        """``[F, 1, 3, 3]``: the H taps in the middle column, the W taps in the middle row."""
        rows = (self.shift_conv if self.share else self.h_conv).weight.reshape([self.channels, 1, 3, 1])
        kernel = F.pad(rows, [1, 1, 0, 0])
        if "W" in self.mode:
            columns = (self.shift_conv if self.share else self.w_conv).weight.reshape([self.channels, 1, 1, 3])
            kernel = kernel + F.pad(columns, [0, 0, 1, 1])
        return kernel

    def init_weights(self) -> None:
        """N(0, 2 / (taps * out channels)), as the original; the norm starts at 1 and 0."""
        for name in ("shift_conv", "h_conv", "w_conv"):
            if hasattr(self, name):
                normal_(getattr(self, name).weight, (2.0 / (3 * self.channels)) ** 0.5)


class DepthwiseKernel(nn.Layer):
    """Holds a three-tap kernel ``[F, 1, 3, 1, 1]`` (or along H or W) under the original's name ``.weight``."""

    def __init__(self, shape: list[int]):
        super().__init__()
        self.weight = self.create_parameter(shape, default_initializer=nn.initializer.Normal(
            0.0, (2.0 / (3 * shape[0])) ** 0.5))


class SegmentHead(nn.Layer):
    """Pools each frame, scores it, averages the scores over the frames of a segment."""

    def __init__(self, channels: int, num_classes: int, *, dropout: float, init_std: float):
        super().__init__()
        self.init_std = init_std
        self.dropout = nn.Dropout(dropout)
        self.new_fc = nn.Linear(channels, num_classes)

    def forward(self, features, frames: int):
        """``features [N, C, h, w]`` -> logits ``[N / frames, K]``.

        The original tests with a 1x1x1 convolution on the full map, averaged afterwards. Both maps are affine and
        commute with the mean, so pooling first gives the same numbers at a thousandth of the cost.
        """
        x = self.dropout(features.mean([2, 3]))  # N C
        scores = self.new_fc(x)  # N K
        return scores.reshape([-1, frames, scores.shape[1]]).mean(1)

    def init_weights(self) -> None:
        normal_(self.new_fc.weight, self.init_std)
        constant_(self.new_fc.bias, 0.0)


def average_views(logits, videos: int, kind: str | None):
    """Average the views of each video: ``[B*V, K]`` -> ``[B, K]``, or all rows for None.

    ``score`` averages logits, ``prob`` softmax probabilities. The original averages over the whole batch and can
    test one video at a time only.

    Raises:
        ValueError: for another ``kind``.
    """
    if kind is None:
        return logits
    if kind not in ("score", "prob"):
        raise ValueError(f"average of views {kind!r}: expected score, prob or none")
    scores = F.softmax(logits, axis=-1) if kind == "prob" else logits
    return scores.reshape([videos, -1, logits.shape[-1]]).mean(1)


def inflate_input(weight, channels: int):
    """Kernels of conv1 for flow (10 channels) or RGB differences (15): the mean over RGB, repeated."""
    return paddle.tile(weight.mean(1, keepdim=True), [1, channels, 1, 1])
