"""Propagation network of MiVOS: a space-time memory network that carries masks through a video.

Cheng, Tai, Tang, "Modular Interactive Video Object Segmentation", CVPR 2021 (arXiv 2103.07941), after STM
(Oh et al., ICCV 2019). hkchengrex/MiVOS f2600a6 ``model/propagation`` (evaluation), hkchengrex/Mask-Propagation
7db3902 ``model`` (training). Parameter names are upstream's but for ``rgb_encoder.res2``, our ``layer1``.

A memory frame with an object's mask becomes a key and a value at 1/16 (*memorize*). The query frame gets a key and a
value too (*query*); it reads the memory by the similarity of keys, and a decoder turns what it read and its own value
into the object's probability (*segment*). Every object has its own memory, since the encoder sees its mask.

Legend: B samples (training), K objects, T memory frames, H W pixels (multiples of 16), h = H/16, w = W/16.
"""
from __future__ import annotations

import math
from typing import NamedTuple

import paddle
import paddle.nn.functional as F
from paddle import nn

from models.backbones.resnet import ResNet
from models.layers import Conv2D, resize
from models.layers.init import constant_, normal_, torch_default_
from models.mivos.aggregation import aggregate_wbg_channel
from models.mivos.memory import attention, read, read_dense, rows, scaled_query

UPSTREAM_DROPPED = ()


class Query(NamedTuple):
    """What a frame offers to every object: it depends on no mask, so it is kept between interactions."""

    key: paddle.Tensor  # 1 128 h w
    value: paddle.Tensor  # 1 512 h w
    skip8: paddle.Tensor  # 1 512 H/8 W/8, the decoder's skip features
    skip4: paddle.Tensor  # 1 256 H/4 W/4


