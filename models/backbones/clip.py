"""CLIP: one tower for images, one for sentences, both ending in the same space of D numbers.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", arXiv 2103.00020;
upstream github.com/openai/CLIP, clip/model.py (the vision transformers; both video systems start from it).

Letters: N images, K sentences, L tokens, W width, D joint width, g = image side / patch side.
Data flow: images [N, 3, H, W] -> g*g patches + class token -> blocks -> class token @ ``proj`` [N, D];
           ids [K, L] -> causal blocks -> end token @ ``text_projection`` [K, D].  Neither is normalized.

Two exact short cuts: sentences are cut behind the longest one of the batch (the mask is causal and only the end
token is read), and the last block computes the token that is read, no other.
Parameter names are upstream's. Attention keeps the packed projection of PyTorch, ``[3W, W]`` in rows q, k, v.
"""
from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.distributed.fleet.utils import recompute

from models.layers import LayerNorm
from models.layers.init import constant_, normal_, torch_default_, uniform_

HEAD_SIZE = 64  # in every tower and every block: heads = width / 64
INITIAL_LOGIT_SCALE = math.log(1 / 0.07)
UPSTREAM_DROPPED = (r"^(input_resolution|context_length|vocab_size)$",)  # scalars in OpenAI's archives


def upstream_name(name: str) -> str:
    """Our parameter name -> upstream's: they are the same."""
    return name


class TextTower(nn.Layer):
    """CLIP's text side, whose entries stand at the root of a state dict. CLIP and X-CLIP derive from it.

    Args:
        embed_dim: D.
        context_length: the most tokens a sentence may have, start and end marker included.
        vocab_size: number of token ids; the end marker is the largest.
        transformer_width, transformer_layers: W and depth of the tower; heads of 64 unless ``transformer_heads``.
        drop_path, attention_dropout: one rate per block or a number; ``emb_dropout``: after the positions.
        drop_path_per: see :func:`drop_path`.
    """

    def __init__(self, *, embed_dim: int, context_length: int, vocab_size: int, transformer_width: int,
                 transformer_layers: int, transformer_heads: int | None = None, drop_path=0.0,
                 emb_dropout: float = 0.0, drop_path_per: str = "sample"):
        super().__init__()
        width = transformer_width
        self.emb_dropout = emb_dropout
        self.transformer = Transformer(width=width, layers=transformer_layers, heads=transformer_heads,
                                       drop_path=drop_path, drop_path_per=drop_path_per)
        self.token_embedding = nn.Embedding(vocab_size, width)
        self.positional_embedding = self.create_parameter([context_length, width])
        self.ln_final = LayerNorm(width, epsilon=1e-5)
        self.text_projection = self.create_parameter([width, embed_dim])
        self.logit_scale = self.create_parameter([], default_initializer=nn.initializer.Constant(INITIAL_LOGIT_SCALE))
        normal_(self.token_embedding.weight, 0.02)
        normal_(self.positional_embedding, 0.01)
        normal_(self.text_projection, width**-0.5)
        for block in self.transformer.resblocks:
            initialize_text_block(block, width, transformer_layers)

    def encode_text(self, ids, *, shorten: bool = True):
        """Sentences to features.

        Args:
            ids: ``[K, L]`` int64, zero-padded behind the end marker, L at most the context length.
            shorten: cut behind the longest sentence (exact; False runs all L positions, as upstream).
                A static graph takes the ids as they come: cut them before.

        Returns:
            ``[K, D]``, not normalized.
        """
        end = ids.argmax(-1)  # the first end marker: the largest id
        if shorten and paddle.in_dynamic_mode():
            length = int(end.max()) + 1
            ids = ids[:, :length]
        length = ids.shape[1]
        x = self.token_embedding(ids) + self.positional_embedding[:length]  # K L W
        if self.emb_dropout:
            x = F.dropout(x, self.emb_dropout, training=self.training)
        x = self.transformer(x, mask=causal_mask(length, x.dtype), read=end)  # K 1 W
        return paddle.matmul(self.ln_final(x)[:, 0], self.text_projection)


