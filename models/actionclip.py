"""ActionCLIP: recognize an action by matching a video with sentences.

Wang, Xing, Liu, "ActionCLIP: A New Paradigm for Video Action Recognition", arXiv 2109.08472;
upstream github.com/sallymmx/ActionCLIP, clip/model.py, modules/Visual_Prompt.py, modules/temporal_shift.py.

Letters: B videos, T frames, N = B*T, K sentences, L tokens, D joint width.
Data flow: frames [B, T, 3, H, W] -> CLIP's image tower per frame [N, D] -> fusion over time [B, D];
           ids [K, L] -> CLIP's text tower [K, D]; cosine of the two decides.
"""
from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from models.backbones.clip import CLIP, Attention, ResidualAttentionBlock, sizes
from models.backbones.clip import UPSTREAM_DROPPED as CLIP_DROPPED
from models.backbones.clip_names import from_hugging_face, is_hugging_face
from models.layers import LayerNorm
from models.layers.init import constant_, normal_, normal_linears_

FUSIONS = ("meanP", "LSTM", "Conv_1D", "Transf", "Transf_cls")
UPSTREAM_DROPPED = CLIP_DROPPED
FRAME_POSITIONS = 77  # rows of the fusion head's position table, whatever T is
TOKEN_HEADS = 8  # of Transf_cls, whatever its width: the original does not derive them


def upstream_name(name: str) -> str:
    """Ours -> upstream's: CLIP's entries stand at the root, the fusion head's under ``module.``."""
    part, _, rest = name.partition(".")
    return {"clip": "", "fusion": "module."}[part] + rest


class ActionCLIP(nn.Layer):
    """The whole: CLIP and the fusion head.

    Args:
        fusion: one of :data:`FUSIONS` (upstream's ``sim_header``).
        segments: T.
        temporal_shift: shift an eighth of the channels of every visual block one frame forth, one eighth back.
        joint: all patches of a video attend to one another; the tower itself then gives one vector a video and
            no fusion head follows. Not together with ``temporal_shift``.
        clip: arguments of :class:`models.backbones.clip.CLIP`.
    """

    def __init__(self, *, fusion: str, segments: int, temporal_shift: bool = False, joint: bool = False, **clip):
        super().__init__()
        if joint and temporal_shift:
            raise ValueError("joint attention and temporal shift exclude each other: set one of them to False")
        self.segments, self.joint = segments, joint
        wrap = (lambda block: TemporalShift(block, segments=segments)) if temporal_shift else None
        self.clip = CLIP(**clip, joint_frames=segments if joint else 0, wrap_block=wrap)
        self.fusion = FrameFusion(kind=fusion, segments=segments, width=clip["embed_dim"],
                                  depth_width=clip["transformer_width"])

    def forward(self, frames):
        """Videos to features: ``frames [B, T, 3, H, W]``, normalized -> ``[B, D]``, not normalized."""
        features = self.encode_frames(frames.flatten(0, 1))
        return features if self.joint else self.fusion(features.reshape([-1, self.segments, features.shape[-1]]))

    def encode_frames(self, images):
        """``[N, 3, H, W]``, frames of a video adjacent -> ``[N, D]`` (joint: ``[N / T, D]``)."""
        return self.clip.encode_image(images)

    def encode_text(self, ids, *, shorten: bool = True):
        """``ids [K, L]`` int64 -> ``[K, D]``, not normalized."""
        return self.clip.encode_text(ids, shorten=shorten)


