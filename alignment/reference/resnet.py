"""The ResNets of the originals in PyTorch; options as ``models.backbones.resnet.ResNet``."""
from __future__ import annotations

from torch import nn


class ResNet(nn.Module):
    BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}

    def __init__(self, *, depth, in_channels=3, base_channels=64, num_stages=4, out_stages=(3,), strides=(1, 2, 2, 2),
                 dilations=(1, 1, 1, 1), contract_dilation=False, stem_widths=None, style="pytorch", conv_bias=False,
                 average_down=False, average_stride=None, frozen_stages=-1, norm_eval=False, norm_frozen=False,
                 partial_norm=False):
        super().__init__()
        block = BasicBlock if depth < 50 else Bottleneck
        self.num_stages, self.out_stages = num_stages, tuple(out_stages)
        self.frozen_stages, self.norm_eval = frozen_stages, norm_eval
        self.norm_frozen, self.partial_norm = norm_frozen, partial_norm
        self.conv1 = make_stem(in_channels, base_channels if stem_widths is None else stem_widths, conv_bias)
        channels = base_channels if stem_widths is None else stem_widths[-1]
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.channels = []
        for stage in range(num_stages):
            blocks, width = [], base_channels * 2**stage
            for index in range(self.BLOCKS[depth][stage]):
                dilation = dilations[stage]
                if index == 0 and contract_dilation and dilation > 1:
                    dilation //= 2
                blocks.append(block(channels, width, stride=strides[stage] if index == 0 else 1, dilation=dilation,
                                    style=style, bias=conv_bias, first=index == 0, average_down=average_down,
                                    average_stride=average_stride))
                channels = width * block.expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
            self.channels.append(channels)

    def forward(self, x):
        x = self.stem(x)
        outputs = []
        for stage in range(self.num_stages):
            x = getattr(self, f"layer{stage + 1}")(x)
            if stage in self.out_stages:
                outputs.append(x)
        return outputs

    def stem(self, x):
        return self.maxpool(self.relu(self.bn1(self.conv1(x))))

    def train(self, mode=True):
        super().train(mode)
        if mode:
            self._freeze()
        return self

    def _freeze(self):
        frozen = [] if self.frozen_stages < 0 else [self.conv1, self.bn1] + [
            getattr(self, f"layer{k}") for k in range(1, self.frozen_stages + 1)]
        if self.partial_norm:
            frozen += [m for k in range(1, self.frozen_stages + 1)
                       for m in getattr(self, f"layer{k}").modules() if isinstance(m, nn.BatchNorm2d)]
        if self.norm_eval:
            for norm in (m for m in self.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)):
                norm.eval()
                frozen += [norm] if self.norm_frozen else []
        for module in frozen:
            module.eval()
            for parameter in module.parameters():
                parameter.requires_grad_(False)


def make_stem(in_channels, widths, bias):
    if isinstance(widths, int):
        return nn.Conv2d(in_channels, widths, 7, 2, 3, bias=bias)
    first, second, third = widths
    return nn.Sequential(nn.Conv2d(in_channels, first, 3, 2, 1, bias=bias), nn.BatchNorm2d(first), nn.ReLU(),
                         nn.Conv2d(first, second, 3, 1, 1, bias=bias), nn.BatchNorm2d(second), nn.ReLU(),
                         nn.Conv2d(second, third, 3, 1, 1, bias=bias))


def make_shortcut(channels, out, stride, bias, average):
    if not average:
        return nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=bias), nn.BatchNorm2d(out))
    return nn.Sequential(nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False),
                         nn.Conv2d(channels, out, 1, bias=bias), nn.BatchNorm2d(out))


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, channels, width, *, stride, dilation, style, bias, first, average_down, average_stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, dilation, dilation, bias=bias)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=bias)
        self.bn2 = nn.BatchNorm2d(width)
        needed = first and (stride != 1 or channels != width)
        self.downsample = make_shortcut(channels, width, stride, bias, average_down) if needed else None

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, channels, width, *, stride, dilation, style, bias, first, average_down, average_stride):
        super().__init__()
        first_stride, second_stride = (stride, 1) if style == "caffe" else (1, stride)
        pooled = average_stride is not None and stride > 1
        self.conv1 = nn.Conv2d(channels, width, 1, first_stride, bias=bias)
        self.conv2 = nn.Conv2d(width, width, 3, 1 if pooled else second_stride, dilation, dilation, bias=bias)
        self.bn1 = nn.BatchNorm2d(width)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * 4, 1, bias=bias)
        self.bn3 = nn.BatchNorm2d(width * 4)
        self.relu = nn.ReLU()
        self.average_stride = average_stride if pooled else None
        self.avd_layer = nn.AvgPool2d(3, second_stride, 1) if pooled else None
        needed = first and (stride != 1 or channels != width * 4)
        self.downsample = make_shortcut(channels, width * 4, stride, bias, average_down) if needed else None

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        if self.average_stride == "before":
            out = self.avd_layer(out)
        out = self.relu(self.bn2(self.conv2(out)))
        if self.average_stride == "after":
            out = self.avd_layer(out)
        out = self.bn3(self.conv3(out))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))