class CLIP(TextTower):
    """Both towers (arguments: :class:`TextTower` and :class:`VisionTransformer`)."""

    def __init__(self, *, embed_dim: int, image_resolution: int, vision_layers: int, vision_width: int,
                 vision_patch_size: int, context_length: int, vocab_size: int, transformer_width: int,
                 transformer_layers: int, transformer_heads: int | None = None, drop_path: float = 0.0,
                 emb_dropout: float = 0.0, drop_path_per: str = "sample", joint_frames: int = 0,
                 wrap_block: Callable[[nn.Layer], nn.Layer] | None = None, recompute_blocks: bool = False):
        rates = [float(rate) for rate in np.linspace(0, drop_path, vision_layers)]
        super().__init__(embed_dim=embed_dim, context_length=context_length, vocab_size=vocab_size,
                         transformer_width=transformer_width, transformer_layers=transformer_layers,
                         transformer_heads=transformer_heads,
                         # the visual rates, as upstream; a deeper text tower has no rate for its last blocks there
                         drop_path=(rates + [drop_path] * transformer_layers)[:transformer_layers],
                         emb_dropout=emb_dropout, drop_path_per=drop_path_per)
        self.visual = VisionTransformer(
            image_resolution=image_resolution, patch_size=vision_patch_size, width=vision_width, layers=vision_layers,
            output_dim=embed_dim, drop_path=rates, emb_dropout=emb_dropout, drop_path_per=drop_path_per,
            joint_frames=joint_frames, wrap_block=wrap_block, recompute_blocks=recompute_blocks)

    def encode_image(self, images):
        """``images [N, 3, H, W]`` normalized by CLIP's mean and deviation -> ``[N, D]``, not normalized."""
        return self.visual(images)

    def forward(self, images, ids):
        """Scaled cosines of N images and K sentences: ``[N, K]``."""
        image = unit(self.encode_image(images))
        return self.logit_scale.exp() * paddle.matmul(image, unit(self.encode_text(ids)), transpose_y=True)