class FrameFusion(nn.Layer):
    """T frame vectors to one: ``[B, T, D] -> [B, D]``, float type kept.

    The position table exists in all kinds but meanP, though only Transf reads it: elsewhere it has no gradient and
    therefore, as upstream, no weight decay either.
    """

    def __init__(self, *, kind: str, segments: int, width: int, depth_width: int):
        super().__init__()
        if kind not in FUSIONS:
            raise ValueError(f"fusion {kind!r}: expected one of {', '.join(FUSIONS)}")
        self.kind = kind
        if kind != "meanP":
            self.frame_position_embeddings = nn.Embedding(FRAME_POSITIONS, width)
            normal_(self.frame_position_embeddings.weight, 0.02)
        if kind == "Transf" and segments > FRAME_POSITIONS:
            raise ValueError(f"fusion Transf knows {FRAME_POSITIONS} frame positions, got {segments} segments")
        if kind == "Transf":
            self.transformer = FusionTransformer(width=width, heads=max(depth_width // 64, 1))
        elif kind == "Transf_cls":
            self.transformer = TokenTransformer(width=width, heads=TOKEN_HEADS, segments=segments)
        elif kind == "LSTM":
            self.lstm_visual = nn.LSTM(width, width)
        elif kind == "Conv_1D":
            self.shift = nn.Conv1D(width, width, 3, padding=1, groups=width, bias_attr=False)
            start = np.zeros([width, 1, 3], "float32")  # a quarter looks back, a quarter ahead, half stays
            quarter = width // 4
            for channels, tap in ((slice(0, quarter), 0), (slice(quarter, 3 * quarter), 1),
                                  (slice(3 * quarter, None), 2)):
                start[channels, 0, tap] = 1.0
            self.shift.weight.set_value(paddle.to_tensor(start).astype(self.shift.weight.dtype))

    def forward(self, x):
        count, width = x.shape[1:]
        if self.kind == "meanP":
            return x.mean(1)
        if self.kind == "LSTM":
            return (self.lstm_visual(x)[0] + x).mean(1)
        if self.kind == "Conv_1D":
            # Upstream re-views [T, D] as [D, T] without transposing (Visual_Prompt.py): the kernel does not slide
            # over time. Trained weights depend on it.
            y = self.shift(x.reshape([-1, width, count])).transpose([0, 2, 1])
            return (y + x).mean(1)
        if self.kind == "Transf":
            return (self.transformer(x + self.frame_position_embeddings.weight[:count]) + x).mean(1)
        return self.transformer(x)


class FusionTransformer(nn.Layer):
    """Six pre-norm blocks with LayerNorm epsilon 1e-12."""

    def __init__(self, *, width: int, heads: int, layers: int = 6):
        super().__init__()
        self.resblocks = nn.LayerList([ResidualAttentionBlock(width=width, heads=heads, epsilon=1e-12)
                                       for _ in range(layers)])
        normal_linears_(self, 0.02)  # packed projections keep Xavier, as upstream

    def forward(self, x):
        for block in self.resblocks:
            x = block(x)
        return x


class TokenTransformer(nn.Layer):
    """Transf_cls: a learned token reads the frames through six post-norm layers; no residual, no mean."""

    def __init__(self, *, width: int, heads: int, segments: int, layers: int = 6):
        super().__init__()
        self.cls_token = self.create_parameter([1, 1, width])
        self.pos_embed = self.create_parameter([1, segments + 1, width])
        self.transformer_enc = Encoder(width=width, heads=heads, layers=layers)
        for layer in self.sublayers():
            if isinstance(layer, nn.Linear):
                _wrapped_normal(layer.weight)
                constant_(layer.bias, 0.0)
        _wrapped_normal(self.cls_token)
        _wrapped_normal(self.pos_embed)

    def forward(self, x):
        first = self.cls_token.expand([x.shape[0], -1, -1])
        return self.transformer_enc(paddle.concat([first, x], axis=1) + self.pos_embed)[:, 0]


class Encoder(nn.Layer):
    """PyTorch's TransformerEncoder with a last norm."""

    def __init__(self, *, width: int, heads: int, layers: int):
        super().__init__()
        self.layers = nn.LayerList([EncoderLayer(width=width, heads=heads) for _ in range(layers)])
        self.norm = LayerNorm(width, epsilon=1e-5)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


class EncoderLayer(nn.Layer):
    """Post-norm attention and ReLU feed-forward, dropout 0.1 in training (PyTorch's TransformerEncoderLayer)."""

    def __init__(self, *, width: int, heads: int, feed_forward: int = 2048, dropout: float = 0.1):
        super().__init__()
        self.self_attn = Attention(width=width, heads=heads, dropout=dropout)
        self.linear1 = nn.Linear(width, feed_forward)
        self.linear2 = nn.Linear(feed_forward, width)
        self.norm1 = LayerNorm(width, epsilon=1e-5)
        self.norm2 = LayerNorm(width, epsilon=1e-5)
        self.dropout = dropout

    def forward(self, x):
        x = self.norm1(x + self.drop(self.self_attn(x)))
        return self.norm2(x + self.drop(self.linear2(self.drop(F.relu(self.linear1(x))))))

    def drop(self, x):
        return F.dropout(x, self.dropout, training=self.training)


class TemporalShift(nn.Layer):
    """Moves channels of the patch tokens between neighbouring frames, then runs the block on the result.

    Upstream shifts the residual stream itself, not the branch (modules/temporal_shift.py).
    """

    def __init__(self, net: nn.Layer, *, segments: int, fold: int = 8):
        super().__init__()
        self.net, self.segments, self.fold = net, segments, fold

    def forward(self, x, mask=None, read=None):
        return self.net(self.shift(x), mask, read)

    def shift(self, x):
        """``x [B*T, L, W]``; the class token stays, one fold comes from the next frame, one from the last."""
        count, width = x.shape[1:]
        fold = width // self.fold
        videos = x.reshape([-1, self.segments, count, width])
        patches = videos[:, :, 1:]
        nothing = paddle.zeros_like(patches[:, :1, :, :fold])
        ahead = paddle.concat([patches[:, 1:, :, :fold], nothing], axis=1)
        behind = paddle.concat([nothing, patches[:, :-1, :, fold:2 * fold]], axis=1)
        patches = paddle.concat([ahead, behind, patches[..., 2 * fold:]], axis=-1)
        return paddle.concat([videos[:, :, :1], patches], axis=2).reshape([-1, count, width])


def canonical(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Entries of a CLIP or ActionCLIP file in upstream's own names: Hugging Face's ``CLIPModel`` is renamed, a fusion
    head saved without data parallelism gets its ``module.`` prefix back."""
    if is_hugging_face(state):
        return from_hugging_face(state)
    heads = ("frame_position_embeddings.", "lstm_visual.", "shift.", "transformer.cls_token", "transformer.pos_embed",
             "transformer.transformer_enc.")
    return {f"module.{name}" if name.startswith(heads) else name: array for name, array in state.items()}


def _wrapped_normal(parameter) -> None:
    """Upstream's truncated normal: remainder of N(0, 1) by 2 (the sign kept), times 0.02."""
    draw = np.fmod(paddle.randn(parameter.shape).numpy(), 2.0) * 0.02
    parameter.set_value(paddle.to_tensor(draw).astype(parameter.dtype))


def shape_arguments(state: Mapping[str, np.ndarray]) -> dict:
    """Constructor arguments of :class:`ActionCLIP` that a published checkpoint's entries tell (all but T in most)."""
    clip = {name.replace(".net.", "."): array for name, array in state.items() if not name.startswith("module.")}
    arguments: dict = {**sizes(clip), "temporal_shift": any(".net." in name for name in state),
                       "joint": "visual.time_embedding" in state}
    signs = {"module.lstm_visual.weight_ih_l0": "LSTM", "module.shift.weight": "Conv_1D",
             "module.transformer.cls_token": "Transf_cls",
             "module.transformer.resblocks.0.ln_1.weight": "Transf"}
    arguments["fusion"] = next((kind for sign, kind in signs.items() if sign in state), "meanP")
    if arguments["joint"]:
        arguments["segments"] = np.shape(state["visual.time_embedding"])[0]
    if arguments["fusion"] == "Transf_cls":
        arguments["segments"] = np.shape(state["module.transformer.pos_embed"])[1] - 1
    return arguments
