"""Alignment of Deep Feature Flow: what both sides read from a bundle alike (no framework here)."""
from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from alignment import short_training
from alignment.compare import Allowance

SYSTEM = "dff"
STEPS: dict[str, tuple[str, ...]] = {"forward": ("forward_train",), "backward": ("bn_train",)}
ONLY_IN_TWIN: tuple[str, ...] = ()
LEAD = ("PSPNet on key frames, FlowNetS between frames, the score map warped along: the article's network with the "
        "slim flow network, stock mmsegmentation PSPNet with the full FlowNetS, each part alone, and the "
        "Cityscapes data path.")
TRAIN_STEPS = 5
CROPS = {"size": (300, 600), "seed": 7, "count": 4}  # random crops of the transform stage, Python's generator
SCHEDULE_STEPS = (0, 1, 2, 500, 999, 1000, 1001, 1002, 20000, 39999)


def options(config: dict) -> dict:
    """Flags of a bundle's ``config`` that its state dict cannot tell, as keyword arguments of both networks."""
    names = ("warp_padding", "flow_input_scale")
    return {name: config[name] for name in names if name in config}


def trained_term(stage: dict[str, Any], step: int) -> str:
    """Which term of PSPNet's loss a training step descends: ``total``, or ``decode`` where the auxiliary head rests."""
    return "total" if step < stage.get("auxiliary_steps", step + 1) else "decode"


def warp_arguments(config: dict) -> dict[str, str]:
    """The padding of the warp alone, where a bundle names one."""
    return {"padding": config["warp_padding"]} if "warp_padding" in config else {}


def decay_by_kind(optimizer: dict) -> dict[str, float]:
    """Weight decay of ``weight`` and of ``bias`` parameters in a stage's optimizer."""
    return {group["params"].split()[-1]: group["weight_decay"] for group in optimizer["groups"]}


