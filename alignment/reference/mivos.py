"""PyTorch twin of MiVOS: the networks in upstream's plain formulation and with upstream's parameter names.

Cheng, Tai, Tang: Modular Interactive Video Object Segmentation, CVPR 2021 (arXiv 2103.07941).
hkchengrex/MiVOS f2600a6 (evaluation networks, fusion), hkchengrex/Mask-Propagation 7db3902 (training of the
propagation), hkchengrex/Scribble-to-Mask 2b55b23 (S2M). The state over a video is in ``mivos_core.py``.

Legend: K objects, T memory frames, H W image, h = H/16, w = W/16.
"""
from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn


class Bottleneck(nn.Module):
    """1x1, 3x3 (carries the stride), 1x1 convolutions around a shortcut; ``bias`` is True in the memory encoder."""

    def __init__(self, in_channels, planes, stride=1, dilation=1, bias=False):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, planes, 1, bias=bias)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, dilation, dilation, bias=bias)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * 4, 1, bias=bias)
        self.bn3 = nn.BatchNorm2d(planes * 4)
        self.downsample = None

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + shortcut)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, of which the first strides: the block of miniatures; published networks have none."""

    def __init__(self, in_channels, planes, stride=1, bias=False):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, planes, 3, stride, 1, bias=bias)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=bias)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = None
        if stride != 1 or in_channels != planes:
            self.downsample = nn.Sequential(nn.Conv2d(in_channels, planes, 1, stride, bias=bias),
                                            nn.BatchNorm2d(planes))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


def encoder_stages(depth, base, bias):
    """The three stages up to 1/16, and their widths."""
    if depth == 50:
        widths = [4 * base, 8 * base, 16 * base]
        made = [stage(base, base, 3, bias=bias), stage(widths[0], 2 * base, 4, 2, bias),
                stage(widths[1], 4 * base, 6, 2, bias)]
    else:  # 10: one basic block a stage
        widths = [base, 2 * base, 4 * base]
        made = [nn.Sequential(BasicBlock(before, width, stride, bias)) for before, width, stride in
                zip([base, *widths], widths, (1, 2, 2), strict=False)]
    return made, widths


def stage(in_channels, planes, blocks, stride=1, bias=False, first_dilation=1, dilation=1):
    """A ResNet stage; the first block strides, changes the width and may have its own dilation."""
    first = Bottleneck(in_channels, planes, stride, first_dilation, bias)
    first.downsample = nn.Sequential(nn.Conv2d(in_channels, planes * 4, 1, stride, bias=bias),
                                     nn.BatchNorm2d(planes * 4))
    rest = [Bottleneck(planes * 4, planes, 1, dilation, bias) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)


class MaskRGBEncoder(nn.Module):
    """Memory encoder: image, this object's mask (and the sum of the others) -> features at 1/16."""

    def __init__(self, single_object=False, depth=50, base=64):
        super().__init__()
        self.conv1 = nn.Conv2d(4 if single_object else 5, base, 7, 2, 3, bias=True)
        self.bn1 = nn.BatchNorm2d(base)
        (self.layer1, self.layer2, self.layer3), _ = encoder_stages(depth, base, bias=True)

    def forward(self, *parts):
        x = F.relu(self.bn1(self.conv1(torch.cat(parts, 1))))
        x = F.max_pool2d(x, 3, 2, 1)
        return self.layer3(self.layer2(self.layer1(x)))


class RGBEncoder(nn.Module):
    """Query encoder: image -> features at 1/16, 1/8, 1/4."""

    def __init__(self, depth=50, base=64):
        super().__init__()
        self.conv1 = nn.Conv2d(3, base, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(base)
        (self.res2, self.layer2, self.layer3), self.widths = encoder_stages(depth, base, bias=False)

    def forward(self, frame):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(frame))), 3, 2, 1)
        f4 = self.res2(x)
        f8 = self.layer2(f4)
        return self.layer3(f8), f8, f4