class ImageTower(nn.Layer):
    """What stands before and behind the blocks of CLIP's image side: patches, class token, positions; norm, ``proj``.

    Args:
        transformer: the blocks, of width W.
        image_resolution, patch_size: sides in pixels; positions are never interpolated.
        width: W.
        output_dim: D.
        joint_frames, emb_dropout: see :class:`VisionTransformer`.
    """

    def __init__(self, transformer: nn.Layer, *, image_resolution: int, patch_size: int, width: int, output_dim: int,
                 emb_dropout: float = 0.0, joint_frames: int = 0):
        super().__init__()
        self.image_resolution, self.joint_frames, self.emb_dropout = image_resolution, joint_frames, emb_dropout
        tokens = (image_resolution // patch_size) ** 2 + 1
        self.conv1 = nn.Conv2D(3, width, patch_size, stride=patch_size, bias_attr=False)
        self.class_embedding = self.create_parameter([width])
        self.positional_embedding = self.create_parameter([tokens, width])
        self.ln_pre = LayerNorm(width, epsilon=1e-5)
        self.transformer = transformer
        self.ln_post = LayerNorm(width, epsilon=1e-5)
        self.proj = self.create_parameter([width, output_dim])
        torch_default_(self.conv1)
        for parameter in (self.class_embedding, self.positional_embedding, self.proj):
            normal_(parameter, width**-0.5)
        if joint_frames:
            self.time_embedding = self.create_parameter([joint_frames, width])
            normal_(self.time_embedding, width**-0.5)

    def embed(self, images):
        """Tokens before the first block: ``[N, 3, H, W]`` -> ``[N, 1 + g*g, W]``, class token first.

        Raises:
            ValueError: if the images are not of the side the weights belong to.
        """
        side = self.image_resolution
        if list(images.shape[2:]) != [side, side] and -1 not in images.shape[2:]:
            raise ValueError(f"frames of {images.shape[2]}x{images.shape[3]} pixels: these weights belong to "
                             f"{side}x{side} (CLIP's positions are not interpolated); crop or resize to that")
        patches = self.conv1(images).flatten(2).transpose([0, 2, 1])  # N W g g -> N gg W
        place = self.positional_embedding
        patches = patches + place[1:]
        first = self.class_embedding + place[0]
        if self.joint_frames:
            patches = self.join_frames(patches)
        x = paddle.concat([first.expand([patches.shape[0], 1, -1]), patches], axis=1)
        if self.emb_dropout:
            x = F.dropout(x, self.emb_dropout, training=self.training)
        return self.ln_pre(x)

    def join_frames(self, patches):
        """Patches ``[B*T, n, W]`` of T frames -> one sequence a video ``[B, n*T, W]``, frame fastest."""
        _, count, width = patches.shape
        patches = patches.reshape([-1, self.joint_frames, count, width]) + self.time_embedding.unsqueeze(1)
        # flatten, not reshape: Paddle's engine fuses a reshape with the transpose and mistakes the type of the outcome.
        return patches.transpose([0, 2, 1, 3]).flatten(1, 2)

    def read_out(self, token):
        """A class token in the joint space: ``[..., W] -> [..., D]``, not normalized."""
        return paddle.matmul(self.ln_post(token), self.proj)


class VisionTransformer(ImageTower):
    """CLIP's image side.

    Args:
        image_resolution, patch_size, width, output_dim: see :class:`ImageTower`.
        layers: depth.
        joint_frames: T > 0 lets all patches of T frames attend to one another (ActionCLIP's joint form): one class
            token a video, patches position-major with the frame running fastest, and a learned ``time_embedding``.
        wrap_block: puts each block inside another layer (ActionCLIP's temporal shift).
        recompute_blocks: trade time for memory in training; gradients are the same.
    """

    def __init__(self, *, width: int, layers: int, drop_path=0.0, drop_path_per: str = "sample",
                 wrap_block: Callable[[nn.Layer], nn.Layer] | None = None, recompute_blocks: bool = False, **tower):
        blocks = Transformer(width=width, layers=layers, drop_path=drop_path, drop_path_per=drop_path_per,
                             wrap_block=wrap_block, recompute_blocks=recompute_blocks)
        super().__init__(blocks, width=width, **tower)

    def forward(self, images):
        """``[N, 3, H, W]`` -> ``[N, D]``; with ``joint_frames`` = T, frames of a video adjacent -> ``[N / T, D]``."""
        return self.read_out(self.transformer(self.embed(images), read=0)[:, 0])


class Transformer(nn.Layer):
    """A row of residual blocks. ``drop_path`` is one rate or one per block."""

    def __init__(self, *, width: int, layers: int, heads: int | None = None, drop_path=0.0,
                 drop_path_per: str = "sample", wrap_block: Callable[[nn.Layer], nn.Layer] | None = None,
                 recompute_blocks: bool = False):
        super().__init__()
        rates = [drop_path] * layers if isinstance(drop_path, int | float) else list(drop_path)
        blocks = [ResidualAttentionBlock(width=width, heads=heads, drop_path=rate, attention_dropout=rate,
                                         drop_path_per=drop_path_per) for rate in rates]
        self.resblocks = nn.LayerList([wrap_block(block) for block in blocks] if wrap_block else blocks)
        self.recompute_blocks = recompute_blocks

    def forward(self, x, mask=None, read=None):
        """``x [N, L, W]``; ``read`` (an index or ``[N]`` indices) asks for one token only -> ``[N, 1, W]``."""
        last = len(self.resblocks) - 1
        for index, block in enumerate(self.resblocks):
            wanted = read if index == last else None
            if self.recompute_blocks and self.training and wanted is None:
                x = recompute(block, x, mask)
            else:
                x = block(x, mask, wanted)
        return x


class ResidualAttentionBlock(nn.Layer):
    """x + attention(ln_1 x), then x + mlp(ln_2 x).

    ``epsilon`` is that of both norms (1e-12 in ActionCLIP's fusion head).
    """

    def __init__(self, *, width: int, heads: int | None = None, drop_path: float = 0.0,
                 attention_dropout: float = 0.0, drop_path_per: str = "sample", epsilon: float = 1e-5):
        super().__init__()
        self.attn = Attention(width=width, heads=heads, dropout=attention_dropout)
        self.ln_1 = LayerNorm(width, epsilon=epsilon)
        self.mlp = MLP(width=width)
        self.ln_2 = LayerNorm(width, epsilon=epsilon)
        self.rate, self.per = drop_path, drop_path_per

    def forward(self, x, mask=None, read=None):
        """``x [N, L, W]`` -> the same shape, or ``[N, 1, W]`` for the token ``read`` of each."""
        normed = self.ln_1(x)
        if read is None:
            x = x + self.drop(self.attn(normed, mask=mask))
        else:
            row = mask if mask is None or isinstance(read, int) else mask_row(mask, read)
            x = pick(x, read) + self.drop(self.attn(pick(normed, read), normed, mask=row))
        return x + self.drop(self.mlp(self.ln_2(x)))

    def drop(self, branch):
        return drop_path(branch, self.rate if self.training else 0.0, self.per)


class Attention(nn.Layer):
    """Multi-head attention with PyTorch's packed parameters; heads of 64 unless their number is given.

    Shapes: ``query [N, Lq, W]``, ``context [N, L, W]``; ``mask`` is added to the scores and broadcasts to
    ``[N, heads, Lq, L]``.
    """

    def __init__(self, *, width: int, heads: int | None = None, dropout: float = 0.0):
        super().__init__()
        heads = heads or width // HEAD_SIZE
        if not heads or width % heads:
            raise ValueError(f"attention of width {width} cannot be divided into {heads} heads; CLIP's widths are "
                             f"multiples of {HEAD_SIZE}, its heads' size")
        self.heads, self.head_size, self.dropout = heads, width // heads, dropout
        self.in_proj_weight = self.create_parameter([3 * width, width])
        self.in_proj_bias = self.create_parameter([3 * width], is_bias=True)
        self.out_proj = nn.Linear(width, width)
        initialize_attention(self)

    def forward(self, query, context=None, mask=None):
        width, weight, bias = query.shape[-1], self.in_proj_weight, self.in_proj_bias
        if context is None:
            parts = (paddle.matmul(query, weight, transpose_y=True) + bias).split(3, axis=-1)
        else:
            packed = paddle.matmul(context, weight[width:], transpose_y=True) + bias[width:]
            parts = [paddle.matmul(query, weight[:width], transpose_y=True) + bias[:width], *packed.split(2, axis=-1)]
        q, k, v = (part.reshape([0, 0, self.heads, self.head_size]).transpose([0, 2, 1, 3]) for part in parts)
        scores = paddle.matmul(q * self.head_size**-0.5, k, transpose_y=True)  # N heads Lq L
        share = F.softmax(scores if mask is None else scores + mask, axis=-1)
        if self.dropout:
            share = F.dropout(share, self.dropout, training=self.training)
        out = paddle.matmul(share, v).transpose([0, 2, 1, 3]).reshape([0, 0, width])
        return self.out_proj(out)


class MLP(nn.Layer):
    """W -> 4W -> W with QuickGELU between."""

    def __init__(self, *, width: int):
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)
        for layer in (self.c_fc, self.c_proj):
            torch_default_(layer)

    def forward(self, x):
        return self.c_proj(quick_gelu(self.c_fc(x)))


