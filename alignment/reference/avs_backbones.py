"""The original's backbones in PyTorch: ResNet-50 with its unused second branch, PVTv2, VGGish.

OpenNLPLab/AVSBench f7414af (``avs_s4/model/ResNet_AVSModel.py``, ``pvt.py``) and harritaylor/torchvggish f3f9096.
"""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class Bottleneck(nn.Module):
    def __init__(self, channels, width, stride, downsample):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * 4)
        self.downsample = downsample

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class TwoBranchResNet(nn.Module):
    """``B2_ResNet``: ``layer3_2`` and ``layer4_2`` are in every checkpoint and never run."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = stage(64, 64, 3, 1)
        self.layer2 = stage(256, 128, 4, 2)
        self.layer3_1, self.layer4_1 = stage(512, 256, 6, 2), stage(1024, 512, 3, 2)
        self.layer3_2, self.layer4_2 = stage(512, 256, 6, 2), stage(1024, 512, 3, 2)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x1 = self.layer1(x)
        x2 = self.layer2(x1)
        x3 = self.layer3_1(x2)
        return [x1, x2, x3, self.layer4_1(x3)]


def stage(channels, width, blocks, stride):
    shortcut = nn.Sequential(nn.Conv2d(channels, width * 4, 1, stride=stride, bias=False), nn.BatchNorm2d(width * 4))
    return nn.Sequential(Bottleneck(channels, width, stride, shortcut),
                         *(Bottleneck(width * 4, width, 1, None) for _ in range(blocks - 1)))


class PyramidVisionTransformerV2(nn.Module):
    def __init__(self, *, embed_dims=(64, 128, 320, 512), num_heads=(1, 2, 5, 8), mlp_ratios=(4, 4, 4, 4),
                 depths=(3, 6, 40, 3), sr_ratios=(8, 4, 2, 1), drop_path_rate=0.1):
        super().__init__()
        rates = [rate.item() for rate in torch.linspace(0, drop_path_rate, sum(depths))]
        channels, first = 3, 0
        for k, dim in enumerate(embed_dims):
            setattr(self, f"patch_embed{k + 1}", PatchEmbed(channels, dim, 7 if k == 0 else 3, 4 if k == 0 else 2))
            setattr(self, f"block{k + 1}", nn.ModuleList(
                Block(dim, num_heads[k], mlp_ratios[k], sr_ratios[k], rates[first + i]) for i in range(depths[k])))
            setattr(self, f"norm{k + 1}", nn.LayerNorm(dim, eps=1e-6))
            channels, first = dim, first + depths[k]

    def forward(self, x):
        outputs = []
        for k in range(1, 5):
            x, H, W = getattr(self, f"patch_embed{k}")(x)
            for block in getattr(self, f"block{k}"):
                x = block(x, H, W)
            x = getattr(self, f"norm{k}")(x)
            x = x.reshape(x.shape[0], H, W, -1).permute(0, 3, 1, 2).contiguous()
            outputs.append(x)
        return outputs


class PatchEmbed(nn.Module):
    def __init__(self, channels, dim, kernel, stride):
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, kernel, stride=stride, padding=kernel // 2)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x):
        x = self.proj(x)
        H, W = x.shape[2:]
        return self.norm(x.flatten(2).transpose(1, 2)), H, W


class Block(nn.Module):
    def __init__(self, dim, heads, mlp_ratio, sr_ratio, drop_path):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads, sr_ratio)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.rate = drop_path

    def forward(self, x, H, W):
        x = x + self.drop_path(self.attn(self.norm1(x), H, W))
        return x + self.drop_path(self.mlp(self.norm2(x), H, W))

    def drop_path(self, x):
        if self.rate == 0.0 or not self.training:
            return x
        keep = 1 - self.rate
        mask = (keep + torch.rand(x.shape[0], 1, 1, dtype=x.dtype)).floor_()
        return x.div(keep) * mask


class Attention(nn.Module):
    def __init__(self, dim, heads, sr_ratio):
        super().__init__()
        self.heads, self.scale, self.sr_ratio = heads, (dim // heads) ** -0.5, sr_ratio
        self.q, self.kv, self.proj = nn.Linear(dim, dim), nn.Linear(dim, dim * 2), nn.Linear(dim, dim)
        if sr_ratio > 1:
            self.sr = nn.Conv2d(dim, dim, sr_ratio, stride=sr_ratio)
            self.norm = nn.LayerNorm(dim)

    def forward(self, x, H, W):
        N, L, C = x.shape
        q = self.q(x).reshape(N, L, self.heads, -1).permute(0, 2, 1, 3)
        if self.sr_ratio > 1:
            x = self.sr(x.permute(0, 2, 1).reshape(N, C, H, W)).reshape(N, C, -1).permute(0, 2, 1)
            x = self.norm(x)
        k, v = self.kv(x).reshape(N, -1, 2, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        attention = (q @ k.transpose(-2, -1) * self.scale).softmax(-1)
        return self.proj((attention @ v).transpose(1, 2).reshape(N, L, C))


class Mlp(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.dwconv = nn.Module()
        self.dwconv.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x, H, W):
        x = self.fc1(x)
        N, _, C = x.shape
        x = self.dwconv.dwconv(x.transpose(1, 2).reshape(N, C, H, W)).flatten(2).transpose(1, 2)
        return self.fc2(F.gelu(x))


class VGGish(nn.Module):
    """``[n, 1, 96, 64]`` log-mel -> ``[n, 128]``, with the ReLU after the last layer that torchvggish has."""

    def __init__(self, widths=(64, "M", 128, "M", 256, 256, "M", 512, 512, "M"), hidden=4096):
        super().__init__()
        layers, channels = [], 1
        for width in widths:
            if width == "M":
                layers.append(nn.MaxPool2d(2, 2))
            else:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
        self.features = nn.Sequential(*layers)
        self.embeddings = nn.Sequential(nn.Linear(channels * 24, hidden), nn.ReLU(), nn.Linear(hidden, hidden),
                                        nn.ReLU(), nn.Linear(hidden, 128), nn.ReLU())

    def forward(self, x):
        x = self.features(x)
        return self.embeddings(x.permute(0, 2, 3, 1).reshape(x.shape[0], -1))


def postprocess(embeddings, eigen_vectors, means):
    """PCA, clamp and quantisation to 0..255 of ``[n, 128]``, squeezed."""
    applied = torch.mm(eigen_vectors, embeddings.t() - means).t()
    clipped = torch.clamp(applied, -2.0, 2.0)
    return torch.squeeze(torch.round((clipped - -2.0) * (255.0 / (2.0 - -2.0))))
