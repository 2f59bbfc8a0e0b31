"""CLIP in PyTorch, the way upstream writes it: tokens first, all 77 positions, every token of every block.

The twin of models/backbones/clip.py with none of its short cuts. Entry names are upstream's (openai/CLIP,
clip/model.py; ActionCLIP's copy adds the joint form, the temporal shift and the dropout options).
"""
from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import nn


class QuickGELU(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class DropPath(nn.Module):
    """timm's rule on tokens-first tensors: one draw per index of axis 0, so per token position."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        if not self.rate or not self.training:
            return x
        keep = 1 - self.rate
        draw = torch.rand((x.shape[0], *[1] * (x.ndim - 1)), dtype=x.dtype)
        return x.div(keep) * torch.floor(keep + draw)


class ResidualAttentionBlock(nn.Module):
    """``x [L, N, W]``."""

    def __init__(self, width: int, heads: int, mask=None, dropout: float = 0.0, eps: float = 1e-5):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, dropout=dropout)
        self.ln_1 = nn.LayerNorm(width, eps=eps)
        self.drop_path = DropPath(dropout)
        self.mlp = nn.Sequential(OrderedDict(c_fc=nn.Linear(width, 4 * width), gelu=QuickGELU(),
                                             c_proj=nn.Linear(4 * width, width)))
        self.ln_2 = nn.LayerNorm(width, eps=eps)
        self.mask = mask

    def forward(self, x):
        y = self.ln_1(x)
        mask = None if self.mask is None else self.mask.to(x.dtype)
        x = x + self.drop_path(self.attn(y, y, y, need_weights=False, attn_mask=mask)[0])
        return x + self.drop_path(self.mlp(self.ln_2(x)))


class Transformer(nn.Module):
    def __init__(self, width: int, layers: int, heads: int, mask=None, dropout=None):
        super().__init__()
        rates = dropout or [0.0] * layers
        self.resblocks = nn.Sequential(*[ResidualAttentionBlock(width, heads, mask, rates[i]) for i in range(layers)])

    def forward(self, x):
        return self.resblocks(x)


class VisualTransformer(nn.Module):
    def __init__(self, image_resolution, patch_size, width, layers, heads, output_dim, dropout=None, emb_dropout=0.0,
                 joint_frames=0):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch_size, patch_size, bias=False)
        scale = width**-0.5
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(scale * torch.randn((image_resolution // patch_size) ** 2 + 1, width))
        self.dropout = nn.Dropout(emb_dropout)
        self.ln_pre = nn.LayerNorm(width)
        self.joint_frames = joint_frames
        if joint_frames:
            self.time_embedding = nn.Parameter(scale * torch.randn(joint_frames, width))
        self.transformer = Transformer(width, layers, heads, dropout=dropout)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(scale * torch.randn(width, output_dim))

    def forward(self, x):
        x = self.conv1(x)
        x = x.reshape(x.shape[0], x.shape[1], -1).permute(0, 2, 1)  # N gg W
        first = self.class_embedding + torch.zeros(x.shape[0], 1, x.shape[-1], dtype=x.dtype)
        x = torch.cat([first, x], dim=1) + self.positional_embedding
        if self.joint_frames:
            T = self.joint_frames
            B, n, W = x.shape[0] // T, x.shape[1] - 1, x.shape[2]
            first = x.reshape(B, T, n + 1, W)[:, 0, :1]
            rest = x[:, 1:].reshape(B, T, n, W).permute(0, 2, 1, 3) + self.time_embedding  # B n T W
            x = torch.cat([first, rest.reshape(B, n * T, W)], dim=1)
        x = self.ln_pre(self.dropout(x))
        x = self.transformer(x.permute(1, 0, 2)).permute(1, 0, 2)
        return self.ln_post(x[:, 0]) @ self.proj


class CLIP(nn.Module):
    def __init__(self, embed_dim, image_resolution, vision_layers, vision_width, vision_patch_size, context_length,
                 vocab_size, transformer_width, transformer_heads, transformer_layers, drop_out=0.0, emb_dropout=0.0,
                 joint_frames=0):
        super().__init__()
        rates = [x.item() for x in torch.linspace(0, drop_out, vision_layers)] if drop_out else None
        mask = torch.full((context_length, context_length), -math.inf).triu(1)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(context_length, transformer_width))
        self.text_projection = nn.Parameter(transformer_width**-0.5 * torch.randn(transformer_width, embed_dim))
        self.logit_scale = nn.Parameter(torch.ones([]) * math.log(1 / 0.07))
        self.visual = VisualTransformer(image_resolution, vision_patch_size, vision_width, vision_layers,
                                        vision_width // 64, embed_dim, rates, emb_dropout, joint_frames)
        self.transformer = Transformer(transformer_width, transformer_layers, transformer_heads, mask, rates)
        self.token_embedding = nn.Embedding(vocab_size, transformer_width)
        self.dropout = nn.Dropout(emb_dropout)
        self.ln_final = nn.LayerNorm(transformer_width)

    def encode_image(self, image):
        return self.visual(image)

    def encode_text(self, text):
        x = self.dropout(self.token_embedding(text) + self.positional_embedding)
        x = self.ln_final(self.transformer(x.permute(1, 0, 2)).permute(1, 0, 2))
        return x[torch.arange(x.shape[0]), text.argmax(dim=-1)] @ self.text_projection