class PropagationNetwork(nn.Layer):
    """Both forms: evaluation (the objects of one video) and training (a batch with one or two objects).

    Args:
        top_k: memory positions a query may use in the evaluation form, or None for all. Training uses all: its
            clips have three frames, and a sparse softmax has sparse gradients.
        km: width of the Gaussian of the kernelised read (evaluation), or None. 5.6 in upstream's scripts.
        single_object: the memory encoder gets no mask of the other objects (static-image stage): 4 channels.
        depth, base_channels: of the two ResNets; 50 and 64 in all published weights, less for miniatures.
        width: channels of a value and of the decoder's widest stage; a key has a quarter. 512 in published weights.
    """

    def __init__(self, *, top_k: int | None = 50, km: float | None = None, single_object: bool = False,
                 depth: int = 50, base_channels: int = 64, width: int = 512):
        super().__init__()
        self.top_k, self.km, self.single_object, self.width = top_k, km, single_object, width
        self.mask_rgb_encoder = memory_encoder(single_object, depth, base_channels)
        self.rgb_encoder = query_encoder(depth, base_channels)
        f4, f8, f16 = self.rgb_encoder.channels
        self.kv_m_f16 = KeyValue(f16, width)
        self.kv_q_f16 = KeyValue(f16, width)
        self.decoder = Decoder(f8, f4, width)

    # Evaluation: one video -----------------------------------------------------------------------------------------

    def memorize(self, frame, masks):
        """Memory entries of a frame, one per object.

        Args:
            frame: ``[1, 3, H, W]``, normalised.
            masks: ``[K, 1, H, W]`` in [0, 1], without background.

        Returns:
            key ``[K, 128, 1, h, w]``, value ``[K, 512, 1, h, w]``.
        """
        frames = frame.expand([masks.shape[0], -1, -1, -1])
        return self.encode_memory(frames, masks, None if self.single_object else others(masks))

    def query(self, frame) -> Query:
        """Key, value and decoder skips of ``frame [1, 3, H, W]``; the skips are 57 % of the decoder's work."""
        _, f8, f4, key, value = self.get_query_values(frame)
        return Query(key, value, *self.decoder.skips(f8, f4))

    def segment_from_bank(self, bank, query: Query):
        """Probabilities ``[K, 1, H, W]`` of the frame of ``query`` from a :class:`~models.mivos.memory.MemoryBank`."""
        return self.segment(bank.read(query.key, top_k=self.top_k, km=self.km), query)

    def segment(self, read_out, query: Query):
        """Probabilities ``[K, 1, H, W]`` from what the memory said, ``[K, 512, h, w]``."""
        value = query.value.expand([read_out.shape[0], -1, -1, -1])
        return F.sigmoid(self.decoder.decode(paddle.concat([read_out, value], 1), query.skip8, query.skip4))

    def get_query_values(self, frame):
        """Upstream's five: f16 (1024, 1/16), f8 (512, 1/8), f4 (256, 1/4), key and value at 1/16."""
        f4, f8, f16 = self.rgb_encoder(frame)
        return f16, f8, f4, *self.kv_q_f16(f16)

    def segment_with_query(self, keys, values, f8, f4, query_key, query_value):
        """Upstream's form: ``keys [K, 128, T, h, w]``, ``values [K, 512, T, h, w]`` -> ``[K, 1, H, W]``."""
        query, (h, w) = scaled_query(query_key), query_key.shape[2:]
        key_rows, value_rows = rows(keys.flatten(2, 3)), rows(values.flatten(2, 3))
        read_out = paddle.stack([read(key_rows[i], value_rows[i], query, top_k=self.top_k, km=self.km, width=w)
                                 for i in range(keys.shape[0])])  # K hw 512
        read_out = paddle.transpose(read_out, [0, 2, 1]).reshape([keys.shape[0], -1, h, w])
        return self.segment(read_out, Query(query_key, query_value, *self.decoder.skips(f8, f4)))

    # Training: a batch of three-frame samples ------------------------------------------------------------------------

    def encode_memory(self, frame, mask, other=None):
        """Key ``[B, 128, 1, h, w]``, value ``[B, 512, 1, h, w]`` of ``frame [B, 3, H, W]`` with ``mask [B, 1, H, W]``
        (and ``other``, the sum of the other objects' masks)."""
        parts = [frame, mask] if self.single_object else [frame, mask, other]
        (f16,) = self.mask_rgb_encoder(paddle.concat(parts, 1))
        key, value = self.kv_m_f16(f16)
        return key.unsqueeze(2), value.unsqueeze(2)

    def segment_batch(self, frame, memories, selector=None, cells=None):
        """Training form of segmentation: dense memory reading, all objects of a sample aggregated.

        Args:
            frame: ``[B, 3, H, W]``.
            memories: one (key ``[B, 128, T, h, w]``, value ``[B, 512, T, h, w]``) per object.
            selector: ``[B, K]`` of 0 and 1: which objects a sample has; None: all.
            cells: the memory's masks averaged over 16 x 16 pixels, ``[B, K, T·h·w]``, or None.

        Returns:
            log-odds ``[B, 1 + K, H, W]``, masks ``[B, K, H, W]`` and, with ``cells``, those moved to this frame by the
            attention of the memory reading, ``[B, K, h·w]``.
        """
        _, f8, f4, query_key, query_value = self.get_query_values(frame)
        skips = self.decoder.skips(f8, f4)
        logits = [self.decoder.decode(paddle.concat([read_dense(key, value, query_key), query_value], 1), *skips)
                  for key, value in memories]
        prob = F.sigmoid(paddle.concat(logits, 1))
        if selector is not None:
            prob = prob * selector.unsqueeze([2, 3])
        logits, soft = aggregate_wbg_channel(prob)
        moved = None if cells is None else paddle.concat(
            [paddle.matmul(cells[:, i:i + 1], attention(key, query_key)) for i, (key, _) in enumerate(memories)], 1)
        return logits, soft[:, 1:], moved

    def forward(self, rgb, gt, sec_gt=None, selector=None, moved=False):
        """The three-frame pass of training.

        Frame 0 is memorised with its annotation, frame 1 segmented from it and memorised as predicted (with
        gradient), frame 2 segmented from both.

        Args:
            rgb: ``[B, 3, 3, H, W]`` (three frames).
            gt, sec_gt: ``[B, 3, 1, H, W]`` masks of the first and the second object (or one object only).
            selector: ``[B, 2]``; needed with two objects.
            moved: return the memory's masks as the attention moves them, too.

        Returns:
            dict with ``logits_t [B, 1 + K, H, W]``, ``mask_t`` and ``sec_mask_t [B, 1, H, W]`` for t = 1, 2, and
            ``moved_t [B, K, h·w]`` if asked for.
        """
        masks = gt[:, 0] if sec_gt is None else paddle.concat([gt[:, 0], sec_gt[:, 0]], 1)  # B K H W
        memories, out, cells = [], {}, None
        for t in (1, 2):
            entries = self._memorize_batch(rgb[:, t - 1], masks)
            memories = entries if t == 1 else [
                tuple(paddle.concat(pair, 2) for pair in zip(*both, strict=True))
                for both in zip(memories, entries, strict=True)]
            if moved:
                here = to_cells(masks.detach())
                cells = here if cells is None else paddle.concat([cells, here], 2)
            out[f"logits_{t}"], masks, there = self.segment_batch(rgb[:, t], memories, selector, cells)
            if moved:
                out[f"moved_{t}"] = there
            out[f"mask_{t}"] = masks[:, :1]
            if sec_gt is not None:
                out[f"sec_mask_{t}"] = masks[:, 1:]
        return out

    def _memorize_batch(self, frame, masks):
        """One entry per object of ``masks [B, K, H, W]`` (K = 1 or 2)."""
        if masks.shape[1] == 1:
            return [self.encode_memory(frame, masks, None if self.single_object else paddle.zeros_like(masks))]
        first, second = masks[:, :1], masks[:, 1:]
        return [self.encode_memory(frame, first, second), self.encode_memory(frame, second, first)]

    def train(self):
        """Running statistics stay frozen in training, gamma and beta are trained (upstream's choice)."""
        super().train()
        self.mask_rgb_encoder.eval()
        self.rgb_encoder.eval()

    def init_weights(self) -> None:
        """Upstream's values before any file is loaded."""
        for layer in self.sublayers():
            if isinstance(layer, nn.Conv2D):
                torch_default_(layer)
        for layer in self.mask_rgb_encoder.sublayers():
            if isinstance(layer, nn.Conv2D):
                out, _, height, width = layer.weight.shape
                normal_(layer.weight, math.sqrt(2.0 / (height * width * out)))
                constant_(layer.bias, 0.0)
        for layer in self.rgb_encoder.sublayers():
            if isinstance(layer, nn.Conv2D):
                out, _, height, width = layer.weight.shape
                normal_(layer.weight, math.sqrt(2.0 / (height * width * out)))


