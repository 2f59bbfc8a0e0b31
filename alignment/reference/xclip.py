"""X-CLIP in PyTorch, the way upstream writes it, with its entry names.

microsoft/VideoX, X-CLIP/models/xclip.py, cct.py, mit.py, prompt.py: tokens-first layers, the message token appended
and dropped, text repeated for every video, patch features projected per frame and averaged afterwards.
"""
from __future__ import annotations

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn

from alignment.reference.clip import DropPath, QuickGELU, ResidualAttentionBlock, Transformer


class XCLIP(nn.Module):
    def __init__(self, embed_dim, image_resolution, vision_layers, vision_width, vision_patch_size, context_length,
                 vocab_size, transformer_width, transformer_heads, transformer_layers, T=8, droppath=0.0, mit_layers=1,
                 prompts_alpha=0.1, prompts_layers=2, use_cache=True, use_checkpoint=False):
        super().__init__()
        self.use_cache = use_cache  # use_checkpoint changes no value
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(context_length, transformer_width))
        self.text_projection = nn.Parameter(transformer_width**-0.5 * torch.randn(transformer_width, embed_dim))
        self.logit_scale = nn.Parameter(torch.ones([]) * math.log(1 / 0.07))
        self.prompts_visual_proj = nn.Parameter(torch.randn(vision_width, embed_dim))
        self.prompts_generator = VideoSpecificPrompt(prompts_layers, embed_dim, prompts_alpha)
        self.mit = MultiframeIntegrationTransformer(T, embed_dim, mit_layers)
        rates = [x.item() for x in torch.linspace(0, droppath, vision_layers)]
        self.visual = CrossFrameCommunicationTransformer(image_resolution, vision_patch_size, vision_width,
                                                         vision_width // 64, rates, embed_dim, T)
        mask = torch.full((context_length, context_length), -math.inf).triu(1)
        self.transformer = Transformer(transformer_width, transformer_layers, transformer_heads, mask)
        self.token_embedding = nn.Embedding(vocab_size, transformer_width)
        self.ln_final = nn.LayerNorm(transformer_width)
        self.prompts_visual_ln = nn.LayerNorm(vision_width)

    def encode_text(self, text):
        x = self.token_embedding(text) + self.positional_embedding
        x = self.ln_final(self.transformer(x.permute(1, 0, 2)).permute(1, 0, 2))
        return x[torch.arange(x.shape[0]), text.argmax(dim=-1)] @ self.text_projection

    def encode_video(self, image):
        b, t, c, h, w = image.shape
        cls, patches = self.visual(image.reshape(-1, c, h, w))
        patches = self.prompts_visual_ln(patches) @ self.prompts_visual_proj
        return self.mit(cls.view(b, t, -1)), patches.view(b, t, -1, cls.shape[-1])

    def forward(self, image, text):
        video, patches = self.encode_video(image)
        patches = patches.mean(dim=1)
        if self.use_cache:
            with torch.no_grad():
                text = self.encode_text(text)
        else:
            text = self.encode_text(text)
        text = text.unsqueeze(0).expand(image.shape[0], -1, -1)
        text = text + self.prompts_generator(text, patches)
        video = video / video.norm(dim=-1, keepdim=True)
        text = text / text.norm(dim=-1, keepdim=True)
        return torch.einsum("bd,bkd->bk", video, self.logit_scale.exp() * text)


class CrossFrameCommunicationTransformer(nn.Module):
    def __init__(self, input_resolution, patch_size, width, heads, rates, output_dim, T):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch_size, patch_size, bias=False)
        scale = width**-0.5
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(scale * torch.randn((input_resolution // patch_size) ** 2 + 1, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.Sequential(*[CrossFramelAttentionBlock(width, heads, rate, T)
                                                     for rate in rates])
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(scale * torch.randn(width, output_dim))

    def forward(self, x):
        x = self.conv1(x)
        x = x.reshape(x.shape[0], x.shape[1], -1).permute(0, 2, 1)
        first = self.class_embedding + torch.zeros(x.shape[0], 1, x.shape[-1], dtype=x.dtype)
        x = self.ln_pre(torch.cat([first, x], dim=1) + self.positional_embedding)
        x = self.transformer.resblocks(x.permute(1, 0, 2)).permute(1, 0, 2)
        return self.ln_post(x[:, 0]) @ self.proj, x[:, 1:]


class CrossFramelAttentionBlock(nn.Module):
    """``x [l, B*T, W]``."""

    def __init__(self, width, heads, droppath, T):
        super().__init__()
        self.T = T
        self.message_fc = nn.Linear(width, width)
        self.message_ln = nn.LayerNorm(width)
        self.message_attn = nn.MultiheadAttention(width, heads)
        self.attn = nn.MultiheadAttention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        self.drop_path = DropPath(droppath)
        self.mlp = nn.Sequential(OrderedDict(c_fc=nn.Linear(width, 4 * width), gelu=QuickGELU(),
                                             c_proj=nn.Linear(4 * width, width)))
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x):
        l, bt, d = x.shape
        b = bt // self.T
        msg = self.message_fc(x[0]).view(b, self.T, d).permute(1, 0, 2)  # T b d
        y = self.message_ln(msg)
        msg = msg + self.drop_path(self.message_attn(y, y, y, need_weights=False)[0])
        x = torch.cat([x, msg.permute(1, 0, 2).reshape(1, bt, d)], dim=0)
        y = self.ln_1(x)
        x = (x + self.drop_path(self.attn(y, y, y, need_weights=False)[0]))[:l]
        return x + self.drop_path(self.mlp(self.ln_2(x)))


