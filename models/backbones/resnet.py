"""ResNet 18 to 152, once for all systems.

Paper: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016. Parameter names are torchvision's
(``conv1 bn1 layer1.0.conv1 ...``), so an ImageNet file needs no renaming. The options are those that the systems
need: MVFNet replaces the first convolution of chosen blocks (``wrap_conv1``), PSPNet takes a deep stem and dilation,
MiVOS extra input channels, biased convolutions and three stages only.

Shapes: N images, C channels, H W pixels; stage k has stride 4, 8, 16, 32 unless ``strides`` says otherwise.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence

from paddle import nn

from models.layers import BatchNorm2D
from models.layers.batch_norm import batch_norms
from models.layers.init import kaiming_normal_

WrapConv1 = Callable[[int, nn.Conv2D], nn.Layer]  # (stage 0-based, the block's first convolution) -> what replaces it


class ResNet(nn.Layer):
    """Residual network without its classifier.

    Args:
        depth: 10, 18, 34 (basic blocks) or 50, 101, 152 (bottlenecks).
        in_channels: of the input image (3 for RGB).
        base_channels: width of the first stage, 64 in every published network; less makes a small one.
        num_stages: 1 to 4 residual stages are built.
        blocks: number of blocks of each stage, where they are not those of ``depth``.
        out_stages: 0-based stages whose outputs ``forward`` returns.
        strides, dilations: per stage; the dilation is that of the 3x3 convolutions.
        contract_dilation: the first block of a dilated stage has half its dilation (mmsegmentation, DeepLab).
        stem_widths: None for the 7x7 stem, else widths of the three 3x3 convolutions of a deep stem.
        style: ``pytorch`` puts a bottleneck's stride on the 3x3, ``caffe`` on the first 1x1 convolution.
        conv_bias: give every convolution a bias.
        average_down: downsample by average pooling before a 1x1 convolution of stride 1.
        average_stride: None, ``after`` or ``before``: an average pooling after or before the 3x3 takes its stride.
        frozen_stages: -1 nothing; k: the stem and stages 1..k get no gradient and stay in eval mode.
        norm_eval: batch norms keep their running statistics in training; ``norm_frozen``: they get no gradient
            either; ``partial_norm``: only those of stages 1..frozen_stages are frozen.
        wrap_conv1: called for the first convolution of every block.

    Raises:
        ValueError: for a depth or style that does not exist.
    """

    BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3),
              152: (3, 8, 36, 3)}

    def __init__(self, *, depth: int, in_channels: int = 3, base_channels: int = 64, num_stages: int = 4,
                 out_stages: Sequence[int] = (3,), blocks: Sequence[int] | None = None,
                 strides: Sequence[int] = (1, 2, 2, 2), dilations: Sequence[int] = (1, 1, 1, 1),
                 contract_dilation: bool = False, stem_widths: Sequence[int] | None = None, style: str = "pytorch",
                 conv_bias: bool = False, average_down: bool = False, average_stride: str | None = None,
                 frozen_stages: int = -1, norm_eval: bool = False, norm_frozen: bool = False,
                 partial_norm: bool = False, wrap_conv1: WrapConv1 | None = None):
        super().__init__()
        if depth not in self.BLOCKS:
            raise ValueError(f"ResNet depth {depth}: expected one of {sorted(self.BLOCKS)}")
        if style not in ("pytorch", "caffe"):
            raise ValueError(f"ResNet style {style!r}: expected pytorch or caffe")
        block = BasicBlock if depth < 50 else Bottleneck
        counts = self.BLOCKS[depth] if blocks is None else tuple(blocks)
        self.num_stages, self.out_stages = num_stages, tuple(out_stages)
        self.frozen_stages, self.norm_eval = frozen_stages, norm_eval
        self.norm_frozen, self.partial_norm = norm_frozen, partial_norm
        self.conv1 = make_stem(in_channels, base_channels if stem_widths is None else stem_widths, conv_bias)
        channels = base_channels if stem_widths is None else stem_widths[-1]
        self.bn1 = BatchNorm2D(channels)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2D(3, stride=2, padding=1)
        self.channels = []  # of each stage's output
        for stage in range(num_stages):
            layers, width = [], base_channels * 2**stage
            for index in range(counts[stage]):
                dilation = dilations[stage]
                layers.append(block(
                    channels, width, stride=strides[stage] if index == 0 else 1,
                    dilation=dilation // 2 if index == 0 and contract_dilation and dilation > 1 else dilation,
                    style=style, conv_bias=conv_bias, downsample=index == 0, average_down=average_down,
                    average_stride=average_stride,
                    wrap_conv1=None if wrap_conv1 is None else lambda conv, stage=stage: wrap_conv1(stage, conv)))
                channels = width * block.expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
            self.channels.append(channels)
        self._freeze()

    def forward(self, x):
        """``x [N, C, H, W]`` -> list of the chosen stages' outputs, finest first."""
        if self.training:  # a parent's ``train()`` sets the flags of all layers below it without calling ours
            self._freeze()
        x = self.stem(x)  # N 64 H/4 W/4
        outputs = []
        for stage in range(self.num_stages):
            x = getattr(self, f"layer{stage + 1}")(x)
            if stage in self.out_stages:
                outputs.append(x)
        return outputs

    def stem(self, x):
        """``x [N, C, H, W]`` -> ``[N, 64, H/4, W/4]`` (or the deep stem's width)."""
        return self.maxpool(self.relu(self.bn1(self.conv1(x))))

    def train(self):
        super().train()
        self._freeze()

    def _freeze(self) -> None:
        """Frozen parts stay in eval mode in training and get no gradient."""
        parts = []
        if self.frozen_stages >= 0:
            parts = [self.conv1, self.bn1]
            parts += [getattr(self, f"layer{k}") for k in range(1, self.frozen_stages + 1)]
        if self.partial_norm:
            for k in range(1, self.frozen_stages + 1):
                parts += batch_norms(getattr(self, f"layer{k}"))
        if self.norm_eval:
            for norm in batch_norms(self):
                norm.eval()
                if self.norm_frozen:
                    parts.append(norm)
        for part in parts:
            part.eval()
            for parameter in part.parameters():
                parameter.stop_gradient = True

    def init_weights(self) -> None:
        """Kaiming normal (fan_out) for convolutions, 1 and 0 for batch norms: the start without an ImageNet file."""
        for layer in self.sublayers():
            if isinstance(layer, nn.Conv2D):
                kaiming_normal_(layer.weight, "fan_out")