class AttentionReadNetwork(nn.Layer):
    """The encoders alone: warps the difference an interaction made to another frame. Frozen, to train FusionNet.

    Its names are a subset of the propagation network's, whose file it loads (without the decoder).
    """

    def __init__(self, *, depth: int = 50, base_channels: int = 64, width: int = 512):
        super().__init__()
        self.mask_rgb_encoder = memory_encoder(False, depth, base_channels)
        self.rgb_encoder = query_encoder(depth, base_channels)
        self.kv_m_f16 = KeyValue(self.rgb_encoder.channels[2], width)
        self.kv_q_f16 = KeyValue(self.rgb_encoder.channels[2], width)

    @paddle.no_grad()
    def forward(self, image, mask11, mask21, mask12, mask22, query_image):
        """Attention maps of two objects.

        Args:
            image: ``[B, 3, H, W]``, the frame interacted with.
            mask11, mask12: ``[B, 1, H, W]``, objects 1 and 2 there as propagated before.
            mask21, mask22: the same after the interaction.
            query_image: ``[B, 3, H, W]``.

        Returns:
            two tensors ``[B, 2, H, W]``: where something was added, where something was removed.
        """
        query_key, _ = self.kv_q_f16(self.rgb_encoder(query_image)[2])
        maps = []
        for before, after, other in ((mask11, mask21, mask22), (mask12, mask22, mask21)):
            (f16,) = self.mask_rgb_encoder(paddle.concat([image, after, other], 1))
            key, _ = self.kv_m_f16(f16)
            maps.append(warp_difference(attention(key, query_key), paddle.clip(after - before, 0, 1),
                                        paddle.clip(before - after, 0, 1), query_key.shape[2:]))
        return maps


ATTENTION_DROPPED = (r"^decoder\.",)


def upstream_name(name: str) -> str:
    """Our parameter name -> upstream's."""
    return name.replace("rgb_encoder.layer1.", "rgb_encoder.res2.") if name.startswith("rgb_encoder.") else name