def quick_gelu(x):
    """x * sigmoid(1.702 x), CLIP's activation."""
    return x * F.sigmoid(1.702 * x)


def unit(x):
    """Divide by the Euclidean norm of the last axis; no epsilon, as upstream."""
    return x / x.norm(axis=-1, keepdim=True)


def causal_mask(length, dtype):
    """``[1, L, L]``: -inf where a token would see a later one, else 0. ``length`` may be dynamic."""
    place = paddle.arange(length)
    later = place.unsqueeze(0) > place.unsqueeze(1)
    zero = paddle.zeros_like(later, dtype=dtype)
    return paddle.where(later, paddle.full_like(zero, -math.inf), zero).unsqueeze(0)


def mask_row(mask, index):
    """The row ``index`` ``[N]`` of a mask ``[1, L, L]``, for each sequence: ``[N, 1, 1, L]``."""
    return paddle.gather(mask[0], index).unsqueeze([1, 2])


def pick(x, index):
    """One token of each sequence, ``[N, L, W]`` -> ``[N, 1, W]``; ``index`` is a number or ``[N]`` int64."""
    if isinstance(index, int):
        return x[:, index:index + 1]
    return paddle.take_along_axis(x, index.reshape([-1, 1, 1]).expand([-1, 1, x.shape[-1]]), axis=1, broadcast=False)


