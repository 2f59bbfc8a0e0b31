"""Deep Feature Flow for video segmentation: PSPNet on key frames, optical flow between them.

Paper: Zhu, Xiong, Dai, Yuan, Wei, "Deep Feature Flow for Video Recognition", CVPR 2017, arXiv 1611.07715. The
reproduced network is the article's, github.com/yzfzzz/Deep-Feature-Flow-pytorch (commit 3d16f4a), which warps the
19-channel score map rather than features; stock mmsegmentation PSPNet (``mmseg_v1c``), the full FlowNetS, and the
official network's scale map and zero padding are options.

Data flow, sizes for a 512 x 1024 image::

    key image      -> PSPNet trunk and head -> scores 64 x 128 -> x2 -> key map 128 x 256
    current, key   -> FlowNetS              -> flow 128 x 256, in pixels of that map
    key map, flow  -> warp (-> x scale map) -> 1x1 task layer -> x4 -> logits 512 x 1024

Shapes: N images, T frames, H W pixels (multiples of 8). Current comes before key wherever a pair is joined.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial

import paddle
import paddle.nn.functional as F
from paddle import nn

from models.backbones.flownet_s import FLOW_UNIT, FULL, SLIM, FlowNetS
from models.backbones.resnet import ResNet
from models.heads.psp import FCNHead, PSPHead
from models.layers import Conv2D
from models.layers.init import constant_, kaiming_normal_, normal_
from models.layers.upsample import upsample, upsampled_argmax
from models.layers.warp import warp

STEMS = {"csail": (64, 64, 128), "mmseg_v1c": (32, 32, 64)}
FLOWNETS = {"slim": {"channels": SLIM, "decoder_bias": True}, "full": {"channels": FULL},
            "full_bn": {"channels": FULL, "batch_norm": True}}


class DFF(nn.Layer):
    """Feature network, flow network and task layer; part names are the article's.

    Args:
        pspnet: the feature network (:class:`PSPNet`).
        flownet: the flow network (:class:`FlowNetS`).
        num_classes: channels of the score map.
        scale_map: multiply the warped map by a learned map, 1 everywhere at the start (the official network).
        warp_padding: ``border`` (article) or ``zeros`` (official).
        flow_input_scale: 1, or 0.5 to compute the flow on images of half size (official; a quarter of the cost).

    Raises:
        ValueError: for another ``flow_input_scale``.
    """

    def __init__(self, *, pspnet: PSPNet, flownet: FlowNetS, num_classes: int = 19, scale_map: bool = False,
                 warp_padding: str = "border", flow_input_scale: float = 1.0):
        super().__init__()
        if flow_input_scale not in (1, 0.5):
            raise ValueError(f"flow_input_scale {flow_input_scale}: expected 1 or 0.5")
        self.net_feat = pspnet
        self.net_task = Conv2D(num_classes, num_classes, 1)
        self.flownet = flownet
        self.scale_map = Conv2D(flownet.last_channels, num_classes, 1) if scale_map else None
        self.warp_padding, self.flow_input_scale = warp_padding, flow_input_scale

    def forward(self, seg, flow):
        """Logits ``[N, classes, H, W]`` of the last frame.

        Args:
            seg: ``[N, 3, T, H, W]`` for the feature network; only frame 0, the key frame, is read.
            flow: ``[N, 3, T, H, W]`` for the flow network; frames 0 (key) and -1 (current) are read.
        """
        return self.task(self.propagate(seg, flow))

    def propagate(self, seg, flow):
        """The key frame's score map, moved to the last frame: ``[N, classes, H/4, W/4]``."""
        key_map = self.key_map(seg[:, :, 0])
        field, scale = self.flow(flow[:, :, -1], self.key_half(flow[:, :, 0]))
        return self.move(key_map, field, scale)

    def evaluate(self, seg, flow):
        """int64 label maps ``[N, H, W]`` of the key frame and of the last frame, from the inputs of ``forward``."""
        key_map = self.key_map(seg[:, :, 0])
        field, scale = self.flow(flow[:, :, -1], self.key_half(flow[:, :, 0]))
        return self.labels(key_map), self.labels(self.move(key_map, field, scale))

    # The steps, for whoever walks through a video.

    def key_map(self, image):
        """``[N, 3, H, W]`` -> scores ``[N, classes, H/4, W/4]``. The trunk gets no gradient, the classifier does."""
        with paddle.no_grad():
            feature = self.net_feat.feature(image)
        return upsample(self.net_feat.decode_head.classify(feature), 2)

    def key_half(self, key):
        """What of the flow network depends on the key image alone: ``[N, 3, H, W]`` -> ``[N, c1, H/2, W/2]``."""
        return self.flownet.key_half(self._flow_input(key))

    def flow(self, current, key_half):
        """Flow from the current image into the key image, and the factors of the scale map.

        Args:
            current: ``[N, 3, H, W]``.
            key_half: of the key image.

        Returns:
            (flow ``[N, 2, H/4, W/4]`` in pixels of that map, factors ``[N, classes, H/4, W/4]`` or None).
        """
        flows, joined = self.flownet.decode(self.flownet.first_level(self._flow_input(current), key_half))
        field = flows[0] * (FLOW_UNIT / 4)  # 20 pixels of the flow network's input are 5 of its output
        scale = None if self.scale_map is None else self.scale_map(joined)
        if self.flow_input_scale != 1:
            field = upsample(field, 2) * 2.0
            scale = None if scale is None else upsample(scale, 2)
        return field, scale

    def move(self, scores, flow, scale=None):
        """Warp a score map by a flow of its size and multiply by the scale map's factors, if any."""
        warped = warp(scores, flow, self.warp_padding)
        return warped if scale is None else warped * scale

    def task(self, scores):
        """Score map ``[N, classes, H/4, W/4]`` -> logits ``[N, classes, H, W]``."""
        return upsample(self.net_task(scores), 4)

    def labels(self, scores):
        """The highest class of :meth:`task`, int64 ``[N, H, W]``."""
        return upsampled_argmax(self.net_task(scores), 4)

    def _flow_input(self, image):
        return image if self.flow_input_scale == 1 else F.avg_pool2d(image, 2)

    def train(self) -> None:
        """The article's training mode: the feature network stays in eval mode, so without dropout."""
        super().train()
        self.net_feat.eval()

    def set_train(self) -> None:
        """:meth:`train`, and freeze the feature network but for its classifier; flow network, task layer and scale map
        train."""
        self.train()
        classifier = {id(parameter) for parameter in self.net_feat.decode_head.conv_seg.parameters()}
        for parameter in self.net_feat.parameters():
            parameter.stop_gradient = id(parameter) not in classifier
        if self.scale_map is not None:
            self.scale_map.bias.stop_gradient = True  # stays 1, as in the official network

    def trained_parameters(self) -> list:
        """The parameters that :meth:`set_train` leaves free, in the order of the article's optimizer groups."""
        parts = [self.net_task, self.flownet, self.net_feat.decode_head.conv_seg]
        parts += [] if self.scale_map is None else [self.scale_map]
        return [parameter for part in parts for parameter in part.parameters() if not parameter.stop_gradient]

    def init_task(self, start: str = "xavier") -> None:
        """Scale map 1 everywhere, task layer with zero bias. The article does this after loading the parts' weights,
        so a whole checkpoint has to be loaded later.

        Args:
            start: ``xavier`` draws the task layer (the article: it scrambles the classes until it is trained);
                ``identity`` lets trained parts work as they are.

        Raises:
            ValueError: for another start.
        """
        classes = self.net_task.weight.shape[0]
        if start == "xavier":
            normal_(self.net_task.weight, (2.0 / (2 * classes)) ** 0.5)
        elif start == "identity":
            self.net_task.weight.set_value(paddle.eye(classes, dtype=self.net_task.weight.dtype)[:, :, None, None])
        else:
            raise ValueError(f"start of the task layer {start!r}: expected xavier or identity")
        constant_(self.net_task.bias, 0.0)
        if self.scale_map is not None:
            constant_(self.scale_map.weight, 0.0)
            constant_(self.scale_map.bias, 1.0)


