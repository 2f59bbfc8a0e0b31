"""X-CLIP: CLIP's image tower turned into a video tower, and class names corrected by what the video shows.

Ni et al., "Expanding Language-Image Pretrained Models for General Video Recognition", ECCV 2022, arXiv 2208.02816;
upstream github.com/microsoft/VideoX, X-CLIP/models/{xclip,cct,mit,prompt}.py.

Letters: B videos, T frames, N = B*T, n patches, W vision width, D joint width, K classes, L tokens.
Data flow: frames [B, T, 3, H, W] -> image tower in which one message token per frame and block lets the frames talk
[N, 1+n, W] -> class tokens [B, T, D] -> multi-frame integration [B, D];  patch tokens -> mean over T [B, n, D];
class names -> text tower [K, D] -> + prompts from the patches [B, K, D];  scaled cosine [B, K].
"""
from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.distributed.fleet.utils import recompute

from models.backbones.clip import (
    HEAD_SIZE,
    MLP,
    UPSTREAM_DROPPED,
    Attention,
    ImageTower,
    ResidualAttentionBlock,
    TextTower,
    drop_path,
    initialize_attention,
    quick_gelu,
    sizes,
    unit,
)
from models.layers import LayerNorm
from models.layers.init import normal_, normal_linears_, torch_default_

__all__ = ["UPSTREAM_DROPPED", "XCLIP", "frozen_with_text", "shape_arguments", "upstream_name"]

TRAINED_BESIDE_TEXT = ("visual.", "mit", "prompts")  # what a frozen text side leaves to train


def upstream_name(name: str) -> str:
    """Our parameter name -> upstream's: they are the same."""
    return name


def frozen_with_text(name: str) -> bool:
    """Whether upstream's ``FIX_TEXT`` freezes this entry: the text tower, its tables and ``logit_scale``."""
    return not any(part in name for part in TRAINED_BESIDE_TEXT)


class XCLIP(TextTower):
    """The whole.

    Args:
        embed_dim, image_resolution, vision_layers, vision_width, vision_patch_size, context_length, vocab_size,
            transformer_width, transformer_layers: sizes of CLIP.
        frames: T; the weights belong to one T.
        drop_path: highest rate of stochastic depth in the image tower; ``drop_path_per`` as in CLIP.
        mit_layers, prompts_layers: depths of the integration and of the prompt generator.
        prompts_alpha: first weight of the prompts.
        recompute_blocks: trade time for memory in training; gradients are the same.
    """

    def __init__(self, *, embed_dim: int, image_resolution: int, vision_layers: int, vision_width: int,
                 vision_patch_size: int, context_length: int, vocab_size: int, transformer_width: int,
                 transformer_layers: int, frames: int, transformer_heads: int | None = None, drop_path: float = 0.0,
                 drop_path_per: str = "sample", mit_layers: int = 1, prompts_layers: int = 2,
                 prompts_alpha: float = 0.1, recompute_blocks: bool = False):
        super().__init__(embed_dim=embed_dim, context_length=context_length, vocab_size=vocab_size,
                         transformer_width=transformer_width, transformer_layers=transformer_layers,
                         transformer_heads=transformer_heads)
        self.frames = frames
        self.prompts_generator = VideoSpecificPrompt(width=embed_dim, layers=prompts_layers, alpha=prompts_alpha)
        self.mit = MultiFrameIntegration(width=embed_dim, layers=mit_layers, frames=frames)
        self.visual = CrossFrameTransformer(
            image_resolution=image_resolution, patch_size=vision_patch_size, width=vision_width, layers=vision_layers,
            output_dim=embed_dim, frames=frames, drop_path=drop_path, drop_path_per=drop_path_per,
            recompute_blocks=recompute_blocks)
        self.prompts_visual_ln = LayerNorm(vision_width, epsilon=1e-5)
        self.prompts_visual_proj = self.create_parameter([vision_width, embed_dim])
        normal_(self.prompts_visual_proj, 1.0)  # std 1, not scaled by the width: upstream

    def forward(self, frames, text):
        """Logits of videos against classes.

        Args:
            frames: ``[B, T, 3, H, W]``, normalized by ImageNet's mean and deviation.
            text: :meth:`encode_text` of the K class names, ``[K, D]`` or ``[1 or B, K, D]``.

        Returns:
            ``[B, K]``: cosines times exp(logit_scale).
        """
        video, patches = self.encode_video(frames)
        return self.similarity(video, text + self.prompts_generator(text, patches))

    def encode_video(self, frames):
        """``[B, T, 3, H, W]`` -> video features ``[B, D]`` and patch features averaged over time ``[B, n, D]``.

        Raises:
            ValueError: for another number of frames than the weights belong to.
        """
        if frames.shape[1] != self.frames:
            raise ValueError(f"clips of {frames.shape[1]} frames: this network integrates exactly {self.frames}; "
                             "sample that many, or use a checkpoint trained with your number")
        tokens = self.visual(frames.flatten(0, 1))
        # The mean comes before the projection, which is linear: T times less work than upstream's order.
        normed = self.prompts_visual_ln(tokens[:, 1:])
        patches = normed.reshape([-1, self.frames, *normed.shape[1:]]).mean(1)
        return self.mit(self.class_features(tokens)), paddle.matmul(patches, self.prompts_visual_proj)

    def class_features(self, tokens):
        """Class tokens in the joint space: ``[N, 1+n, W]`` -> ``[B, T, D]``."""
        features = self.visual.read_out(tokens[:, 0])
        return features.reshape([-1, self.frames, features.shape[-1]])

    def patch_features(self, tokens):
        """Patch tokens of every frame in the joint space, as upstream's ``encode_video`` gives them: [B, T, n, D]."""
        features = paddle.matmul(self.prompts_visual_ln(tokens[:, 1:]), self.prompts_visual_proj)
        return features.reshape([-1, self.frames, *features.shape[1:]])

    def similarity(self, video, text):
        """``video [B, D]``, ``text [B, K, D]`` (prompts added) -> scaled cosines ``[B, K]``."""
        scaled = self.logit_scale.exp() * unit(text)
        return paddle.matmul(scaled, unit(video).unsqueeze(-1)).squeeze(-1)