def drop_path(x, rate: float, per: str = "sample"):
    """Stochastic depth on ``x [N, L, W]``: a branch is kept with probability 1 - rate and divided by it.

    ``per`` says what is kept or dropped as one: a ``sample`` (the paper's idea), or a ``token`` position across the
    whole batch (what the originals do: their layout puts tokens first and the draw goes over the first axis).
    """
    if not rate:
        return x
    shape = [x.shape[0], 1, 1] if per == "sample" else [1, x.shape[1], 1]
    kept = paddle.floor(1.0 - rate + paddle.rand(shape, dtype=x.dtype))
    return x / (1.0 - rate) * kept


def initialize_attention(attention: Attention) -> None:
    """PyTorch's start of its packed attention: Xavier over the packed weight, biases 0."""
    width = attention.in_proj_weight.shape[1]
    uniform_(attention.in_proj_weight, math.sqrt(6.0 / (4 * width)))
    constant_(attention.in_proj_bias, 0.0)
    uniform_(attention.out_proj.weight, width**-0.5)
    constant_(attention.out_proj.bias, 0.0)


def initialize_text_block(block: ResidualAttentionBlock, width: int, layers: int) -> None:
    """Upstream's start of a text block: residual outputs shrink with the depth."""
    normal_(block.attn.in_proj_weight, width**-0.5)
    for layer in (block.attn.out_proj, block.mlp.c_proj):
        normal_(layer.weight, width**-0.5 * (2 * layers) ** -0.5)
    normal_(block.mlp.c_fc.weight, (2 * width) ** -0.5)


def sizes(state: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Constructor arguments of :class:`CLIP`, read from the shapes of upstream's state dict.

    Raises:
        ValueError: for a CLIP whose image tower is a ResNet, or entries that are no CLIP.
    """
    if "visual.proj" not in state:
        kind = "a CLIP with a ResNet image tower" if "visual.layer1.0.conv1.weight" in state else "no CLIP"
        raise ValueError(f"these weights are {kind} (there is no visual.proj); a vision transformer is needed, "
                         "for example ViT-B-32.pt or ViT-B-16.pt")
    shape = {name: np.shape(array) for name, array in state.items()}
    patch = shape["visual.conv1.weight"][-1]
    text_blocks = {match.group(1) for name in state if (match := re.match(r"transformer\.resblocks\.(\d+)\.", name))}
    return {
        "embed_dim": shape["text_projection"][1],
        "image_resolution": patch * round(math.sqrt(shape["visual.positional_embedding"][0] - 1)),
        "vision_layers": sum(1 for name in state if re.match(r"visual\..*\.attn\.in_proj_weight$", name)),
        "vision_width": shape["visual.conv1.weight"][0],
        "vision_patch_size": patch,
        "context_length": shape["positional_embedding"][0],
        "vocab_size": shape["token_embedding.weight"][0],
        "transformer_width": shape["ln_final.weight"][0],
        "transformer_layers": len(text_blocks),
    }