class PSPNet(nn.Layer):
    """Dilated ResNet (output stride 8) and pyramid pooling head.

    Args:
        backbone: ``csail`` (stem 64-64-128, the article) or ``mmseg_v1c`` (stem 32-32-64, mmsegmentation).
        depth: 18, 34, 50, 101 or 152.
        blocks, base, stem: blocks of each stage, width of the first, widths of the stem, where they are not published.
        width: channels of the head; 512 as published.
        num_classes: of the classifier.
        auxiliary: channels of the auxiliary head on layer3 (mmsegmentation: 256), 0 for none.
        dropout: before each classifier, in training.
        closed_form: see :mod:`models.heads.psp`.

    Raises:
        ValueError: for an unknown backbone or depth.
    """

    def __init__(self, *, backbone: str = "csail", depth: int = 101, blocks: Sequence[int] | None = None,
                 base: int = 64, stem: Sequence[int] | None = None, width: int = 512, num_classes: int = 19,
                 auxiliary: int = 0, dropout: float = 0.1, closed_form: bool = True):
        super().__init__()
        if backbone not in STEMS:
            raise ValueError(f"PSPNet backbone {backbone!r}: expected one of {', '.join(STEMS)}")
        self.published = backbone
        self.backbone = ResNet(
            depth=depth, blocks=blocks, base_channels=base, stem_widths=stem or STEMS[backbone], strides=(1, 2, 1, 1),
            dilations=(1, 1, 2, 4), contract_dilation=True, out_stages=(2, 3))
        layer3, layer4 = self.backbone.channels[2:]
        self.decode_head = PSPHead(in_channels=layer4, width=width, num_classes=num_classes, dropout=dropout,
                                   closed_form=closed_form)
        self.auxiliary_head = FCNHead(in_channels=layer3, width=auxiliary, num_classes=num_classes,
                                      dropout=dropout) if auxiliary else None

    def forward(self, image):
        """``[N, 3, H, W]`` -> (scores, auxiliary scores or None), each ``[N, classes, H/8, W/8]``."""
        layer3, layer4 = self.backbone(image)
        return self.decode_head(layer4), None if self.auxiliary_head is None else self.auxiliary_head(layer3)

    def feature(self, image):
        """``[N, 3, H, W]`` -> the classifier's input ``[N, width, H/8, W/8]``."""
        return self.decode_head.feature(self.backbone(image)[-1])

    def init_weights(self) -> None:
        """The published start. csail: N(0, 2 / (k*k*out)) in the trunk; mmsegmentation: the same, and the last batch
        norm of each block 0, so that blocks start as identities. Heads: kaiming, classifiers N(0, 0.01)."""
        for layer in self.sublayers():
            if isinstance(layer, nn.Conv2D):
                kaiming_normal_(layer.weight, "fan_out")
        if self.published == "mmseg_v1c":
            for name, layer in self.backbone.named_sublayers():
                if name.endswith("bn3"):
                    constant_(layer.weight, 0.0)
        for head in (self.decode_head, self.auxiliary_head):
            if head is not None:
                normal_(head.conv_seg.weight, 0.01)
                constant_(head.conv_seg.bias, 0.0)


