"""AVSBench's audio-visual segmentation network in PyTorch, as OpenNLPLab/AVSBench f7414af computes it.

Names of modules and parameters are the original's; TPAVI is in the quadratic form (every position against every
position) and the residual units rectify in place. Compare with ``models/avs.py``, which has the collapsed form.
"""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from alignment.reference.avs_backbones import PyramidVisionTransformerV2, TwoBranchResNet

WIDTHS = {"resnet": (256, 512, 1024, 2048), "pvt": (64, 128, 320, 512)}
CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class AVSNet(nn.Module):
    """Upstream's ``Pred_endecoder``. Arguments as ``models.avs.AVSNet``."""

    def __init__(self, *, backbone="resnet", channel=256, num_frames=5, tpavi_stages=(0, 1, 2, 3), vv=False, va=True,
                 drop_path=0.1, head=(128, 32), pvt=None):
        super().__init__()
        self.num_frames, self.stages, self.vv, self.va = num_frames, tuple(tpavi_stages), vv, va
        pvt = pvt or {}
        if backbone == "resnet":
            self.resnet = TwoBranchResNet()
        else:
            self.encoder_backbone = PyramidVisionTransformerV2(drop_path_rate=drop_path, **pvt)
        widths = pvt.get("embed_dims", WIDTHS[backbone])
        for k in (4, 3, 2, 1):
            setattr(self, f"conv{k}", DilatedSum(widths[k - 1], channel))
        for k in (4, 3, 2, 1):
            setattr(self, f"path{k}", FeatureFusionBlock(channel))
        for stage in self.stages:
            setattr(self, f"tpavi_b{stage + 1}", TPAVI(in_channels=channel, mode="dot"))
        self.output_conv = nn.Sequential(
            nn.Conv2d(channel, head[0], 3, padding=1), Upsample2(), nn.Conv2d(head[0], head[1], 3, padding=1),
            nn.ReLU(), nn.Conv2d(head[1], 1, 1))

    def forward(self, image, audio=None):
        features = self.encoder_backbone(image) if hasattr(self, "encoder_backbone") else self.resnet(image)
        maps = [getattr(self, f"conv{k + 1}")(feature) for k, feature in enumerate(features)]
        audio_features = [None] * 4
        for stage in self.stages:
            maps[stage], audio_features[stage] = self.attend(maps[stage], audio, stage)
        x = self.path4(maps[3])
        x = self.path3(x, maps[2])
        x = self.path2(x, maps[1])
        x = self.path1(x, maps[0])
        return self.output_conv(x), maps, audio_features

    def attend(self, x, audio, stage):
        block, T = getattr(self, f"tpavi_b{stage + 1}"), self.num_frames
        BT, C, H, W = x.shape
        x = x.view(BT // T, T, C, H, W).permute(0, 2, 1, 3, 4).contiguous()
        total, count, feature = torch.zeros_like(x), 0, None
        if self.vv:
            z, _ = block(x)
            total, count = total + z, count + 1
        if self.va:
            z, feature = block(x, audio.view(-1, T, audio.shape[-1]))
            total, count = total + z, count + 1
        total = total / count
        return total.permute(0, 2, 1, 3, 4).reshape(BT, C, H, W), feature


class TPAVI(nn.Module):
    """Temporal pixel-wise audio-visual interaction; ``x [B, C, T, H, W]`` (or ``C, H, W`` / ``C, T``)."""

    def __init__(self, *, in_channels, inter_channels=None, mode="dot", dimension=3, bn_layer=True):
        super().__init__()
        self.mode, self.dimension = mode, dimension
        self.inter_channels = inter_channels or max(in_channels // 2, 1)
        conv, C, K = CONV[dimension], in_channels, self.inter_channels
        self.align_channel = nn.Linear(128, C)
        self.norm_layer = nn.LayerNorm(C)
        self.g = conv(C, K, 1)
        if bn_layer:
            self.W_z = nn.Sequential(conv(K, C, 1), NORM[dimension](C))
            nn.init.constant_(self.W_z[1].weight, 0)
            nn.init.constant_(self.W_z[1].bias, 0)
        else:
            self.W_z = conv(K, C, 1)
            nn.init.constant_(self.W_z.weight, 0)
            nn.init.constant_(self.W_z.bias, 0)
        if mode != "gaussian":
            self.theta, self.phi = conv(C, K, 1), conv(C, K, 1)
        if mode == "concatenate":
            self.W_f = nn.Sequential(nn.Conv2d(2 * K, 1, 1), nn.ReLU())

    def forward(self, x, audio=None):
        B, C = x.shape[:2]
        feature = 0
        if audio is None:
            other = x
        else:
            feature = self.align_channel(audio)  # B T C
            other = feature.transpose(1, 2)  # B C T
            if self.dimension == 2:
                other = other.reshape(B, C, 1, 1)
            elif self.dimension == 3:
                other = other[..., None, None]
            other = other.expand_as(x)
        g = self.g(x).flatten(2).transpose(1, 2)  # B N K
        if self.mode == "gaussian":
            theta, phi = x.flatten(2).transpose(1, 2), other.flatten(2)
        else:
            theta, phi = self.theta(x).flatten(2).transpose(1, 2), self.phi(other).flatten(2)  # B N K, B K N
        if self.mode == "concatenate":
            N = theta.shape[1]
            pairs = torch.cat([theta.transpose(1, 2)[..., None].expand(-1, -1, N, N),
                               phi[:, :, None].expand(-1, -1, N, N)], 1)  # B 2K N N
            f = self.W_f(pairs)[:, 0]
        else:
            f = torch.matmul(theta, phi)  # B N N
        f = F.softmax(f, -1) if self.mode in ("gaussian", "embedded") else f / f.shape[-1]
        y = torch.matmul(f, g).transpose(1, 2).reshape(B, self.inter_channels, *x.shape[2:])
        z = (self.W_z(y) + x).movedim(1, -1)
        return self.norm_layer(z).movedim(-1, 1), feature


class DilatedSum(nn.Module):
    """Upstream's ``Classifier_Module``: the sum of 3x3 convolutions with dilation 3, 6, 12, 18."""

    def __init__(self, channels, out):
        super().__init__()
        self.conv2d_list = nn.ModuleList(nn.Conv2d(channels, out, 3, padding=d, dilation=d) for d in (3, 6, 12, 18))
        for conv in self.conv2d_list:
            conv.weight.data.normal_(0, 0.01)

    def forward(self, x):
        out = self.conv2d_list[0](x)
        for conv in self.conv2d_list[1:]:
            out = out + conv(x)
        return out


class FeatureFusionBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.resConfUnit1 = ResidualConvUnit(channels)
        self.resConfUnit2 = ResidualConvUnit(channels)

    def forward(self, *inputs):
        output = inputs[0]
        if len(inputs) == 2:
            output = output + self.resConfUnit1(inputs[1])
        output = self.resConfUnit2(output)
        return F.interpolate(output, scale_factor=2, mode="bilinear", align_corners=True)


class ResidualConvUnit(nn.Module):
    """The ReLU is in place: the skip adds, and the caller's map becomes, the rectified value."""

    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        x = F.relu_(x)
        out = F.relu(self.conv1(x))
        return self.conv2(out) + x


class Upsample2(nn.Module):
    def forward(self, x):
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
