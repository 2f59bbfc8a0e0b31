"""PVTv2: a pyramid vision transformer with spatially reduced attention.

Paper: Wang et al., "PVT v2: Improved Baselines with Pyramid Vision Transformer", CVMJ 2022. Parameter names are those
of whai362/PVT (``pvt_v2_b5.pth``). Layer norms differ in epsilon: 1e-6 before attention and MLP and after a stage,
1e-5 (the library's default) in the patch embeddings and after the spatial reduction.

Shapes: N images, L = h * w tokens of a stage, D width; stage k has stride 4, 8, 16, 32.
"""
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from models.layers import Conv2D
from models.layers.init import constant_, normal_, trunc_normal_

UPSTREAM_DROPPED: tuple[str, ...] = (r"^head\.",)  # the ImageNet classifier


def upstream_name(name: str) -> str:
    """Our names are the original's."""
    return name


class PVTv2(nn.Layer):
    """The pyramid; the defaults are B5.

    Args:
        embed_dims, num_heads, mlp_ratios, depths: per stage.
        sr_ratios: per stage, by how much keys and values are reduced on each side (1: not at all).
        drop_path: stochastic depth of the last block; it grows linearly from 0 at the first.
    """

    def __init__(self, *, embed_dims: Sequence[int] = (64, 128, 320, 512), num_heads: Sequence[int] = (1, 2, 5, 8),
                 mlp_ratios: Sequence[float] = (4, 4, 4, 4), depths: Sequence[int] = (3, 6, 40, 3),
                 sr_ratios: Sequence[int] = (8, 4, 2, 1), drop_path: float = 0.1):
        super().__init__()
        self.channels = list(embed_dims)
        rates = np.linspace(0.0, drop_path, sum(depths))
        channels, first = 3, 0
        for k, dim in enumerate(embed_dims):
            patch = PatchEmbed(channels, dim, kernel=7 if k == 0 else 3, stride=4 if k == 0 else 2)
            blocks = [Block(dim, num_heads[k], int(dim * mlp_ratios[k]), sr_ratios[k], float(rates[first + index]))
                      for index in range(depths[k])]
            setattr(self, f"patch_embed{k + 1}", patch)
            setattr(self, f"block{k + 1}", nn.LayerList(blocks))
            setattr(self, f"norm{k + 1}", nn.LayerNorm(dim, epsilon=1e-6))
            channels, first = dim, first + depths[k]
        self.init_weights()

    def forward(self, image):
        """``image [N, 3, H, W]`` -> four maps ``[N, D, h, w]``, finest first."""
        outputs, x = [], image
        for k in range(1, len(self.channels) + 1):
            x, h, w = getattr(self, f"patch_embed{k}")(x)  # N L D
            for block in getattr(self, f"block{k}"):
                x = block(x, h, w)
            x = to_map(getattr(self, f"norm{k}")(x), h, w)  # N D h w
            outputs.append(x)
        return outputs

    def init_weights(self) -> None:
        """The original's start: truncated normal (0.02), convolutions N(0, 2 / (fan_out / groups))."""
        for layer in self.sublayers():
            if isinstance(layer, nn.Linear):
                trunc_normal_(layer.weight, 0.02)
                constant_(layer.bias, 0.0)
            elif isinstance(layer, nn.Conv2D):
                out, _, *kernel = layer.weight.shape
                normal_(layer.weight, math.sqrt(2.0 / (out * math.prod(kernel) // layer._groups)))
                constant_(layer.bias, 0.0)


class PatchEmbed(nn.Layer):
    """Overlapping patches: a strided convolution, then a norm; ``[N, C, H, W]`` -> ``[N, L, D], h, w``."""

    def __init__(self, channels: int, dim: int, *, kernel: int, stride: int):
        super().__init__()
        self.proj = Conv2D(channels, dim, kernel, stride=stride, padding=kernel // 2)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x):
        x = self.proj(x)  # N D h w
        h, w = x.shape[2], x.shape[3]
        return self.norm(to_tokens(x)), h, w


class Block(nn.Layer):
    """Attention and MLP, each after a norm and added to its input."""

    def __init__(self, dim: int, heads: int, hidden: int, sr_ratio: int, drop_path: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, epsilon=1e-6)
        self.attn = Attention(dim, heads, sr_ratio)
        self.norm2 = nn.LayerNorm(dim, epsilon=1e-6)
        self.mlp = MLP(dim, hidden)
        self.drop_path = DropPath(drop_path)

    def forward(self, x, h, w):
        x = x + self.drop_path(self.attn(self.norm1(x), h, w))
        return x + self.drop_path(self.mlp(self.norm2(x), h, w))


class DropPath(nn.Layer):
    """Stochastic depth: in training a sample's branch is left out with probability ``rate``, else scaled up."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        if self.rate == 0.0 or not self.training:
            return x
        keep = 1.0 - self.rate
        mask = paddle.floor(keep + paddle.rand([x.shape[0], 1, 1], x.dtype))
        return x / keep * mask


class Attention(nn.Layer):
    """Queries of all tokens against keys and values of a map reduced by ``sr_ratio`` on each side."""

    def __init__(self, dim: int, heads: int, sr_ratio: int):
        super().__init__()
        self.dim, self.heads, self.sr_ratio = dim, heads, sr_ratio
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, dim * 2)
        self.proj = nn.Linear(dim, dim)
        if sr_ratio > 1:
            self.sr = Conv2D(dim, dim, sr_ratio, stride=sr_ratio)
            self.norm = nn.LayerNorm(dim)

    def forward(self, x, h, w):
        """``x [N, L, D]`` with L = h * w -> the same shape."""
        length, width = x.shape[1], self.dim // self.heads
        query_NHLd = self.q(x).reshape([-1, length, self.heads, width]).transpose([0, 2, 1, 3])
        if self.sr_ratio > 1:
            x = self.norm(to_tokens(self.sr(to_map(x, h, w))))  # N l D
        pair = self.kv(x).reshape([-1, x.shape[1], 2, self.heads, width]).transpose([2, 0, 3, 1, 4])
        key_NHld, value_NHld = pair[0], pair[1]
        weight_NHLl = F.softmax(paddle.matmul(query_NHLd * width**-0.5, key_NHld, transpose_y=True), axis=-1)
        out = paddle.matmul(weight_NHLl, value_NHld).transpose([0, 2, 1, 3])  # N L heads d
        return self.proj(out.reshape([-1, length, self.dim]))


class MLP(nn.Layer):
    """Linear, depthwise 3x3 over the map, exact GELU, linear.

    The linear layers work on maps, so that the wide middle is one throughout and never transposed.
    """

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.fc1 = PixelLinear(dim, hidden)
        self.dwconv = DepthwiseConv(hidden)
        self.fc2 = TokensOfMap(hidden, dim)

    def forward(self, x, h, w):
        return self.fc2(F.gelu(self.dwconv(self.fc1(to_map(x, h, w)))))


class PixelLinear(nn.Linear):
    """A linear layer on every pixel of ``[N, D, h, w]``: in a graph a 1x1 convolution, which oneDNN joins to its
    neighbours; otherwise a product, which is faster than Paddle's own convolution."""

    def forward(self, x):
        if not paddle.in_dynamic_mode():
            return F.conv2d(x, self.weight.t().unsqueeze([2, 3]), self.bias)
        out = paddle.matmul(self.weight, x.flatten(2), transpose_x=True) + self.bias.unsqueeze(1)
        return out.reshape([x.shape[0], -1, *x.shape[2:]])


class TokensOfMap(PixelLinear):
    """The same, as tokens ``[N, h * w, D]``."""

    def forward(self, x):
        return to_tokens(super().forward(x))


class DepthwiseConv(nn.Layer):
    """3x3 over each channel's map."""

    def __init__(self, dim: int):
        super().__init__()
        self.dwconv = Conv2D(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x):
        return self.dwconv(x)


def to_tokens(x):
    """``[N, D, h, w]`` -> ``[N, h * w, D]``."""
    return x.flatten(2).transpose([0, 2, 1])


def to_map(x, h, w):
    """``[N, h * w, D]`` -> ``[N, D, h, w]``."""
    return x.transpose([0, 2, 1]).reshape([-1, x.shape[2], h, w])
