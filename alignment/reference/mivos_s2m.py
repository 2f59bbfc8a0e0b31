"""PyTorch twin of scribble-to-mask: DeepLabV3+ on a six-channel ResNet-50 (hkchengrex/Scribble-to-Mask 2b55b23)."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from alignment.reference.mivos import stage


class Backbone(nn.Module):
    """ResNet-50 whose last stages dilate instead of striding; the first block keeps the dilation before it."""

    def __init__(self, output_stride):
        super().__init__()
        stride3, dilation3 = (1, 2) if output_stride == 8 else (2, 1)
        dilation4 = dilation3 * 2
        self.conv1 = nn.Conv2d(6, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = stage(64, 64, 3)
        self.layer2 = stage(256, 128, 4, 2)
        self.layer3 = stage(512, 256, 6, stride3, dilation=dilation3)
        self.layer4 = stage(1024, 512, 3, 1, first_dilation=dilation3, dilation=dilation4)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        low = self.layer1(x)
        return low, self.layer4(self.layer3(self.layer2(low)))


class ImagePooling(nn.Sequential):
    def __init__(self):
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Conv2d(2048, 256, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU())

    def forward(self, x):
        return F.interpolate(super().forward(x), size=x.shape[-2:], mode="bilinear", align_corners=False)


class ASPP(nn.Module):
    def __init__(self, rates):
        super().__init__()
        branches = [nn.Sequential(nn.Conv2d(2048, 256, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU())]
        branches += [nn.Sequential(nn.Conv2d(2048, 256, 3, padding=r, dilation=r, bias=False), nn.BatchNorm2d(256),
                                   nn.ReLU()) for r in rates]
        self.convs = nn.ModuleList([*branches, ImagePooling()])
        self.project = nn.Sequential(nn.Conv2d(1280, 256, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU(),
                                     nn.Dropout(0.1))

    def forward(self, x):
        return self.project(torch.cat([branch(x) for branch in self.convs], 1))


class HeadV3Plus(nn.Module):
    def __init__(self, num_classes, rates):
        super().__init__()
        self.project = nn.Sequential(nn.Conv2d(256, 48, 1, bias=False), nn.BatchNorm2d(48), nn.ReLU())
        self.aspp = ASPP(rates)
        self.classifier = nn.Sequential(nn.Conv2d(304, 256, 3, padding=1, bias=False), nn.BatchNorm2d(256), nn.ReLU(),
                                        nn.Conv2d(256, num_classes, 1))

    def forward(self, low, x):
        low, x = self.project(low), self.aspp(x)
        x = F.interpolate(x, size=low.shape[-2:], mode="bilinear", align_corners=False)
        return self.classifier(torch.cat([low, x], 1))


class S2M(nn.Module):
    """[B, 6, H, W] (image, previous mask, positive, negative scribbles) -> logits [B, classes, H, W]."""

    def __init__(self, num_classes=1, output_stride=16):
        super().__init__()
        self.backbone = Backbone(output_stride)
        self.classifier = HeadV3Plus(num_classes, (12, 24, 36) if output_stride == 8 else (6, 12, 18))

    def forward(self, x):
        logits = self.classifier(*self.backbone(x))
        return F.interpolate(logits, size=x.shape[-2:], mode="bilinear", align_corners=False)
