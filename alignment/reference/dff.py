"""Deep Feature Flow in PyTorch: the twin of ``models/dff.py``, in upstream's own names and plain formulation.

Restated from the specifications of github.com/yzfzzz/Deep-Feature-Flow-pytorch (the article), mmsegmentation 1.2.2
(PSPNet-R101-d8) and github.com/ClementPinard/FlowNetPytorch (FlowNetS). Nothing here is shared with the Paddle side:
the pyramid head concatenates and convolves, the flow network convolves both images together, the warp gathers four
corners. ``architecture(names and shapes)`` reads off a state dict which of the variants it belongs to.
"""
from __future__ import annotations

import math
import re

import torch
import torch.nn.functional as F
from torch import nn


class DFF(nn.Module):
    """The article's network; clips are ``[N, 3, T, H, W]`` of which frames 0 (key) and -1 (current) are read."""

    def __init__(self, *, feature: dict, flow: dict, num_classes: int = 19, scale_map: bool = False,
                 warp_padding: str = "border", flow_input_scale: float = 1.0):
        super().__init__()
        self.net_feat = nn.ModuleDict({"model": PSPNet(num_classes=num_classes, **feature)})
        self.net_task = nn.Conv2d(num_classes, num_classes, 1)
        self.flownet = FlowNetS(**flow)
        self.scale_map = nn.Conv2d(self.flownet.last_channels, num_classes, 1) if scale_map else None
        self.warp_padding, self.flow_input_scale = warp_padding, flow_input_scale

    def set_train(self) -> DFF:
        """Everything of the feature network in eval mode and frozen but its classifier; flow and task train."""
        self.net_feat.eval()
        for parameter in self.net_feat.parameters():
            parameter.requires_grad = False
        classifier = self.net_feat["model"].decode_head.conv_seg
        for module in (classifier, self.net_task, self.flownet, self.scale_map):
            if module is not None:
                module.train()
        for parameter in classifier.parameters():
            parameter.requires_grad = True
        if self.scale_map is not None:
            self.scale_map.bias.requires_grad = False  # its rate is 0 in the official network
        return self

    def key_map(self, image):
        """Score map of a key frame at a quarter of the image."""
        head = self.net_feat["model"].decode_head
        with torch.no_grad():
            feature = head.feature(self.net_feat["model"].backbone(image)[-1])
        return F.interpolate(head.conv_seg(head.dropout(feature)), scale_factor=2, mode="bilinear",
                             align_corners=False)

    def flow(self, current, key):
        """(flow, last decoder activation) at a quarter of the image; flow in pixels of that map."""
        pair = torch.cat([current, key], 1)
        if self.flow_input_scale != 1:
            pair = F.avg_pool2d(pair, 2)
        flows, last = self.flownet(pair, with_last=True)
        flow = flows[0] * 5.0
        if self.flow_input_scale != 1:  # flow is at an eighth: to the quarter map, in its pixels
            flow = F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=False) * 2.0
            last = F.interpolate(last, scale_factor=2, mode="bilinear", align_corners=False)
        return flow, last

    def forward(self, seg, flow_clip):
        key = self.key_map(seg[:, :, 0])
        flow, last = self.flow(flow_clip[:, :, -1], flow_clip[:, :, 0])
        warped = warp(key, flow, self.warp_padding)
        propagated = warped if self.scale_map is None else warped * self.scale_map(last)
        return {"key": key, "flow": flow, "warped": warped, "pred": self.labels_logits(propagated)}

    def labels_logits(self, scores):
        """Task layer and the four-fold upsampling."""
        return F.interpolate(self.net_task(scores), scale_factor=4, mode="bilinear", align_corners=False)

    def evaluate(self, seg, flow_clip):
        """int64 label maps [N, H, W] of the key and of the current frame."""
        out = self(seg, flow_clip)
        return self.labels_logits(out["key"]).argmax(1), out["pred"].argmax(1)


# ---------------------------------------------------------------- PSPNet