def memory_encoder(single_object: bool, depth: int, base_channels: int) -> ResNet:
    """ResNet up to 1/16 on image, mask and the other objects' masks; every convolution has a bias."""
    return ResNet(depth=depth, in_channels=4 if single_object else 5, base_channels=base_channels, num_stages=3,
                  out_stages=(2,), conv_bias=True)


def query_encoder(depth: int, base_channels: int) -> ResNet:
    """ResNet up to 1/16 on the image alone; outputs at 1/4, 1/8, 1/16."""
    return ResNet(depth=depth, base_channels=base_channels, num_stages=3, out_stages=(0, 1, 2))


def others(masks):
    """Sum of every other object's mask for each of ``[K, 1, H, W]``.

    Added up one by one: ``masks.sum(0) - masks`` differs in the last bit where masks are soft.
    """
    count = masks.shape[0]
    if count == 1:
        return paddle.zeros_like(masks)
    return paddle.stack([paddle.add_n([masks[j] for j in range(count) if j != i]) for i in range(count)])


def get_attention(memory_key, pos, neg, query_key):
    """Difference maps ``[1, 1, H, W]`` at ``memory_key``'s frame, seen from the query: ``[1, 2, H, W]``, pos first."""
    return warp_difference(attention(memory_key, query_key), pos, neg, query_key.shape[2:])


def to_cells(masks):
    """``[B, K, H, W]`` -> averages over 16 x 16 pixels, ``[B, K, h·w]``."""
    return F.avg_pool2d(masks, 16).flatten(2)


def warp_difference(weights, pos, neg, size):
    """Average 16 x 16 cells, move them by ``weights [B, hw, hw]`` (memory, query), enlarge again.

    Every query is a mean over memory, so maps of [0, 1] stay in [0, 1]. No top-k, as upstream.
    """
    cells = to_cells(paddle.concat([pos, neg], 1))  # B 2 hw
    warped = paddle.matmul(cells, weights).reshape([cells.shape[0], 2, *size])
    return resize(warped, scale_factor=16)


class KeyValue(nn.Layer):
    """Two 3x3 convolutions on the same features: what to search by, what to find."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.key_proj = Conv2D(channels, width // 4, 3, padding=1)
        self.val_proj = Conv2D(channels, width, 3, padding=1)

    def forward(self, x):
        return self.key_proj(x), self.val_proj(x)


class Decoder(nn.Layer):
    """Read-out and query value ``[K, 1024, h, w]`` -> logits ``[K, 1, H, W]``, refined by the query's features."""

    def __init__(self, f8: int, f4: int, width: int):
        super().__init__()
        self.compress = ResBlock(2 * width, width)
        self.up_16_8 = UpsampleBlock(f8, width, width // 2)
        self.up_8_4 = UpsampleBlock(f4, width // 2, width // 2)
        self.pred = Conv2D(width // 2, 1, 3, padding=1)

    def skips(self, f8, f4):
        """The part that knows no object."""
        return self.up_16_8.skip(f8), self.up_8_4.skip(f4)

    def decode(self, x, skip8, skip4):
        """The part of each object; skips of batch 1 serve all of them."""
        x = self.up_8_4(self.up_16_8(self.compress(x), skip8), skip4)
        return resize(self.pred(F.relu(x)), scale_factor=4)


class UpsampleBlock(nn.Layer):
    """Twice the size: features from below plus a skip, then a residual block."""

    def __init__(self, skip_channels: int, up_channels: int, out_channels: int):
        super().__init__()
        self.skip_conv1 = Conv2D(skip_channels, up_channels, 3, padding=1)
        self.skip_conv2 = ResBlock(up_channels, up_channels)
        self.out_conv = ResBlock(up_channels, out_channels)

    def skip(self, features):
        return self.skip_conv2(self.skip_conv1(features))

    def forward(self, x, skip):
        return self.out_conv(skip + resize(x, scale_factor=2))


class ResBlock(nn.Layer):
    """Pre-activation residual block without norm; the shortcut convolution is 3x3 and sees x before its ReLU."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.downsample = None if in_channels == out_channels else Conv2D(in_channels, out_channels, 3, padding=1)
        self.conv1 = Conv2D(in_channels, out_channels, 3, padding=1)
        self.conv2 = Conv2D(out_channels, out_channels, 3, padding=1)

    def forward(self, x):
        residual = self.conv2(F.relu(self.conv1(F.relu(x))))
        return residual + (x if self.downsample is None else self.downsample(x))