class CrossFrameTransformer(ImageTower):
    """CLIP's image tower with message tokens (upstream models/cct.py)."""

    def __init__(self, *, width: int, layers: int, frames: int, drop_path: float, drop_path_per: str,
                 recompute_blocks: bool, **tower):
        blocks = MessageTransformer(
            width=width, frames=frames, rates=[float(rate) for rate in np.linspace(0, drop_path, layers)],
            drop_path_per=drop_path_per, recompute_blocks=recompute_blocks)
        super().__init__(blocks, width=width, **tower)

    def forward(self, images):
        """``[N, 3, H, W]``, frames of a video adjacent -> tokens ``[N, 1+n, W]`` before ``ln_post``."""
        return self.transformer(self.embed(images))


class MessageTransformer(nn.Layer):
    """A row of :class:`CrossFrameBlock`, one stochastic-depth rate each."""

    def __init__(self, *, width: int, frames: int, rates: list[float], drop_path_per: str, recompute_blocks: bool):
        super().__init__()
        self.resblocks = nn.LayerList([CrossFrameBlock(width=width, frames=frames, rate=rate, per=drop_path_per)
                                       for rate in rates])
        self.recompute_blocks = recompute_blocks

    def forward(self, x):
        for block in self.resblocks:
            x = recompute(block, x) if self.recompute_blocks and self.training else block(x)
        return x


class CrossFrameBlock(nn.Layer):
    """Frames exchange messages, then each frame attends to its own tokens and its message."""

    def __init__(self, *, width: int, frames: int, rate: float, per: str):
        super().__init__()
        self.frames, self.rate, self.per = frames, rate, per
        self.message_fc = nn.Linear(width, width)
        self.message_ln = LayerNorm(width, epsilon=1e-5)
        self.message_attn = Attention(width=width)
        self.attn = Attention(width=width)
        self.ln_1 = LayerNorm(width, epsilon=1e-5)
        self.mlp = MLP(width=width)
        self.ln_2 = LayerNorm(width, epsilon=1e-5)
        torch_default_(self.message_fc)

    def forward(self, x):
        """``x [N, 1+n, W] -> [N, 1+n, W]``."""
        width = x.shape[-1]
        message = self.message_fc(x[:, 0]).reshape([-1, self.frames, width])  # B T W, of the raw class token
        message = message + self.drop(self.message_attn(self.message_ln(message)))
        normed = self.ln_1(x)
        heard = self.ln_1(message.reshape([-1, 1, width]))
        # The message is key and value only: every block makes it anew, its own output would be dropped.
        x = x + self.drop(self.attn(normed, paddle.concat([normed, heard], axis=1)))
        return x + self.drop(self.mlp(self.ln_2(x)))

    def drop(self, branch):
        return drop_path(branch, self.rate if self.training else 0.0, self.per)