def scored_labels(inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The recorded labels as the losses take them: 19 and 20 stand for ignored pixels."""
    return np.where(inputs["gt_raw"] >= 19, 255, inputs["gt_raw"])


def fixed_metric_maps(inputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(labels, predictions) of the metric stage: class 17 absent, 255 ignored, class 18 never predicted rightly."""
    fixed = np.where(inputs["gt_raw"] == 17, 18, inputs["gt_raw"])
    pred = np.where(inputs["same"] == 1, np.minimum(fixed, 16), inputs["pred_raw"])
    return np.where(inputs["ignore"] == 1, 255, fixed).astype(np.int64), pred.astype(np.int64)


# Modules whose outputs are compared in order of execution: blocks, and every convolution and norm that both sides call
# as a layer. Not the transposed convolutions: the slim original pads nothing and cuts afterwards, so their own outputs
# differ in size.
_BLOCK = re.compile(r"(.*\blayer\d\.\d+|.*psp_modules\.\d|.*conv_seg|net_task|scale_map"
                    r"|(?:flownet\.)?(?:conv(?:[2-6]|\d_1)|predict_flow\d))\.")
_LEAF = re.compile(r"(?:backbone\..*|psp_modules\.\d\.1\.(?:conv|bn)|convs\.0\.(?:conv|bn)|\bconv(?:[2-6]|\d_1)\.\d)$")


def recorded(state: Iterable[str]) -> set[str]:
    """Upstream's module names of a state dict whose outputs both sides record."""
    state = list(state)
    owners = {name.rpartition(".")[0] for name in state}
    return {match[1] for match in map(_BLOCK.match, state) if match} | set(filter(_LEAF.search, owners))


def in_order(layers: dict, key, flow, warped, pred) -> dict:
    """Recorded layers of DFF and its named results, in order of execution."""
    parts: dict[str, dict] = {"net_feat": {}, "flownet": {}, "scale_map": {}, "net_task": {}}
    for name, array in layers.items():
        parts[name.split(".", 1)[0]][name] = array
    return {**parts["net_feat"], "key": key, **parts["flownet"], "flow": flow, "warped": warped, **parts["scale_map"],
            **parts["net_task"], "pred": pred}


_SIZES = {"depths": [1, 2, 1, 1], "base": 8, "stem": [8, 8, 16], "head": 16}
_CHANNELS = [6, 8, 12, 16, 16, 24]
_SGD = {"type": "SGD", "lr": 5e-3, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": False}
_ADAM = {"type": "Adam", "lr": 1e-4, "betas": [0.9, 0.999], "eps": 1e-8,
         "groups": [{"params": "names containing bias", "weight_decay": 0},
                    {"params": "names containing weight", "weight_decay": 4e-4}]}


def manifests() -> list[dict[str, Any]]:
    """Small built-in cases: both stems and flow networks, odd sizes, zero padding, scale map, half-size flow."""
    return [
        _dff("slim_border", "csail", slim=True, size=(72, 136)),
        _dff("full_zeros_scale", "mmseg_v1c", slim=False, size=(64, 80), scale_map=True, warp_padding="zeros"),
        _dff("half_flow", "csail", slim=True, size=(64, 96), flow_input_scale=0.5),
        _pspnet("pspnet_v1c", "mmseg_v1c", auxiliary=12), _pspnet("pspnet_csail", "csail", auxiliary=0),
        _flownets("flow_full", slim=False, batch_norm=False), _flownets("flow_slim", slim=True, batch_norm=False),
        _flownets("flow_full_bn", slim=False, batch_norm=True), _data(), *_training()]


def _training() -> list[dict[str, Any]]:
    """The first and the third step of the mini run. The third begins with random networks instead of the two that the
    others train, and at three times the rate, so that 50 steps of the flow network count (3 % of the loss). The first
    keeps the run's eight images: with two, the pyramid's coarsest norm has two values a channel, and is chaos."""
    common = {"layout": "cityscapes", "names": "alignment.cases.dff.ours:mini_name"}
    options = ["data.root={data}", "output_dir={data}_output"]
    return [short_training.manifest(SYSTEM, run="configs/dff/mini.yaml", **common, overrides=[
                *options, "network.pspnet_weights=null", "network.flow_weights=null", "train.batch_size=2",
                "optimizer.lr=0.001"]),
            short_training.manifest(SYSTEM, run="configs/dff/mini_pspnet.yaml", **common, network="pspnet",
                                    case="mini_pspnet_50_steps",
                                    overrides=[*options, "data.crop=[48,64]", "optimizer.lr=0.001"])]


def _dff(name: str, backbone: str, *, slim: bool, size: tuple[int, int], **flags: Any) -> dict[str, Any]:
    clip = {"shape": [2, 3, 2, *size], "range": [-2, 2]}
    return {**_header(name, "dff"), "config": {
                "twin": {"feature": {"backbone": backbone, **_SIZES}, "flow": {"slim": slim, "channels": _CHANNELS},
                         **flags}, **flags},
            "inputs": {"im_seg_list": clip, "im_flow_list": {**clip, "range": [0, 1]}, "gt_raw": _labels(size)},
            "stages": _stages("forward", "loss", "evaluate", "backward", "train", optimizer=_SGD)}


def _pspnet(name: str, backbone: str, *, auxiliary: int) -> dict[str, Any]:
    size = (72, 104)
    stages = _stages("forward", "loss", "backward", "bn_train", "train", optimizer=_SGD)
    if auxiliary:  # its head rests from the third update on: without a gradient neither decay nor momentum moves it
        stages["train"]["auxiliary_steps"] = 2
    return {**_header(name, "pspnet"), "config": {"twin": {"backbone": backbone, "auxiliary": auxiliary, **_SIZES}},
            "inputs": {"image": {"shape": [2, 3, *size], "range": [-2, 2]}, "gt_raw": _labels(size)}, "stages": stages}


def _flownets(name: str, **flags: bool) -> dict[str, Any]:
    return {**_header(name, "flownets"), "config": {"twin": {"channels": _CHANNELS, **flags}, "div_flow": 20},
            "inputs": {"images": {"shape": [2, 6, 72, 136], "range": [-0.5, 0.5]},
                       "target": {"shape": [2, 2, 72, 136], "range": [-1, 1]}},
            "stages": _stages("forward", "forward_train", "loss", "backward", "train", optimizer=_ADAM)}


def _data() -> dict[str, Any]:
    """The recorded bundle's stages on other numbers."""
    maps = {"shape": [3, 20, 36], "dtype": "int64"}
    feature = {"shape": [2, 5, 17, 23], "range": [-2, 2]}
    return {**_header("warp_metric_data", "warp"), "state": [],
            "config": {"num_classes": 19, "crop_size": [128, 300],
                       "list_lines": ["frankfurt/frankfurt_000001_054219", "aachen/aachen_000173_000019"]},
            "inputs": {"feature": feature, "flow": {"shape": [2, 2, 17, 23], "range": [-12, 12]},
                       "weight": {**feature, "range": [-1, 1]}, "gt_raw": {**maps, "range": [0, 18]},
                       "pred_raw": {**maps, "range": [0, 17]}, "ignore": {**maps, "range": [0, 1], "threshold": 0.8},
                       "same": {**maps, "range": [0, 1], "threshold": 0.3},
                       "image": {"shape": [30, 44, 3], "range": [0, 256], "dtype": "uint8"},
                       "label": {"shape": [30, 44], "range": [0, 20], "dtype": "uint8"}},
            "stages": _stages("forward", "backward", "metric", "transform", "sampling", "schedule")}


def _header(name: str, network: str) -> dict[str, Any]:
    return {"system": SYSTEM, "case": name, "network": network, "salt": "twin", "gain": 1.35, "overrides": {}}


def _labels(size: tuple[int, int]) -> dict[str, Any]:
    return {"shape": [2, *size], "range": [0, 21], "dtype": "int64"}


def _stages(*names: str, optimizer: dict[str, Any] | None = None) -> dict[str, Any]:
    training = ("backward", "train", "forward_train", "bn_train")
    stages = {name: {"mode": "train" if name in training else "eval", "about": ""} for name in names}
    if "train" in stages:
        stages["train"]["optimizer"] = dict(optimizer)
    return stages


def allowances(manifest: dict[str, Any]) -> list[Allowance]:
    """None: every tensor is judged by the rule."""
    return []
