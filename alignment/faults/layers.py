"""Faults inside networks: one layer, one weight, one function is not what the original has."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import paddle
import paddle.nn.functional as F

import models.backbones.clip
import models.backbones.flownet_s
import models.dff
import models.mivos.propagation
from alignment.faults.fault import Fault, NotPlanted, Place, Plant, in_network, replaced, wrapped
from models.actionclip import TemporalShift
from models.layers import resize

BOTH = ("forward", "backward")


def attributes(path: str, **values: object) -> Plant:
    """The layer at ``path`` gets other settings; they must exist, and differ."""
    def change(layer) -> None:
        for name, value in values.items():
            if not hasattr(layer, name) or getattr(layer, name) == value:
                raise NotPlanted(f"{path}.{name} is absent or {value!r} already: this is no fault")
            setattr(layer, name, value)
    return lambda: in_network(path, change)


def values(path: str, change: Callable[[np.ndarray], np.ndarray], *names: str) -> Plant:
    """Parameters of the layer at ``path`` get other values after loading."""
    def apply(layer) -> None:
        for name in names or ("weight",):
            parameter = getattr(layer, name)
            array = parameter.numpy()
            new = change(array).astype(array.dtype)
            if (new == array).all():
                raise NotPlanted(f"{path}.{name} has these values already: this is no fault")
            parameter.set_value(np.ascontiguousarray(new))
    return lambda: in_network(path, apply)


def calls(path: str, around: Callable) -> Plant:
    """Calls of the layer at ``path`` go through ``around(forward, *arguments)``."""
    def change(layer) -> None:
        forward = layer.forward
        layer.forward = lambda *arguments, **options: around(forward, *arguments, **options)
    return lambda: in_network(path, change)


def function(owner, name: str, around: Callable) -> Plant:
    """Calls of a function go through ``around(original, ...)``."""
    return lambda: wrapped(owner, name, around)


def constants(owner, **changed: object) -> Plant:
    """Constants (or functions) of a module have other values."""
    return lambda: replaced(owner, **changed)


def dilated(path: str, dilation: int) -> Plant:
    """A 3x3 convolution with another dilation, its padding to match."""
    return attributes(path, _dilation=[dilation] * 2, _updated_padding=[dilation] * 2)


def bumped(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flat[array.size // 2] += 1e-3
    return array


def swapped_thirds(array: np.ndarray) -> np.ndarray:
    query, key, value = np.split(array, 3)
    return np.concatenate([query, value, key])


def swapped_halves(array: np.ndarray) -> np.ndarray:
    first, second = np.split(array, 2, axis=-1)
    return np.concatenate([second, first], -1)


def swapped_gates(array: np.ndarray) -> np.ndarray:
    """Rows input, forget, cell, output -> input, cell, forget, output."""
    gates = np.split(array, 4)
    return np.concatenate([gates[0], gates[2], gates[1], gates[3]])


def larger_queries(array: np.ndarray) -> np.ndarray:
    """The scale 1 / sqrt(64) left out, seen from the weights."""
    array = array.copy()
    array[:len(array) // 3] *= 8.0
    return array


def in_batch_mode(forward, x):
    """A batch norm that normalizes by the batch, though the network is evaluated."""
    forward.__self__.training = True
    return forward(x)


def earlier_masked(length, dtype):
    """The causal mask with its sense turned round: a token sees itself and what follows."""
    place = paddle.arange(length)
    earlier = place.unsqueeze(0) < place.unsqueeze(1)
    zero = paddle.zeros_like(earlier, dtype=dtype)
    return paddle.where(earlier, paddle.full_like(zero, -np.inf), zero).unsqueeze(0)


def corners_aligned(original, x, factor):
    return resize(x, scale_factor=factor, align_corners=True)


def shifted_the_other_way(original, self, x):
    def turned(tokens):
        return tokens.reshape([-1, self.segments, *tokens.shape[1:]]).flip([1]).reshape(tokens.shape)
    return turned(original(self, turned(x)))


def cut_off(forward, x, *arguments):
    """The layer's input gets no gradient."""
    return forward(x.detach(), *arguments)