# ------------------------------------------------------------------ upstream's names

# Our deep stem is one Sequential with its last norm outside; by upstream's own layout:
_STEM = {
    "csail": {"conv1.0": "stem.0.conv1", "conv1.1": "stem.0.bn1", "conv1.3": "stem.0.conv2", "conv1.4": "stem.0.bn2",
              "conv1.6": "stem.0.conv3", "bn1": "stem.0.bn3"},
    "mmseg_v1c": {"conv1.0": "stem.0", "conv1.1": "stem.1", "conv1.3": "stem.3", "conv1.4": "stem.4",
                  "conv1.6": "stem.6", "bn1": "stem.7"}}
_STEM_NAME = re.compile(r"(?<=backbone\.)(conv1\.\d|bn1)(?=\.)")
_FLOW_NAME = re.compile(r"upsampled_flow(\d)_to_(\d)")

# What published files hold beyond these networks: the ImageNet classifier, and an auxiliary head where ours has none.
UPSTREAM_DROPPED = (r"^fc\.",)
AUXILIARY_DROPPED = r"(^|\.)auxiliary_head\."


def upstream_name(name: str, *, backbone: str = "csail", flownet: str = "slim") -> str:
    """Our entry -> upstream's, for :class:`DFF` as for :class:`PSPNet` and :class:`FlowNetS` alone.

    The article's names by default; ``backbone="mmseg_v1c"`` gives mmsegmentation's stem, ``flownet="full"``
    FlowNetPytorch's upsamplers.
    """
    name = re.sub(r"^net_feat\.", "net_feat.model.", name)
    name = _STEM_NAME.sub(lambda match: _STEM[backbone].get(match[1], match[1]), name)
    return _FLOW_NAME.sub(r"upsample_flow\1to\2", name) if flownet == "slim" else name


def upstream_names(backbone: str, flownet: str) -> Callable[[str], str]:
    """:func:`upstream_name` for one pair of variants."""
    return partial(upstream_name, backbone=backbone, flownet=flownet)


def csail_imagenet_name(name: str) -> str:
    """Entry of :class:`ResNet` -> name in CSAIL's ImageNet file (``conv1 bn1 conv2 bn2 conv3 bn3 layer1 ...``)."""
    named = _STEM_NAME.sub(lambda match: _STEM["csail"][match[1]], f"backbone.{name}")
    return named.removeprefix("backbone.").removeprefix("stem.0.")


def mmseg_backbone_name(name: str) -> str:
    """Entry of :class:`ResNet` -> name in mmsegmentation's ImageNet file (``stem.0 stem.1 stem.3 ... layer1``)."""
    named = _STEM_NAME.sub(lambda match: _STEM["mmseg_v1c"][match[1]], f"backbone.{name}")
    return named.removeprefix("backbone.")


def unwrap(state: dict) -> dict:
    """Entries without the prefix of a data-parallel run (``module.``)."""
    return {name.removeprefix("module."): value for name, value in state.items()}