def make_stem(in_channels: int, widths: int | Sequence[int], bias: bool) -> nn.Layer:
    """A 7x7 convolution of one width, or three 3x3 convolutions with norms between them; stride 2 in the first."""
    bias_attr = None if bias else False
    if isinstance(widths, int):
        return nn.Conv2D(in_channels, widths, 7, stride=2, padding=3, bias_attr=bias_attr)
    first, second, third = widths
    return nn.Sequential(
        nn.Conv2D(in_channels, first, 3, stride=2, padding=1, bias_attr=bias_attr), BatchNorm2D(first), nn.ReLU(),
        nn.Conv2D(first, second, 3, padding=1, bias_attr=bias_attr), BatchNorm2D(second), nn.ReLU(),
        nn.Conv2D(second, third, 3, padding=1, bias_attr=bias_attr))


class _Block(nn.Layer):
    """What both kinds of block share: the shortcut."""

    expansion: int

    def _make_shortcut(self, channels: int, out: int, stride: int, bias: bool, average: bool):
        if not average:
            return nn.Sequential(nn.Conv2D(channels, out, 1, stride=stride, bias_attr=None if bias else False),
                                 BatchNorm2D(out))
        # Without padding at the border: pixels outside the image do not count (Paddle's exclusive=True).
        return nn.Sequential(nn.AvgPool2D(stride, stride=stride, ceil_mode=True, exclusive=True),
                             nn.Conv2D(channels, out, 1, bias_attr=None if bias else False), BatchNorm2D(out))


class BasicBlock(_Block):
    """Two 3x3 convolutions; ``[N, C, H, W]`` -> ``[N, width, H/stride, W/stride]``."""

    expansion = 1

    def __init__(self, channels: int, width: int, *, stride: int, dilation: int, style: str, conv_bias: bool,
                 downsample: bool, average_down: bool, average_stride: str | None, wrap_conv1=None):
        super().__init__()
        if average_stride:
            raise ValueError("average_stride is for bottlenecks: depth 50 and more")
        bias_attr = None if conv_bias else False
        conv1 = nn.Conv2D(channels, width, 3, stride=stride, padding=dilation, dilation=dilation, bias_attr=bias_attr)
        self.conv1 = wrap_conv1(conv1) if wrap_conv1 else conv1
        self.bn1 = BatchNorm2D(width)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2D(width, width, 3, padding=1, bias_attr=bias_attr)
        self.bn2 = BatchNorm2D(width)
        needed = downsample and (stride != 1 or channels != width)
        self.downsample = self._make_shortcut(channels, width, stride, conv_bias, average_down) if needed else None

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(_Block):
    """1x1, 3x3, 1x1 convolutions; ``[N, C, H, W]`` -> ``[N, 4 * width, H/stride, W/stride]``."""

    expansion = 4

    def __init__(self, channels: int, width: int, *, stride: int, dilation: int, style: str, conv_bias: bool,
                 downsample: bool, average_down: bool, average_stride: str | None, wrap_conv1=None):
        super().__init__()
        bias_attr = None if conv_bias else False
        first, second = (stride, 1) if style == "caffe" else (1, stride)
        pooled = average_stride is not None and stride > 1
        conv1 = nn.Conv2D(channels, width, 1, stride=first, bias_attr=bias_attr)
        self.conv1 = wrap_conv1(conv1) if wrap_conv1 else conv1
        self.conv2 = nn.Conv2D(width, width, 3, stride=1 if pooled else second, padding=dilation, dilation=dilation,
                               bias_attr=bias_attr)
        self.bn1 = BatchNorm2D(width)
        self.bn2 = BatchNorm2D(width)
        self.conv3 = nn.Conv2D(width, width * 4, 1, bias_attr=bias_attr)
        self.bn3 = BatchNorm2D(width * 4)
        self.relu = nn.ReLU()
        self.average_stride = average_stride if pooled else None
        # Here the border counts as zeros (PyTorch's default, Paddle's exclusive=False).
        self.avd_layer = nn.AvgPool2D(3, stride=second, padding=1, exclusive=False) if pooled else None
        needed = downsample and (stride != 1 or channels != width * 4)
        self.downsample = self._make_shortcut(channels, width * 4, stride, conv_bias, average_down) if needed else None

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        if self.average_stride == "before":
            out = self.avd_layer(out)
        out = self.relu(self.bn2(self.conv2(out)))
        if self.average_stride == "after":
            out = self.avd_layer(out)
        out = self.bn3(self.conv3(out))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))
