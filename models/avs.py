"""AVSNet: which pixels make the sound. TPAVI and a convolutional decoder over ResNet-50 or PVTv2.

Paper: Zhou et al., "Audio-Visual Segmentation", ECCV 2022. Original: OpenNLPLab/AVSBench f7414af (``avs_s4/model``,
``avs_ms3/model``; the two networks are the same code).

B videos of T frames, N = B * T images, C channels, K = C / 2 inner channels of TPAVI, P = T * h * w positions.
Images -> four backbone maps (stride 4, 8, 16, 32) -> 256 channels each by dilated convolutions -> TPAVI mixes in
the sound (one vector of 128 per frame) on chosen stages -> fused from coarse to fine -> one logit per pixel.

The original compares every position with every position: P x P numbers, 1 GB a video at 224 x 224. The sound of a
frame is one vector, so that matrix has T distinct columns; written with them (``TPAVI``) nothing larger than the map
exists and the result is the same.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from models.backbones.pvt_v2 import PVTv2
from models.backbones.resnet import ResNet
from models.layers import BatchNorm1D, BatchNorm2D, BatchNorm3D, Conv2D, conv2d, resize
from models.layers.enlarged import doubled_conv
from models.layers.init import constant_, normal_, torch_default_
from models.layers.row_attention import relu_attention, softmax_attention

UPSTREAM_DROPPED: tuple[str, ...] = ()
MODES = ("gaussian", "embedded", "dot", "concatenate")
AUDIO = 128  # numbers VGGish gives for a frame's sound


def upstream_name(name: str) -> str:
    """Our parameter names are the original's but for the ResNet stages that it has twice."""
    for stage in ("layer3", "layer4"):
        name = name.replace(f"resnet.{stage}.", f"resnet.{stage}_1.")
    return name