class MultiFrameIntegration(nn.Layer):
    """T frame vectors to one (upstream models/mit.py): ``[B, T, D] -> [B, D]``."""

    def __init__(self, *, width: int, layers: int, frames: int):
        super().__init__()
        self.positional_embedding = self.create_parameter([1, frames, width])
        self.resblocks = nn.LayerList([ResidualAttentionBlock(width=width) for _ in range(layers)])
        normal_(self.positional_embedding, 0.02)
        for block in self.resblocks:
            initialize_attention(block.attn)
        normal_linears_(self, 0.02)

    def forward(self, x):
        z = x + self.positional_embedding
        for block in self.resblocks:
            z = block(z)
        return (z + x).mean(1)  # the input is added without its positions


class VideoSpecificPrompt(nn.Layer):
    """What the patches of a video add to each class name (upstream models/prompt.py)."""

    def __init__(self, *, width: int, layers: int, alpha: float):
        super().__init__()
        self.norm = LayerNorm(width, epsilon=1e-5)
        self.decoder = nn.LayerList([PromptLayer(width=width) for _ in range(layers)])
        self.alpha = self.create_parameter([width], default_initializer=nn.initializer.Constant(alpha))
        normal_linears_(self, 0.02)

    def forward(self, text, patches):
        """``text [K, D]`` or ``[1 or B, K, D]``, ``patches [B, n, D]`` -> ``[B, K, D]``, which contains the text."""
        patches = self.norm(patches)
        if text.ndim == 2:
            text = text.unsqueeze(0)  # one row: the first layer's text work is done once for all videos
        for layer in self.decoder:
            text = layer(text, patches)
        return self.alpha * text


class PromptLayer(nn.Layer):
    """Class names read the patches; no self-attention (there is no ``norm2``, as upstream)."""

    def __init__(self, *, width: int):
        super().__init__()
        self.cross_attn = CrossAttention(width=width)
        self.norm1 = LayerNorm(width, epsilon=1e-5)
        self.norm3 = LayerNorm(width, epsilon=1e-5)
        # entries 1 and 2 hold no weights: activation and a dropout of rate 0
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), QuickGELU(), nn.Identity(), nn.Linear(4 * width, width))

    def forward(self, text, patches):
        """``text [1 or B, K, D]``, ``patches [B, n, D]`` -> ``[B, K, D]``."""
        text = text + self.cross_attn(self.norm1(text), patches)
        return text + self.mlp(self.norm3(text))


class QuickGELU(nn.Layer):
    """:func:`models.backbones.clip.quick_gelu` as a layer."""

    def forward(self, x):
        return quick_gelu(x)


class CrossAttention(nn.Layer):
    """Heads of 64; projections without bias, output with."""

    def __init__(self, *, width: int):
        super().__init__()
        self.heads = width // HEAD_SIZE
        self.q_proj = nn.Linear(width, width, bias_attr=False)
        self.k_proj = nn.Linear(width, width, bias_attr=False)
        self.v_proj = nn.Linear(width, width, bias_attr=False)
        self.proj = nn.Linear(width, width)

    def forward(self, query, context):
        q, k, v = (self.split(project(x)) for project, x in
                   ((self.q_proj, query), (self.k_proj, context), (self.v_proj, context)))
        share = F.softmax(paddle.matmul(q * HEAD_SIZE**-0.5, k, transpose_y=True), axis=-1)  # B heads K n
        out = paddle.matmul(share, v).transpose([0, 2, 1, 3])
        return self.proj(out.flatten(2))

    def split(self, x):
        """``[B, L, D] -> [B, heads, L, 64]``."""
        return x.reshape([0, 0, self.heads, HEAD_SIZE]).transpose([0, 2, 1, 3])


def shape_arguments(state: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Constructor arguments of :class:`XCLIP` as a checkpoint's shapes tell them (all but rates and ``alpha``)."""
    arguments = sizes({name: array for name, array in state.items() if ".message_attn." not in name})
    depth = {part: len({match.group(1) for name in state if (match := re.match(rf"{part}\.(\d+)\.", name))})
             for part in (r"mit\.resblocks", r"prompts_generator\.decoder")}
    return {**arguments, "frames": np.shape(state["mit.positional_embedding"])[1],
            "mit_layers": depth[r"mit\.resblocks"], "prompts_layers": depth[r"prompts_generator\.decoder"]}