class MultiframeIntegrationTransformer(nn.Module):
    def __init__(self, T, embed_dim, layers):
        super().__init__()
        self.positional_embedding = nn.Parameter(0.02 * torch.randn(1, T, embed_dim))
        self.resblocks = nn.Sequential(*[ResidualAttentionBlock(embed_dim, embed_dim // 64) for _ in range(layers)])

    def forward(self, x):
        y = (x + self.positional_embedding).permute(1, 0, 2)
        y = self.resblocks(y).permute(1, 0, 2)
        return (y + x).mean(dim=1)


class MulitHeadAttention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.q_proj = nn.Linear(dim, dim, bias=False)
        self.k_proj = nn.Linear(dim, dim, bias=False)
        self.v_proj = nn.Linear(dim, dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, q, k, v):
        B, N, C = q.shape
        q = self.q_proj(q).reshape(B, N, self.heads, -1).permute(0, 2, 1, 3)
        k = self.k_proj(k).reshape(B, k.shape[1], self.heads, -1).permute(0, 2, 1, 3)
        v = self.v_proj(v).reshape(B, v.shape[1], self.heads, -1).permute(0, 2, 1, 3)
        attn = (q @ k.transpose(-2, -1) * self.scale).softmax(dim=-1)
        return self.proj((attn @ v).transpose(1, 2).reshape(B, N, C))


class PromptGeneratorLayer(nn.Module):
    def __init__(self, d_model, heads):
        super().__init__()
        self.cross_attn = MulitHeadAttention(d_model, heads)
        self.norm1 = nn.LayerNorm(d_model)
        self.norm3 = nn.LayerNorm(d_model)
        self.mlp = nn.Sequential(nn.Linear(d_model, d_model * 4), QuickGELU(), nn.Dropout(0.0),
                                 nn.Linear(d_model * 4, d_model))

    def forward(self, x, visual):
        x = x + self.cross_attn(self.norm1(x), visual, visual)
        return x + self.mlp(self.norm3(x))


class VideoSpecificPrompt(nn.Module):
    def __init__(self, layers, embed_dim, alpha):
        super().__init__()
        self.norm = nn.LayerNorm(embed_dim)
        self.decoder = nn.ModuleList([PromptGeneratorLayer(embed_dim, embed_dim // 64) for _ in range(layers)])
        self.alpha = nn.Parameter(torch.ones(embed_dim) * alpha)

    def forward(self, text, visual):
        visual = self.norm(visual)
        for layer in self.decoder:
            text = layer(text, visual)
        return self.alpha * text


def soft_target_cross_entropy(logits, target):
    return torch.sum(-target * F.log_softmax(logits, dim=-1), dim=-1).mean()


def label_smoothing_cross_entropy(logits, label, smoothing):
    log_probs = F.log_softmax(logits, dim=-1)
    nll = -log_probs.gather(dim=-1, index=label.unsqueeze(1)).squeeze(1)
    return ((1 - smoothing) * nll + smoothing * -log_probs.mean(dim=-1)).mean()