class AVSNet(nn.Layer):
    """The original's ``Pred_endecoder``.

    Args:
        backbone: ``resnet`` (ResNet-50) or ``pvt`` (PVTv2-B5 unless ``pvt`` says otherwise).
        channel: width of the decoder.
        num_frames: T, frames of a video in a batch (5 in the original).
        tpavi_stages: 0-based stages where the sound enters; none: the sound is unused.
        vv, va: attention of the frames to themselves and to the sound; both: their mean.
        drop_path: stochastic depth of PVTv2.
        pvt: arguments of ``PVTv2`` other than B5's.
        head: widths of the two hidden convolutions before the logits (the original's are fixed).

    Raises:
        ValueError: for an unknown backbone or stage, or stages without ``vv`` and ``va``.
    """

    def __init__(self, *, backbone: str = "resnet", channel: int = 256, num_frames: int = 5,
                 tpavi_stages: Sequence[int] = (0, 1, 2, 3), vv: bool = False, va: bool = True,
                 drop_path: float = 0.1, pvt: Mapping | None = None, head: Sequence[int] = (128, 32)):
        super().__init__()
        if backbone not in ("resnet", "pvt"):
            raise ValueError(f"backbone {backbone!r}: expected resnet or pvt")
        if not set(tpavi_stages) <= {0, 1, 2, 3}:
            raise ValueError(f"tpavi_stages {list(tpavi_stages)}: stages are 0 (finest) to 3")
        if tpavi_stages and not (vv or va):
            raise ValueError("tpavi_stages are given but both vv and va are off: switch one on or name no stage")
        self.num_frames, self.tpavi_stages, self.vv, self.va = num_frames, tuple(tpavi_stages), vv, va
        if backbone == "resnet":
            self.resnet = TwoBranchResNet()
        else:
            self.encoder_backbone = PVTv2(drop_path=drop_path, **(pvt or {}))
        widths = self.backbone.channels
        for k in (4, 3, 2, 1):
            setattr(self, f"conv{k}", DilatedSum(widths[k - 1], channel))
        for k in (4, 3, 2, 1):
            setattr(self, f"path{k}", FusionBlock(channel, doubled=k > 1))
        freeze(self.path4.resConfUnit1)  # path4 has one input: in every checkpoint, never run
        for stage in self.tpavi_stages:
            setattr(self, f"tpavi_b{stage + 1}", TPAVI(in_channels=channel))
        # The original doubles the map after path1 and between the first two convolutions; here they do it themselves.
        self.output_conv = nn.Sequential(
            DoubledConv2D(channel, head[0], align_corners=True), nn.Identity(),
            DoubledConv2D(head[0], head[1], align_corners=False), nn.ReLU(), Conv2D(head[1], 1, 1))
        for layer in (self.output_conv[0], self.output_conv[2], self.output_conv[4]):
            torch_default_(layer)

    @property
    def backbone(self) -> nn.Layer:
        return self.resnet if hasattr(self, "resnet") else self.encoder_backbone

    def forward(self, image, audio=None):
        """Logits and what the semantic-aware loss looks at.

        Args:
            image: ``[N, 3, H, W]`` normalised RGB, the T frames of a video one after another; H, W multiples of 32.
            audio: ``[N, 128]`` VGGish features; may be absent where no stage uses them.

        Returns:
            logits ``[N, 1, H, W]``; four rectified maps ``[N, C, h, w]``, finest first; for each stage the sound in
            the map's channels ``[B, T, C]``, or None.

        Raises:
            ValueError: for sizes that do not fit, or sound that is needed and absent.
        """
        self._check(image, audio)
        maps = [getattr(self, f"conv{k + 1}")(feature) for k, feature in enumerate(self.backbone(image))]
        sounds = [None] * 4
        for stage in self.tpavi_stages:
            maps[stage], sounds[stage] = self.attend(stage, maps[stage], audio)
        # The original rectifies the maps in place inside its residual units, so the loss and the skips see them so.
        maps = [F.relu(x) for x in maps]
        x = self.path4(maps[3])  # N C H/16 W/16
        x = self.path3(x, maps[2])
        x = self.path2(x, maps[1])
        x = self.path1(x, maps[0])  # N C H/4 W/4
        return self.output_conv(x), maps, sounds

    def attend(self, stage: int, x, audio):
        """TPAVI of one stage on ``x [N, C, h, w]`` -> the same shape, and the sound ``[B, T, C]`` or None."""
        block, T = getattr(self, f"tpavi_b{stage + 1}"), self.num_frames
        C, h, w = x.shape[1:]
        tokens = x.transpose([0, 2, 3, 1]).reshape([-1, T * h * w, C])  # B P C
        results, sound = [], None
        if self.vv:
            results.append(block.attend(tokens)[0])
        if self.va:
            z, sound = block.attend(tokens, audio.reshape([-1, T, AUDIO]))
            results.append(z)
        z = results[0] if len(results) == 1 else (results[0] + results[1]) / 2
        return z.reshape([-1, h, w, C]).transpose([0, 3, 1, 2]), sound

    def _check(self, image, audio) -> None:
        if not paddle.in_dynamic_mode():
            return
        N, _, H, W = image.shape
        if H % 32 or W % 32:
            raise ValueError(f"images of {H}x{W}: height and width must be multiples of 32 (the decoder doubles maps)")
        if not self.tpavi_stages:
            return
        if N % self.num_frames:
            raise ValueError(f"{N} images are no whole number of videos of {self.num_frames} frames")
        if self.va and (audio is None or audio.shape[0] != N):
            found = "none" if audio is None else f"{audio.shape[0]} vectors"
            raise ValueError(f"{N} images need {N} sound vectors, got {found}")