IN_PROJECTION = ("in_proj_weight", "in_proj_bias")
TEXT, IMAGE = "clip.transformer.resblocks", "clip.visual.transformer.resblocks"
PVT = "encoder_backbone"
FUNCTION = "a function, not a layer: the layer that reads it is the first thing compared"

FAULTS = (
    Fault("bn_epsilon", "one batch norm has epsilon 1e-4 for 1e-5", (
        Place("mvf", "faults_small", BOTH, attributes("backbone.layer2.1.bn2", _epsilon=1e-4),
              r"backbone\.layer2\.1\.bn2"),
        Place("avs", "faults_resnet", ("forward",), attributes("resnet.layer3.1.bn1", _epsilon=1e-4),
              r"resnet\.layer3_1\.1\.bn1"),
        Place("mivos", "faults_s2m", ("forward",), attributes("backbone.layer4.0.bn3", _epsilon=1e-4),
              r"backbone\.layer4\.0\.bn3"),
        Place("dff", "pspnet_v1c", BOTH, attributes("backbone.layer3.0.bn2", _epsilon=1e-4),
              r"backbone\.layer3\.0\.bn2"))),
    Fault("ln_epsilon", "one layer norm has epsilon 1e-6 for 1e-5, or the reverse", (
        Place("actionclip", "faults_small", BOTH, attributes(f"{IMAGE}.0.net.ln_2", exact_epsilon=1e-6, _epsilon=1e-6),
              r"visual\.transformer\.resblocks\.0\.net\.ln_2"),
        Place("xclip", "faults_small", BOTH, attributes("mit.resblocks.0.ln_1", exact_epsilon=1e-6, _epsilon=1e-6),
              r"mit\.resblocks\.0\.ln_1"),
        Place("avs", "faults_small", BOTH, attributes(f"{PVT}.block2.0.norm1", _epsilon=1e-5),
              r"encoder_backbone\.block2\.0\.norm1"))),
    Fault("bn_momentum", "the momentum of one batch norm taken in PyTorch's sense: 0.1 for 0.9", (
        Place("mvf", "faults_small", ("bn_stats", "train"), attributes("backbone.layer2.0.bn1", _momentum=0.1),
              r"backbone\.layer2\.0\.bn1\.running_mean"),
        Place("avs", "tpavi_small", ("forward",), attributes("W_z.1", _momentum=0.1),
              r"gaussian\.va\.train\.running_mean"),
        Place("mivos", "faults_s2m", ("forward_train",), attributes("backbone.bn1", _momentum=0.1),
              r"backbone\.bn1\.running_mean"),
        Place("dff", "pspnet_v1c", ("bn_train",), attributes("backbone.layer2.1.bn3", _momentum=0.1),
              r"bn:backbone\.layer2\.1\.bn3\.running_mean"))),
    Fault("bn_biased_variance", "running variances follow the biased batch variance, as Paddle's own layer", (
        Place("mvf", "faults_small", ("bn_stats", "train"), attributes("backbone.layer1.0.bn1", unbiased=False),
              r"backbone\.layer1\.0\.bn1\.running_var"),
        Place("avs", "tpavi_small", ("forward",), attributes("W_z.1", unbiased=False),
              r"gaussian\.va\.train\.running_var"),
        Place("mivos", "faults_s2m", ("forward_train",), attributes("classifier.classifier.1", unbiased=False),
              r"classifier\.classifier\.1\.running_var"),
        Place("dff", "flow_full_bn", ("train",), attributes("conv3_1.1", unbiased=False),
              r"first:conv3_1\.1\.running_var"))),
    Fault("bn_batch_statistics", "one batch norm stays in training mode when the network is evaluated", (
        Place("mvf", "faults_small", ("forward", "loss", "backward"), calls("backbone.layer1.1.bn1", in_batch_mode),
              r"backbone\.layer1\.1\.bn1"),
        Place("mivos", "faults_s2m", ("forward",), calls("classifier.project.1", in_batch_mode),
              r"classifier\.project\.1"),
        Place("dff", "flow_full_bn", ("forward",), calls("conv2.1", in_batch_mode), r"conv2\.1"))),
    Fault("square_transpose", "a square matrix of a linear layer is loaded without its transpose", (
        Place("mvf", "faults_small", ("forward", "loss", "backward"), values("cls_head.new_fc", np.transpose),
              r"cls_head\.new_fc"),
        Place("actionclip", "faults_small", BOTH, values(f"{IMAGE}.1.net.attn.out_proj", np.transpose),
              r"visual\.transformer\.resblocks\.1\.net\.attn"),
        Place("xclip", "faults_small", ("forward", "loss", "backward"),
              values("visual.transformer.resblocks.1.message_fc", np.transpose),
              r"visual\.transformer\.resblocks\.1\.message_fc"),
        Place("avs", "faults_small", BOTH, values(f"{PVT}.block3.0.attn.proj", np.transpose),
              r"encoder_backbone\.block3\.0\.attn\.proj"))),
    Fault("dropped_bias", "the bias of one layer is not loaded", (
        Place("mvf", "faults_small", ("forward", "loss", "train"), values("cls_head.new_fc", np.zeros_like, "bias"),
              r"cls_head\.new_fc"),
        Place("actionclip", "faults_small", BOTH, values(f"{TEXT}.0.mlp.c_fc", np.zeros_like, "bias"),
              r"transformer\.resblocks\.0\.mlp\.c_fc"),
        Place("xclip", "faults_small", BOTH, values("mit.resblocks.0.mlp.c_proj", np.zeros_like, "bias"),
              r"mit\.resblocks\.0\.mlp\.c_proj"),
        Place("avs", "faults_small", BOTH, values("output_conv.2", np.zeros_like, "bias"), r"output_conv\.2"),
        Place("mivos", "faults_single", BOTH, values("decoder.up_16_8.skip_conv1", np.zeros_like, "bias"),
              r"decoder\.up_16_8\.skip_conv1"),
        Place("dff", "full_zeros_scale", ("forward", "evaluate", "loss"), values("net_task", np.zeros_like, "bias"),
              r"net_task"))),
    Fault("weight_off_by_1e-3", "one number of one weight is larger by 1e-3", (
        Place("mvf", "faults_small", BOTH, values("backbone.layer1.1.conv2", bumped), r"backbone\.layer1\.1\.conv2"),
        Place("actionclip", "faults_small", BOTH, values(f"{TEXT}.0.mlp.c_proj", bumped),
              r"transformer\.resblocks\.0\.mlp\.c_proj"),
        Place("xclip", "faults_small", BOTH, values("visual.transformer.resblocks.0.mlp.c_fc", bumped),
              r"visual\.transformer\.resblocks\.0\.mlp\.c_fc"),
        Place("avs", "faults_small", BOTH, values(f"{PVT}.patch_embed3.proj", bumped),
              r"encoder_backbone\.patch_embed3\.proj"),
        Place("mivos", "faults_single", BOTH, values("rgb_encoder.layer1.1.conv2", bumped),
              r"rgb_encoder\.res2\.1\.conv2"),
        Place("dff", "full_zeros_scale", ("forward", "backward"), values("flownet.conv4.0", bumped),
              r"flownet\.conv4\.0"))),
    Fault("gelu_tanh", "GELU by tanh for GELU by erf", (
        Place("avs", "faults_small", BOTH, function(F, "gelu", lambda original, x: original(x, approximate=True)),
              r"encoder_backbone\.block1\.0\.mlp\.(act|fc2)", beside=FUNCTION),)),
    Fault("gelu_for_quick_gelu", "GELU for CLIP's QuickGELU, or the reverse", (
        Place("actionclip", "faults_small", BOTH, constants(models.backbones.clip, quick_gelu=F.gelu),
              r"visual\.transformer\.resblocks\.0\.net\.mlp\.c_proj", beside=FUNCTION),
        Place("xclip", "faults_small", BOTH, constants(models.backbones.clip, quick_gelu=F.gelu),
              r"transformer\.resblocks\.0\.mlp\.c_proj", beside=FUNCTION),
        Place("avs", "faults_small", BOTH, function(F, "gelu", lambda original, x: x * F.sigmoid(1.702 * x)),
              r"encoder_backbone\.block1\.0\.mlp\.(act|fc2)", beside=FUNCTION))),
    Fault("wrong_activation", "swish for hard swish; leaky ReLU with the library's slope 0.01 for 0.1", (
        Place("mvf", "faults_small", BOTH, function(F, "hardswish", lambda original, x: F.swish(x)),
              r"mvf_out:backbone\.layer2\.0\.conv1"),
        Place("dff", "full_zeros_scale", BOTH, constants(models.backbones.flownet_s, SLOPE=0.01),
              r"flownet\.conv2\.0", beside="the first convolution is run in two halves: the second is the first "
                                           "thing compared"))),
    Fault("align_corners", "bilinear enlargement with the corners aligned, or not", (
        Place("avs", "faults_small", BOTH, attributes("path3.upscale", align_corners=False), r"path3"),
        Place("mivos", "faults_single", BOTH, function(
            models.mivos.propagation, "resize",
            lambda original, x, **options: original(x, **options, align_corners=True)),
              r"decoder\.up_16_8\.out_conv\.(downsample|conv1)", beside=FUNCTION),
        Place("dff", "full_zeros_scale", ("forward", "loss"), function(models.dff, "upsample", corners_aligned),
              r"key"))),
    Fault("pool_exclusive", "average pooling leaves the padding out of its mean", (
        Place("mvf", "faults_pooling", ("forward", "loss"), attributes("backbone.layer2.0.avd_layer", exclusive=True),
              r"backbone\.layer2\.0\.avd_layer"),)),
    Fault("max_pool_padding", "max pooling without padding, the size rounded up", (
        Place("mvf", "faults_small", BOTH, attributes("backbone.maxpool", padding=0, ceil_mode=True),
              r"backbone\.maxpool"),
        Place("avs", "faults_resnet", ("forward",), attributes("resnet.maxpool", padding=0, ceil_mode=True),
              r"resnet\.layer1\.0\.conv1", beside=FUNCTION),
        Place("mivos", "faults_single", ("forward",), attributes("rgb_encoder.maxpool", padding=0, ceil_mode=True),
              r"rgb_encoder\.res2\.0\.(conv1|downsample\.0)", beside=FUNCTION),
        Place("dff", "pspnet_v1c", BOTH, attributes("backbone.maxpool", padding=0, ceil_mode=True),
              r"backbone\.layer1\.0\.conv1", beside="the pooling holds no weights: the layer behind it is the first "
                                                    "thing compared"))),
    Fault("dilation", "one convolution has the dilation of its neighbours", (
        Place("avs", "faults_small", ("forward",), dilated("conv2.conv2d_list.0", 2), r"conv2",
              beside="the four dilated convolutions are summed as functions: their sum is the first thing compared"),
        Place("mivos", "faults_s2m", ("forward",), dilated("backbone.layer4.0.conv2", 4),
              r"backbone\.layer4\.0\.conv2"),
        Place("dff", "pspnet_v1c", BOTH, dilated("backbone.layer4.0.conv2", 4), r"backbone\.layer4\.0\.conv2"))),
    Fault("inverted_mask", "the mask of text attention in the other sense: Paddle keeps where PyTorch blocks", (
        Place("actionclip", "faults_small", BOTH, constants(models.backbones.clip, causal_mask=earlier_masked),
              r"transformer\.resblocks\.0\.attn"),
        Place("xclip", "faults_small", BOTH, constants(models.backbones.clip, causal_mask=earlier_masked),
              r"transformer\.resblocks\.0\.attn"))),
    Fault("swapped_key_value", "rows of key and value exchanged in a packed projection", (
        Place("actionclip", "faults_small", BOTH, values(f"{IMAGE}.0.net.attn", swapped_thirds, *IN_PROJECTION),
              r"visual\.transformer\.resblocks\.0\.net\.attn"),
        Place("xclip", "faults_small", BOTH,
              values("visual.transformer.resblocks.0.message_attn", swapped_thirds, *IN_PROJECTION),
              r"visual\.transformer\.resblocks\.0\.message_attn"),
        Place("avs", "faults_small", BOTH, values(f"{PVT}.block4.0.attn.kv", swapped_halves, "weight", "bias"),
              r"encoder_backbone\.block4\.0\.attn\.kv"))),
    Fault("attention_scale", "the scores of one attention are not divided by the root of the head's size", (
        Place("actionclip", "faults_small", BOTH, values(f"{TEXT}.1.attn", larger_queries, *IN_PROJECTION),
              r"transformer\.resblocks\.1\.attn"),
        Place("xclip", "faults_small", BOTH, values("mit.resblocks.0.attn", larger_queries, *IN_PROJECTION),
              r"mit\.resblocks\.0\.attn"),
        Place("mivos", "faults_single", BOTH, function(
            models.mivos.propagation, "read_dense",
            lambda original, key, value, query: original(key, value, query * query.shape[1]**0.5)),
              r"decoder\.compress\.(downsample|conv1)", beside=FUNCTION))),
    Fault("lstm_gates", "gates of an LSTM in the order input, cell, forget, output", (
        Place("actionclip", "faults_small", BOTH, values(
            "fusion.lstm_visual", swapped_gates, "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"),
              r"module\.lstm_visual\.0"),)),
    Fault("padding_mode", "sampling outside the map takes the border for zeros", (
        Place("dff", "full_zeros_scale", ("forward", "loss", "backward"), attributes("", warp_padding="border"),
              r"warped"),)),
    Fault("time_reversed", "the past taken for the future: taps, shifted channels, or the order of an image pair", (
        Place("mvf", "faults_small", BOTH, values("backbone.layer2.1.conv1.shift_conv", lambda w: w[:, :, ::-1]),
              r"mvf_out:backbone\.layer2\.1\.conv1"),
        Place("actionclip", "faults_small", BOTH, function(TemporalShift, "shift", shifted_the_other_way),
              r"visual\.transformer\.resblocks\.0\.net\.ln_1", beside=FUNCTION),
        Place("xclip", "faults_small", BOTH, values("mit", lambda w: w[:, ::-1], "positional_embedding"),
              r"mit\.resblocks\.0\.ln_1", beside="a table of positions: the norm that reads it is the first thing "
                                                 "compared"),
        Place("dff", "flow_full", ("forward", "loss"), values("conv1.0", lambda w: np.concatenate(
            [w[:, 3:], w[:, :3]], 1)), r"conv2\.0", beside="conv1 is not compared by itself"))),
    Fault("dropout_in_evaluation", "dropout scales at evaluation for not having scaled in training", (
        Place("mvf", "faults_pooling", ("forward", "loss"),
              attributes("cls_head.dropout", mode="downscale_in_infer"), r"cls_head\.dropout"),
        Place("mivos", "faults_s2m", ("forward",), attributes("classifier.aspp.project.3",
                                                                mode="downscale_in_infer"),
              r"classifier\.classifier\.0", beside="dropout holds no weights: the layer behind it is the first thing "
                                                   "compared"),
        Place("dff", "pspnet_csail", ("forward", "loss"),
              calls("decode_head.dropout", lambda forward, x: forward(x) * 0.9),
              r"decode_head\.conv_seg", beside="dropout holds no weights: the layer behind it is the first thing "
                                               "compared"))),
    Fault("cut_gradient", "a tensor is detached: the forward pass agrees, a branch gets no gradient", (
        Place("mvf", "faults_small", ("backward", "train"), calls("backbone.layer2.0.downsample", cut_off),
              r"grad:backbone\.layer1\.1\.bn2\.bias"),
        Place("actionclip", "faults_small", ("backward", "train"), calls("fusion.lstm_visual", cut_off),
              r"grad:visual\..*"),
        Place("xclip", "faults_small", ("backward", "train"), calls(
            "prompts_generator", lambda forward, text, patches: forward(text, patches.detach())),
              r"grad:prompts_visual_ln\.bias"),
        Place("avs", "faults_small", ("backward", "train"), calls("path2", cut_off),
              r"grad:path3\..*"),
        Place("mivos", "faults_fusion", ("backward", "train"), calls("conv3", cut_off), r"grad:conv2\.2\.bias"),
        Place("dff", "full_zeros_scale", ("backward", "train"), function(
            models.dff, "warp", lambda original, x, flow, *rest: original(x, flow.detach(), *rest)),
              r"grad:flownet\..*"))),
)