class PSPNet(nn.Module):
    """Dilated ResNet, pyramid pooling head and, for training alone, a fully convolutional head on layer3."""

    def __init__(self, *, backbone: str = "csail", depths=(3, 4, 23, 3), base: int = 64, stem=(64, 64, 128),
                 head: int = 512, num_classes: int = 19, auxiliary: int = 0, dropout: float = 0.1):
        super().__init__()
        self.backbone = ResNet(backbone=backbone, depths=depths, base=base, stem=stem)
        self.decode_head = PSPHead(base * 32, head, num_classes, dropout)
        if auxiliary:
            self.auxiliary_head = FCNHead(base * 16, auxiliary, num_classes, dropout)

    def forward(self, image):
        layers = self.backbone(image)
        out = {"layer3": layers[2], "layer4": layers[3], "logits": self.decode_head(layers[3])}
        if hasattr(self, "auxiliary_head"):
            out["aux"] = self.auxiliary_head(layers[2])
        return out


class ResNet(nn.Module):
    def __init__(self, *, backbone: str, depths, base: int, stem):
        super().__init__()
        self.stem = CSAILStem(stem) if backbone == "csail" else mmseg_stem(stem)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if backbone != "csail" else nn.Identity()
        channels = stem[2]
        for level, (depth, stride, dilation) in enumerate(zip(depths, (1, 2, 1, 1), (1, 1, 2, 4), strict=True)):
            planes = base * 2**level
            blocks = []
            for index in range(depth):
                contracted = max(dilation // 2, 1) if index == 0 else dilation
                blocks.append(Bottleneck(channels, planes, stride if index == 0 else 1, contracted, index == 0))
                channels = planes * 4
            self.add_module(f"layer{level + 1}", nn.Sequential(*blocks))

    def forward(self, x):
        x = self.maxpool(self.stem(x))
        layers = []
        for level in range(1, 5):
            x = getattr(self, f"layer{level}")(x)
            layers.append(x)
        return layers


class CSAILStem(nn.Sequential):
    def __init__(self, widths):
        super().__init__(CSAILStemConvolutions(widths), nn.MaxPool2d(3, 2, 1))


class CSAILStemConvolutions(nn.Module):
    def __init__(self, widths):
        super().__init__()
        for index, (cin, cout) in enumerate(zip((3, *widths), widths, strict=False)):
            self.add_module(f"conv{index + 1}", nn.Conv2d(cin, cout, 3, 2 if index == 0 else 1, 1, bias=False))
            self.add_module(f"bn{index + 1}", nn.BatchNorm2d(cout))

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.relu(self.bn3(self.conv3(x)))


def mmseg_stem(widths) -> nn.Sequential:
    parts = []
    for index, (cin, cout) in enumerate(zip((3, *widths), widths, strict=False)):
        parts += [nn.Conv2d(cin, cout, 3, 2 if index == 0 else 1, 1, bias=False), nn.BatchNorm2d(cout), nn.ReLU()]
    return nn.Sequential(*parts)


class Bottleneck(nn.Module):
    def __init__(self, cin: int, planes: int, stride: int, dilation: int, downsample: bool):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(cin, planes, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = nn.Conv2d(planes, planes * 4, 1, bias=False), nn.BatchNorm2d(planes * 4)
        self.downsample = None
        if downsample:
            self.downsample = nn.Sequential(nn.Conv2d(cin, planes * 4, 1, stride, bias=False),
                                            nn.BatchNorm2d(planes * 4))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ConvModule(nn.Module):
    def __init__(self, cin: int, cout: int, kernel: int):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(cin, cout, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(cout)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class PSPHead(nn.Module):
    def __init__(self, cin: int, width: int, classes: int, dropout: float, scales=(1, 2, 3, 6)):
        super().__init__()
        self.conv_seg = nn.Conv2d(width, classes, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(scale), ConvModule(cin, width, 1)) for scale in scales)
        self.bottleneck = ConvModule(cin + len(scales) * width, width, 3)

    def feature(self, x):
        """[N, width, H, W] before the classifier."""
        pyramid = [F.interpolate(module(x), x.shape[2:], mode="bilinear", align_corners=False)
                   for module in self.psp_modules]
        return self.bottleneck(torch.cat([x, *pyramid], 1))

    def forward(self, x):
        return self.conv_seg(self.dropout(self.feature(x)))


class FCNHead(nn.Module):
    def __init__(self, cin: int, width: int, classes: int, dropout: float):
        super().__init__()
        self.conv_seg = nn.Conv2d(width, classes, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.convs = nn.Sequential(ConvModule(cin, width, 3))

    def forward(self, x):
        return self.conv_seg(self.dropout(self.convs(x)))


# ---------------------------------------------------------------- FlowNetS

class FlowNetS(nn.Module):
    """Flow of a six-channel pair (current, key). ``slim`` is the article's (biases everywhere, other names)."""

    def __init__(self, *, slim: bool, channels=(64, 128, 256, 512, 512, 1024), batch_norm: bool = False):
        super().__init__()
        c1, c2, c3, c4, c5, c6 = channels
        self.slim = slim
        plan = [("conv1", 6, c1, 7, 2), ("conv2", c1, c2, 5, 2), ("conv3", c2, c3, 5, 2), ("conv3_1", c3, c3, 3, 1),
                ("conv4", c3, c4, 3, 2), ("conv4_1", c4, c4, 3, 1), ("conv5", c4, c5, 3, 2),
                ("conv5_1", c5, c5, 3, 1), ("conv6", c5, c6, 3, 2), ("conv6_1", c6, c6, 3, 1)]
        for name, cin, cout, kernel, stride in plan:
            layers = [nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=not batch_norm)]
            layers += [nn.BatchNorm2d(cout)] if batch_norm else []
            self.add_module(name, nn.Sequential(*layers, nn.LeakyReLU(0.1)))
        pad = 0 if slim else 1
        cat = c6
        sides = {5: (c5, c4), 4: (c4, c3), 3: (c3, c2), 2: (c2, c1)}
        self.predict_flow6 = nn.Conv2d(c6, 2, 3, 1, 1, bias=slim)
        for level, (skip, width) in sides.items():
            deconv = nn.ConvTranspose2d(cat, width, 4, 2, pad, bias=slim)
            self.add_module(f"deconv{level}", nn.Sequential(deconv, nn.LeakyReLU(0.1)))
            self.add_module(self.upsampler(level), nn.ConvTranspose2d(2, 2, 4, 2, pad, bias=slim))
            cat = skip + width + 2
            self.add_module(f"predict_flow{level}", nn.Conv2d(cat, 2, 3, 1, 1, bias=slim))
        self.last_channels = cat

    def upsampler(self, level: int) -> str:
        form = "upsample_flow{}to{}" if self.slim else "upsampled_flow{}_to_{}"
        return form.format(level + 1, level)

    def forward(self, x, with_last: bool = False):
        """(flow2, ..., flow6), each [N, 2, h, w] in units of 20 pixels of the input."""
        skips = {2: self.conv2(self.conv1(x))}
        skips[3] = self.conv3_1(self.conv3(skips[2]))
        skips[4] = self.conv4_1(self.conv4(skips[3]))
        skips[5] = self.conv5_1(self.conv5(skips[4]))
        level_input = self.conv6_1(self.conv6(skips[5]))
        flows = [self.predict_flow6(level_input)]
        for level in (5, 4, 3, 2):
            skip = skips[level]
            flow = self.crop(getattr(self, self.upsampler(level))(flows[0]), skip)
            up = self.crop(getattr(self, f"deconv{level}")(level_input), skip)
            level_input = torch.cat([skip, up, flow], 1)
            flows.insert(0, getattr(self, f"predict_flow{level}")(level_input))
        return (tuple(flows), level_input) if with_last else tuple(flows)

    def crop(self, x, like):
        start, (height, width) = (1 if self.slim else 0), like.shape[2:]
        return x[:, :, start:start + height, start:start + width]


def warp(feature, flow, padding: str = "border"):
    """Sample ``feature`` at (x + flow[:, 0], y + flow[:, 1]); clamped corners, unclamped weights (Resample2d)."""
    n, c, height, width = feature.shape
    x = torch.arange(width, dtype=flow.dtype) + flow[:, 0]
    y = torch.arange(height, dtype=flow.dtype)[:, None] + flow[:, 1]
    left, top = torch.floor(x), torch.floor(y)
    right_part, bottom_part = x - left, y - top
    out = 0
    for dy, row_weight in ((0, 1 - bottom_part), (1, bottom_part)):
        for dx, column_weight in ((0, 1 - right_part), (1, right_part)):
            row, column = (top + dy).long(), (left + dx).long()
            weight = row_weight * column_weight
            if padding == "zeros":
                weight = weight * ((row >= 0) & (row < height) & (column >= 0) & (column < width))
            index = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
            corner = feature.flatten(2).gather(2, index.flatten(1)[:, None].expand(-1, c, -1))
            out = out + corner.view(n, c, height, width) * weight[:, None]
    return out


# ---------------------------------------------------------------- losses

def dff_loss(logits, gt):
    """Cross entropy over the pixels that are not ignored."""
    return F.cross_entropy(logits, gt, ignore_index=255)


def mmseg_loss(logits, gt):
    """Cross entropy after resizing to the label, divided by the number of all pixels."""
    logits = F.interpolate(logits, gt.shape[1:], mode="bilinear", align_corners=False)
    total = F.cross_entropy(logits, gt, ignore_index=255, reduction="sum")
    return total / (gt.numel() + torch.finfo(torch.float32).eps)


def mmseg_accuracy(logits, gt):
    """Percentage of non-ignored pixels whose highest class is right."""
    logits = F.interpolate(logits, gt.shape[1:], mode="bilinear", align_corners=False)
    valid, eps = gt != 255, torch.finfo(torch.float32).eps
    right = ((logits.argmax(1) == gt) & valid).sum().float() + eps
    return right * (100.0 / (valid.sum().item() + eps))


def endpoint_error(flow, target):
    return torch.linalg.vector_norm(target - flow, dim=1)


def multiscale_epe(flows, target, weights=(0.005, 0.01, 0.02, 0.08, 0.32)):
    """Per scale the target is area-resized; errors are summed over pixels and divided by the batch."""
    loss = 0
    for flow, weight in zip(flows, weights, strict=True):
        scaled = F.adaptive_avg_pool2d(target, flow.shape[2:])
        loss = loss + weight * endpoint_error(flow, scaled).sum() / flow.shape[0]
    return loss


def real_epe(flow, target):
    """Mean endpoint error of the bilinearly resized flow."""
    return endpoint_error(F.interpolate(flow, target.shape[2:], mode="bilinear", align_corners=False), target).mean()


# ---------------------------------------------------------------- which variant

def architecture(shapes: dict[str, tuple]) -> dict:
    """Arguments of ``DFF`` (or of ``PSPNet``/``FlowNetS`` under ``feature``/``flow``) for a state dict's shapes."""
    found = {}
    trunk = next((name[:-len("layer1.0.conv1.weight")] for name in shapes
                  if name.endswith("backbone.layer1.0.conv1.weight")), None)
    if trunk is not None:
        csail = f"{trunk}stem.0.conv1.weight" in shapes
        stem = [f"{trunk}stem.0.conv{i}.weight" if csail else f"{trunk}stem.{3 * i - 3}.weight" for i in (1, 2, 3)]
        model = trunk[:-len("backbone.")]
        auxiliary = shapes.get(f"{model}auxiliary_head.convs.0.conv.weight")
        found["num_classes"] = shapes[f"{model}decode_head.conv_seg.weight"][0]
        found["feature"] = {
            "backbone": "csail" if csail else "mmseg_v1c",
            "depths": tuple(_count(shapes, rf"{re.escape(trunk)}layer{i}\.(\d+)\.") for i in (1, 2, 3, 4)),
            "base": shapes[f"{trunk}layer1.0.conv1.weight"][0],
            "stem": tuple(shapes[name][0] for name in stem),
            "head": shapes[f"{model}decode_head.conv_seg.weight"][1],
            "auxiliary": auxiliary[0] if auxiliary else 0}
    flow = next((name[:-len("conv1.0.weight")] for name in shapes
                 if name.endswith("conv1.0.weight") and "backbone" not in name), None)
    if flow is not None:
        found["flow"] = {
            "slim": f"{flow}upsample_flow6to5.weight" in shapes,
            "batch_norm": f"{flow}conv1.1.weight" in shapes,
            "channels": tuple(shapes[f"{flow}conv{i}.0.weight"][0] for i in range(1, 7))}
    found["scale_map"] = any(name.startswith("scale_map.") for name in shapes)
    return found


def _count(shapes, pattern: str) -> int:
    return 1 + max(int(match[1]) for match in map(re.compile(pattern).match, shapes) if match)


def initialise_task(network: DFF) -> None:
    """Xavier normal weight and zero bias, as the article's ``weight_init`` leaves the task layer."""
    classes = network.net_task.weight.shape[0]
    nn.init.normal_(network.net_task.weight, 0.0, math.sqrt(2 / (2 * classes)))
    nn.init.zeros_(network.net_task.bias)