class TPAVI(nn.Layer):
    """Temporal pixel-wise audio-visual interaction, at a cost linear in the number of positions.

    The original: theta_i, phi_j, g_j from 1x1 convolutions (phi of the sound repeated over its frame's pixels),
    y_i = sum_j f(theta_i, phi_j) g_j, z = LayerNorm(W_z(y) + x). Here W_z(y_i) = s_i . V + c with few columns of s:

    * with sound: phi has one value a frame, so g_j is summed per frame first: s_i is ``[T]``;
    * without, mode dot: a product of three matrices, read from the other end: s_i = x_i;
    * without, other modes: s_i = y_i, computed in row chunks.

    Batch norm needs mean and variance of s . V + c only; both follow from those of s, so it becomes a scale of V and
    a shift. Every equality is exact; what differs is rounding.

    Args:
        in_channels: C. inter_channels: K, by default C // 2.
        mode: ``gaussian``, ``embedded`` (softmax), ``dot`` or ``concatenate`` (divided by P).
        dimension: 3 for ``[B, C, T, H, W]``, 2 for ``[B, C, H, W]`` (one sound vector), 1 for ``[B, C, T]``.
        bn_layer: batch norm after W_z, starting at 0; without it W_z itself starts at 0.

    Raises:
        ValueError: for an unknown mode or dimension.
    """

    def __init__(self, *, in_channels: int = 256, inter_channels: int | None = None, mode: str = "dot",
                 dimension: int = 3, bn_layer: bool = True):
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"TPAVI mode {mode!r}: expected one of {', '.join(MODES)}")
        if dimension not in (1, 2, 3):
            raise ValueError(f"TPAVI dimension {dimension}: expected 1, 2 or 3")
        conv = {1: nn.Conv1D, 2: nn.Conv2D, 3: nn.Conv3D}[dimension]
        norm = {1: BatchNorm1D, 2: BatchNorm2D, 3: BatchNorm3D}[dimension]
        C, K = in_channels, inter_channels or max(in_channels // 2, 1)
        self.mode, self.dimension, self.bn_layer = mode, dimension, bn_layer
        self.align_channel = nn.Linear(AUDIO, C)
        self.norm_layer = nn.LayerNorm(C)
        self.g = conv(C, K, 1)
        self.W_z = nn.Sequential(conv(K, C, 1), norm(C)) if bn_layer else conv(K, C, 1)
        if mode != "gaussian":
            self.theta, self.phi = conv(C, K, 1), conv(C, K, 1)
        if mode == "concatenate":
            self.W_f = nn.Sequential(nn.Conv2D(2 * K, 1, 1), nn.ReLU())
        for layer in self.sublayers():
            if isinstance(layer, nn.Linear | nn.Conv1D | nn.Conv2D | nn.Conv3D):
                torch_default_(layer)
        last = self.W_z[1] if bn_layer else self.W_z
        constant_(last.weight, 0.0)
        constant_(last.bias, 0.0)

    def forward(self, x, audio=None):
        """``x [B, C, T, H, W]`` (or of fewer axes), ``audio [B, T, 128]`` or None -> z like x, sound ``[B, T, C]``."""
        z, sound = self.attend(x.flatten(2).transpose([0, 2, 1]), audio)
        return z.transpose([0, 2, 1]).reshape(x.shape), sound

    def attend(self, x, audio=None):
        """The same on tokens ``x [B, P, C]``, frames outermost in P."""
        if audio is None:
            scores, values, shift, covariance = self._itself(x)
            sound = None
        else:
            sound = self.align_channel(audio)  # B T C
            scores, values, shift, covariance = self._sound(x, sound)
        if self.bn_layer:
            values, shift = self._normalised(scores, values, shift, covariance)
        return self.norm_layer(affine(scores, values, shift) + x), sound

    def _sound(self, x, sound):
        """s ``[B, P, T]``, V ``[B, T, C]``, c, None: attention to the T sounds of a video."""
        T = sound.shape[1]
        means = frame_means(x, T)  # B T C
        values = F.linear(apply(self.g, means), matrix(self._out).t())  # B T C: g and W_z commute with the mean
        if self.mode == "gaussian":
            scores = F.softmax(paddle.matmul(x, sound, transpose_y=True), axis=-1)
        elif self.mode == "concatenate":
            of_theta, of_phi = self._pair_weights()
            alpha = paddle.matmul(x, matrix(self.theta).t() @ of_theta) + self.theta.bias @ of_theta  # B P 1
            beta = paddle.matmul(apply(self.phi, sound), of_phi) + self.W_f[0].bias  # B T 1
            scores = F.relu(alpha + beta.transpose([0, 2, 1])) / T
        else:
            phi = apply(self.phi, sound)  # B T K
            keys = paddle.matmul(phi, matrix(self.theta))  # B T C: theta_i . phi_t = x_i . key_t + constant_t
            constant = paddle.matmul(phi, self.theta.bias.unsqueeze(1)).transpose([0, 2, 1])  # B 1 T
            scores = paddle.matmul(x, keys, transpose_y=True) + constant
            scores = F.softmax(scores, axis=-1) if self.mode == "embedded" else scores / T
        return scores, values, self._out.bias, None

    def _itself(self, x):
        """s, V, c and, where it is known, the covariance of s: attention of the positions to each other."""
        if self.mode == "dot":
            mean, covariance = moments(x)  # B 1 C, B C C
            # sum_j phi_j g_j / P, from the covariance of x and the means.
            inner = matrix(self.phi) @ covariance @ matrix(self.g).t()
            inner = inner + paddle.matmul(apply(self.phi, mean), apply(self.g, mean), transpose_x=True)  # B K K
            inner = paddle.matmul(inner, matrix(self._out).t())  # B K C
            shift = paddle.matmul(self.theta.bias.unsqueeze(0), inner) + self._out.bias  # B 1 C
            return x, paddle.matmul(matrix(self.theta).t(), inner), shift, (mean, covariance)
        g = apply(self.g, x)
        if self.mode == "concatenate":
            of_theta, of_phi = self._pair_weights()
            alpha = paddle.matmul(apply(self.theta, x), of_theta) + self.W_f[0].bias
            y = relu_attention(alpha, paddle.matmul(apply(self.phi, x), of_phi), g)
        elif self.mode == "gaussian":
            y = softmax_attention(x, x, g)
        else:
            y = softmax_attention(apply(self.theta, x), apply(self.phi, x), g)
        return y, matrix(self._out).t().unsqueeze(0), self._out.bias, None

    def _normalised(self, scores, values, shift, covariance):
        """Batch norm of s . V + c folded into V and c."""
        norm = self.W_z[1]
        if self.training:
            of_scores, covariance = covariance or moments(scores)
            means = paddle.matmul(of_scores, values) + shift  # B 1 C
            mean = means.mean([0, 1])
            within = (values * paddle.matmul(covariance, values)).sum(1)  # B C
            variance = within.mean(0) + ((means - mean) ** 2).mean([0, 1])
            norm.track(mean.detach(), variance.detach(), scores.shape[0] * scores.shape[1])
        else:
            mean, variance = norm._mean, norm._variance
        scale = norm.weight / paddle.sqrt(variance + norm._epsilon)
        return values * scale, (shift - mean) * scale + norm.bias

    @property
    def _out(self) -> nn.Layer:
        return self.W_z[0] if self.bn_layer else self.W_z

    def _pair_weights(self):
        """The two halves of W_f, ``[K, 1]`` each: for theta and for phi."""
        weight = self.W_f[0].weight.reshape([-1, 1])
        K = weight.shape[0] // 2
        return weight[:K], weight[K:]


def matrix(conv: nn.Layer):
    """The weight of a 1x1 convolution as ``[out, in]``."""
    return conv.weight.flatten(1)


def apply(conv: nn.Layer, x):
    """A 1x1 convolution on channels-last ``x``."""
    return F.linear(x, matrix(conv).t(), conv.bias)


def affine(scores, values, shift):
    """s . V + c; c is one more row of V, as adding ``[B, 1, C]`` to ``[B, P, C]`` is many times slower on a CPU."""
    shift = shift.reshape([-1, 1, values.shape[-1]]).expand([values.shape[0], 1, values.shape[-1]])
    return paddle.matmul(paddle.concat([scores, paddle.ones_like(scores[..., :1])], -1),
                         paddle.concat([values, shift], 1))


def frame_means(x, T: int):
    """``x [B, T * n, C]`` -> ``[B, T, C]``; as a product, which is faster on a CPU than a mean over a middle axis."""
    n, C = x.shape[1] // T, x.shape[2]
    frames = x.reshape([-1, n, C])
    return (paddle.matmul(paddle.full([1, n], 1.0, x.dtype), frames) / n).reshape([-1, T, C])


def moments(x):
    """Mean ``[B, 1, R]`` and biased covariance ``[B, R, R]`` of ``x [B, P, R]`` over P."""
    mean = x.mean(1, keepdim=True)
    centred = x - mean
    return mean, paddle.matmul(centred, centred, transpose_x=True) / x.shape[1]


class DilatedSum(nn.Layer):
    """Sum of four 3x3 convolutions, dilation 3, 6, 12, 18; ``[N, C, h, w]`` -> ``[N, out, h, w]``."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.conv2d_list = nn.LayerList([Conv2D(channels, out, 3, padding=d, dilation=d) for d in (3, 6, 12, 18)])
        for conv in self.conv2d_list:
            torch_default_(conv)
            normal_(conv.weight, 0.01)

    def forward(self, x):
        parts, centres = [], []
        for conv in self.conv2d_list:
            weight, padding = self._inside(conv, x)
            if padding == [0, 0]:
                centres.append((weight, conv.bias))
            else:
                parts.append(conv2d(x, weight, conv.bias, padding=padding, dilation=conv._dilation))
        if centres:  # convolutions of the centre only are one convolution
            weights, biases = zip(*centres, strict=True)
            parts.append(conv2d(x, sum(weights), sum(biases)))
        return sum(parts)

    @staticmethod
    def _inside(conv, x):
        """The taps that can meet the map: those a dilation >= its side away see padding only."""
        dilation = conv._dilation[0]
        if not paddle.in_dynamic_mode():  # the size is not known yet
            return conv.weight, [dilation, dilation]
        tall, wide = x.shape[2] > dilation, x.shape[3] > dilation
        rows, columns = (slice(None) if wanted else slice(1, 2) for wanted in (tall, wide))
        weight = conv.weight if tall and wide else conv.weight[:, :, rows, columns]
        return weight, [dilation * tall, dilation * wide]


class FusionBlock(nn.Layer):
    """``coarse`` plus the refined ``fine`` map (if given), refined, and ``doubled`` in size."""

    def __init__(self, channels: int, *, doubled: bool = True):
        super().__init__()
        self.resConfUnit1 = ResidualUnit(channels)
        self.resConfUnit2 = ResidualUnit(channels)
        self.upscale = Double(align_corners=True) if doubled else nn.Identity()

    def forward(self, coarse, fine=None):
        x = coarse if fine is None else coarse + self.resConfUnit1(fine)
        return self.upscale(self.resConfUnit2(F.relu(x)))


class ResidualUnit(nn.Layer):
    """Two 3x3 convolutions around a ReLU, added to a map that is already rectified (the original does it in place)."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = Conv2D(channels, channels, 3, padding=1)
        self.conv2 = Conv2D(channels, channels, 3, padding=1)
        torch_default_(self.conv1)
        torch_default_(self.conv2)

    def forward(self, rectified):
        return self.conv2(F.relu(self.conv1(rectified))) + rectified


class Double(nn.Layer):
    """Bilinear, to twice the height and width."""

    def __init__(self, *, align_corners: bool):
        super().__init__()
        self.align_corners = align_corners

    def forward(self, x):
        return resize(x, scale_factor=2, align_corners=self.align_corners)


class DoubledConv2D(Conv2D):
    """3x3 convolution of the input doubled in size, at a fraction of the cost of making that."""

    def __init__(self, channels: int, out: int, *, align_corners: bool):
        super().__init__(channels, out, 3, padding=1)
        self.align_corners = align_corners

    def forward(self, x):
        return doubled_conv(x, self.weight, self.bias, align_corners=self.align_corners)


class TwoBranchResNet(ResNet):
    """ResNet-50 with the original's second copy of stages 3 and 4: in every checkpoint, never run, never trained."""

    def __init__(self):
        super().__init__(depth=50, out_stages=(0, 1, 2, 3))
        self.init_weights()
        spare = ResNet(depth=50)
        spare.init_weights()
        self.layer3_2, self.layer4_2 = freeze(spare.layer3), freeze(spare.layer4)


def freeze(layer: nn.Layer) -> nn.Layer:
    """No gradients for a layer that takes no part."""
    for parameter in layer.parameters():
        parameter.stop_gradient = True
    return layer


def resnet_from_torchvision(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """torchvision's ResNet-50 under the original's backbone names: both branches start from the same values."""
    renamed = {}
    for name, array in state.items():
        stage = name.split(".", 1)[0]
        if stage in ("layer3", "layer4"):
            for branch in ("_1", "_2"):
                renamed[name.replace(stage, stage + branch, 1)] = array
        elif stage != "fc":
            renamed[name] = array
    return renamed