class KeyValue(nn.Module):
    def __init__(self, channels=1024, width=512):
        super().__init__()
        self.key_proj = nn.Conv2d(channels, width // 4, 3, padding=1)
        self.val_proj = nn.Conv2d(channels, width, 3, padding=1)

    def forward(self, x):
        return self.key_proj(x), self.val_proj(x)


class ResBlock(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.downsample = None if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)

    def forward(self, x):
        r = self.conv2(F.relu(self.conv1(F.relu(x))))
        return r + (x if self.downsample is None else self.downsample(x))


class UpsampleBlock(nn.Module):
    def __init__(self, skip_channels, up_channels, out_channels):
        super().__init__()
        self.skip_conv1 = nn.Conv2d(skip_channels, up_channels, 3, padding=1)
        self.skip_conv2 = ResBlock(up_channels, up_channels)
        self.out_conv = ResBlock(up_channels, out_channels)

    def forward(self, skip, up):
        up = F.interpolate(up, scale_factor=2, mode="bilinear", align_corners=False)
        return self.out_conv(self.skip_conv2(self.skip_conv1(skip)) + up)


class Decoder(nn.Module):
    def __init__(self, f8=512, f4=256, width=512):
        super().__init__()
        self.compress = ResBlock(2 * width, width)
        self.up_16_8 = UpsampleBlock(f8, width, width // 2)
        self.up_8_4 = UpsampleBlock(f4, width // 2, width // 2)
        self.pred = nn.Conv2d(width // 2, 1, 3, padding=1)

    def forward(self, f16, f8, f4):
        x = self.up_8_4(f4, self.up_16_8(f8, self.compress(f16)))
        return F.interpolate(self.pred(F.relu(x)), scale_factor=4, mode="bilinear", align_corners=False)


def affinity_of(memory_key, query_key):
    """Mk^T q / sqrt(128): [B, T h w, h w], the query divided first as upstream does."""
    channels = memory_key.shape[1]
    return torch.bmm(memory_key.flatten(2).transpose(1, 2), query_key.flatten(2) / math.sqrt(channels))


def read_weights(affinity, width, top_k=None, km=None):
    """Weights over memory (axis 1) for each query of one object, upstream's four cases."""
    if km is None:
        if top_k is None:
            return torch.softmax(affinity, 1)
        values, index = torch.topk(affinity, min(top_k, affinity.shape[1]), dim=1)
        values = torch.exp(values - values[:, :1])
    else:
        best = affinity.argmax(2)  # the query position each memory position likes best
        places = torch.arange(affinity.shape[2])
        dy = torch.div(places, width, rounding_mode="floor")[None, None] - (best // width)[..., None]
        dx = (places % width)[None, None] - (best % width)[..., None]
        kernel = torch.exp(-(dx**2 + dy**2).to(affinity.dtype) / (2 * km**2))
        weighted = torch.exp(affinity - affinity.max(1, keepdim=True).values) * kernel
        if top_k is None:
            return weighted / weighted.sum(1, keepdim=True)
        values, index = torch.topk(weighted, min(top_k, affinity.shape[1]), dim=1)
    return torch.zeros_like(affinity).scatter(1, index, values / values.sum(1, keepdim=True))


def read(memory_key, memory_value, query_key, top_k=None, km=None):
    """Memory read-out [B, 512, h, w] of ``memory_value [B, 512, T, h, w]``; B is 1 unless the read is dense."""
    h, w = query_key.shape[-2:]
    weights = read_weights(affinity_of(memory_key, query_key), w, top_k, km)
    return torch.bmm(memory_value.flatten(2), weights).unflatten(2, (h, w))


def other_masks(masks):
    """Sum of every other object's mask, object by object."""
    return torch.stack([sum((masks[j] for j in range(len(masks)) if j != i), torch.zeros_like(masks[0]))
                        for i in range(len(masks))])


class PropagationNetwork(nn.Module):
    """Both forms of upstream's network: evaluation (k objects of one video) and training (a batch, one or two).

    ``depth`` (50 or 10), ``base`` and ``width`` are upstream's but for miniatures.
    """

    def __init__(self, top_k=50, km=None, single_object=False, decoder=True, depth=50, base=64, width=512):
        super().__init__()
        self.top_k, self.km, self.single_object = top_k, km, single_object
        self.mask_rgb_encoder = MaskRGBEncoder(single_object, depth, base)
        self.rgb_encoder = RGBEncoder(depth, base)
        f4, f8, f16 = self.rgb_encoder.widths
        self.kv_m_f16 = KeyValue(f16, width)
        self.kv_q_f16 = KeyValue(f16, width)
        if decoder:
            self.decoder = Decoder(f8, f4, width)

    def memorize(self, frame, masks):
        """[1, 3, H, W], [K, 1, H, W] -> key [K, 128, 1, h, w], value [K, 512, 1, h, w]."""
        frames = frame.expand(len(masks), -1, -1, -1)
        parts = (frames, masks) if self.single_object else (frames, masks, other_masks(masks))
        key, value = self.kv_m_f16(self.mask_rgb_encoder(*parts))
        return key.unsqueeze(2), value.unsqueeze(2)

    def memorize_train(self, frame, mask, other=None):
        """A batch of samples: [B, 3, H, W] and one object each."""
        parts = (frame, mask) if self.single_object else (frame, mask, other)
        key, value = self.kv_m_f16(self.mask_rgb_encoder(*parts))
        return key.unsqueeze(2), value.unsqueeze(2)

    def get_query_values(self, frame):
        f16, f8, f4 = self.rgb_encoder(frame)
        key, value = self.kv_q_f16(f16)
        return f16, f8, f4, key, value

    def segment_with_query(self, keys, values, f16, f8, f4, query_key, query_value):
        """Probabilities [K, 1, H, W], one object at a time."""
        reads = [read(keys[i:i + 1], values[i:i + 1], query_key, self.top_k, self.km) for i in range(len(keys))]
        x = torch.cat([torch.cat(reads), query_value.expand(len(keys), -1, -1, -1)], 1)
        return torch.sigmoid(self.decoder(x, f8, f4))

    def get_W(self, memory_key, query_key):
        return torch.softmax(affinity_of(memory_key, query_key), 1)

    def get_attention(self, memory_key, pos, neg, query_key):
        """Difference maps [1, 1, H, W] warped to the query frame: [1, 2, H, W]."""
        return warp_difference(self.get_W(memory_key, query_key), pos, neg, query_key.shape[-2:])

    def segment_train(self, frame, keys, values, selector=None):
        """Training form. Lists of keys and values per object -> (logits [B, 1+K, H, W], masks [B, K, H, W])."""
        _, f8, f4, query_key, query_value = self.get_query_values(frame)
        logits = [self.decoder(torch.cat([read(k, v, query_key), query_value], 1), f8, f4)
                  for k, v in zip(keys, values, strict=True)]
        prob = torch.sigmoid(torch.cat(logits, 1))
        if selector is not None:
            prob = prob * selector[:, :, None, None]
        logits, soft = aggregate_wbg_channel(prob)
        return logits, soft[:, 1:]


def warp_difference(W, pos, neg, size):
    maps = F.interpolate(torch.cat([pos, neg], 1), size=size, mode="area").flatten(2)
    warped = torch.bmm(maps, W).unflatten(2, size)
    return F.interpolate(warped, scale_factor=16, mode="bilinear", align_corners=False)


class AttentionReadNetwork(PropagationNetwork):
    """The frozen encoders that warp differences while FusionNet is trained."""

    def __init__(self):
        super().__init__(decoder=False)

    def forward(self, image, mask11, mask21, mask12, mask22, query_image):
        key1, _ = self.memorize_train(image, mask21, mask22)
        key2, _ = self.memorize_train(image, mask22, mask21)
        query_key = self.get_query_values(query_image)[3]
        maps = []
        for key, before, after in ((key1, mask11, mask21), (key2, mask12, mask22)):
            W = self.get_W(key, query_key)
            maps.append(warp_difference(W, (after - before).clamp(0, 1), (before - after).clamp(0, 1),
                                        query_key.shape[-2:]))
        return maps


class FusionNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(9, 32, 3, padding=1), nn.ReLU())
        self.conv2 = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1))
        self.conv3 = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1))
        self.final_conv = nn.Conv2d(32, 1, 3, padding=1)

    def forward(self, image, seg1, seg2, attention, time):
        time = time[:, :, None, None].expand(-1, -1, *image.shape[-2:])
        x = self.conv1(torch.cat([image, seg1, seg2, attention, time], 1))
        x = F.relu(self.conv2(x) + x)
        x = F.relu(self.conv3(x) + x)
        return self.final_conv(x)


def log_odds(prob, axis, background):
    """log(q / (1 - q)) of background and objects, clipped as upstream does."""
    q = torch.cat([background, prob], axis).clamp(1e-7, 1 - 1e-7)
    return torch.log(q / (1 - q))


def aggregate_wbg(prob, keep_bg=False, hard=False):
    """Soft aggregation over axis 0, the background being where no object is."""
    logits = log_odds(prob, 0, torch.prod(1 - prob, 0, keepdim=True))
    soft = torch.softmax(logits * 1000 if hard else logits, 0)
    return soft if keep_bg else soft[1:]


def aggregate_sbg(prob, keep_bg=False, hard=False):
    """The same with a background of constant probability 0.5."""
    logits = log_odds(prob, 0, torch.full_like(prob[:1], 0.5))
    soft = torch.softmax(logits * 1000 if hard else logits, 0)
    return soft if keep_bg else soft[1:]


def aggregate_wbg_channel(prob):
    """Over axis 1: (logits, probabilities), background kept."""
    logits = log_odds(prob, 1, torch.prod(1 - prob, 1, keepdim=True))
    return logits, torch.softmax(logits, 1)
