"""What is compared for MVFNet, and how the original's configuration maps to our arguments."""
from __future__ import annotations

import copy
from typing import Any

from alignment import short_training
from alignment.compare import Allowance

SYSTEM = "mvf"
STEPS: dict[str, tuple[str, ...]] = {}
# Computed in another way on our side, so that these inner tensors do not exist there (see models/mvf.py), or with time
# folded into the batch (bn). What the block hands on is compared as mvf_out:NAME, every gradient by its name.
ONLY_IN_TWIN = (r"\.(shift_conv|h_conv|w_conv|bn)(#\d+)?$",)

WIDTH = 16  # of the built-in cases' first stage; the golden bundles have the published 64
_FORWARD = {
    "forward": {"mode": "eval", "about": "logits and every named activation"},
    "loss": {"mode": "eval", "about": "cross entropy, and with label smoothing 0.1"},
    "backward": {"mode": "eval", "about": "gradients of the cross entropy"},
    "backward_train": {"mode": "train", "about": "the same with batch statistics"},
    "bn_stats": {"mode": "train", "about": "running statistics after that forward"},
    "train": {"mode": "train", "about": "5 steps of nesterov SGD with clipping, decay and the UCF-101 schedule",
              "optimizer": {"type": "torch.optim.SGD", "momentum": 0.9, "lr": 0.01, "weight_decay": 5e-4,
                            "max_norm": 5.0, "nesterov": True},
              "schedule": {"base": 0.01, "warmup_start": 0.0, "warmup_epochs": 1, "max_epochs": 4,
                           "steps_per_epoch": 2}},
}


def manifests() -> list[dict[str, Any]]:
    """Small built-in cases: ResNet-18 with T, H and W views; ResNet-50 with a shared kernel, clips and views."""
    small = _case("r18_thw", depth=18, frames=4, classes=7, size=(40, 33), clips=2)
    shared = _case("r18_share_th", depth=18, frames=3, classes=5, size=(33, 48), clips=3,
                   mvf_freq=[0, 1, 1, 0], share=True, alpha=0.25)
    # Not 32x32: on maps [B, C, T, 1, 1] PyTorch 2.13's CPU gradient through the norm is wrong (ours and finite
    # differences agree); no recipe has such maps.
    deep = _case("r50_views", depth=50, frames=4, classes=6, size=(33, 40), clips=2)
    deep["inputs"]["views"] = {"shape": [1, 12, 3, 40, 32], "range": [-2, 2]}
    deep["stages"] = {"forward": deep["stages"]["forward"],
                      "views": {"mode": "eval", "about": "three views of a video, every head and average"},
                      "backward": deep["stages"]["backward"]}
    metric = {"system": SYSTEM, "case": "metrics", "network": "mvf", "config": {}, "state": [], "salt": "m",
              "inputs": {"scores": {"shape": [24, 16], "range": [0, 1]}, "boost": {"shape": [24], "range": [0, 1.2]},
                         "metric_labels": {"shape": [24], "range": [0, 9], "dtype": "int64"}},
              "stages": {"metric": {"mode": "eval", "about": "top-1, top-5, mean class accuracy; absent classes"}}}
    training = short_training.manifest(
        SYSTEM, run="configs/mvf/mini.yaml", layout="ucf101", names="models.mvf:upstream_name",
        overrides=["data.root={data}", "data.split=1", "train.batch_size=4", "optimizer.lr=0.005", "train.workers=0"])
    return [small, shared, deep, metric, training, *_pipelines()]


def _pipelines() -> list[dict[str, Any]]:
    lengths = [301, 97, 64, 63, 33, 16, 5, 1]
    made = []
    for recipe_name, repository in (("kinetics", "whwu95/MVFNet"), ("ucf101", "txyugood/PaddleMVF")):
        made.append({
            "system": SYSTEM, "case": f"{recipe_name}_pipeline", "network": "mvf", "config": {}, "state": [],
            "salt": recipe_name, "upstream": {"repository": repository},
            "inputs": {"frames": {"shape": [2, 180, 260, 3], "range": [0, 256], "dtype": "uint8"}},
            "stages": {
                "sampling": {"mode": "test and train", "about": "frame numbers", "lengths": lengths,
                             "configs": [[16, 4, 1], [16, 4, 10], [8, 8, 3], [5, 3, 2]], "seed": 11},
                "transform": {"mode": "test and train", "about": "resize, crops, flip, normalisation", "seed": 5}}})
    made[1]["stages"]["schedule"] = {"mode": "train", "about": "the learning rate of every iteration",
                                     "keys": ["0.00125:0:5:50:7", "0.01:0.001:2:6:5"]}
    return made


def _case(name: str, *, depth: int, frames: int, classes: int, size: tuple[int, int], clips: int,
          mvf_freq: list[int] | None = None, **module: Any) -> dict[str, Any]:
    channels = WIDTH * (8 if depth < 50 else 32)
    return {
        "system": SYSTEM, "case": name, "network": "mvf", "salt": "twin", "gain": 1.0, "overrides": {},
        "config": {"backbone": {"type": "ResNet", "depth": depth, "base_channels": WIDTH, "out_indices": [3],
                                "norm_eval": False},
                   "cls_head": {"dropout_ratio": 0, "in_channels": channels, "num_classes": classes},
                   "module_cfg": {"type": "MVF", "n_segment": frames, "alpha": 0.125,
                                  "mvf_freq": mvf_freq or [0, 0, 1, 1], "mode": "THW", **module}},
        "inputs": {"imgs": {"shape": [clips, frames, 3, *size], "range": [-2, 2]},
                   "labels": {"values": [[(3 * i + 1) % classes] for i in range(clips)], "dtype": "int64"}},
        "stages": copy.deepcopy(_FORWARD),
    }


def network_arguments(config: dict[str, Any]) -> dict[str, Any]:
    """The original's configuration as keyword arguments of our network and of its twin.

    Raises:
        ValueError: for an option that neither implements.
    """
    backbone, head, module = config["backbone"], config["cls_head"], config.get("module_cfg") or {}
    _refuse_unknown("backbone", backbone, {
        "type", "pretrained", "depth", "out_indices", "norm_eval", "partial_norm", "norm_frozen", "frozen_stages",
        "style", "strides", "dilations", "num_stages", "avg_down", "avd", "avd_first", "deep_stem", "stem_width",
        "with_cp", "norm_cfg", "in_channels", "base_channels"})
    _refuse_unknown("module_cfg", module, {"type", "n_segment", "alpha", "mvf_freq", "use_hs", "share", "mode"})
    width = backbone.get("stem_width", 32)
    options = {
        "base_channels": backbone.get("base_channels", 64), "strides": backbone.get("strides", (1, 2, 2, 2)),
        "dilations": backbone.get("dilations", (1, 1, 1, 1)), "num_stages": backbone.get("num_stages", 4),
        "style": backbone.get("style", "pytorch"),
        "out_stages": (max(backbone.get("out_indices", [3])),),
        "average_down": backbone.get("avg_down", False),
        "average_stride": ("before" if backbone.get("avd_first") else "after") if backbone.get("avd") else None,
        "stem_widths": (width, width, 2 * width) if backbone.get("deep_stem") else None,
        "frozen_stages": backbone.get("frozen_stages", -1), "norm_eval": backbone.get("norm_eval", True),
        "norm_frozen": backbone.get("norm_frozen", False), "partial_norm": backbone.get("partial_norm", False)}
    return {"num_classes": head["num_classes"], "num_frames": module.get("n_segment", 1), "depth": backbone["depth"],
            "alpha": module.get("alpha", 0.125),
            "fused_stages": module.get("mvf_freq", (1, 1, 1, 1)) if module else (0, 0, 0, 0),
            "mode": module.get("mode", "THW"), "share": module.get("share", False),
            "activate": module.get("use_hs", True), "dropout": head.get("dropout_ratio", 0.8),
            "init_std": head.get("init_std", 0.01), "backbone": options}


def _refuse_unknown(section: str, given: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(set(given) - known)
    if unknown:
        raise ValueError(f"{section}: {', '.join(unknown)} is not known; known are {', '.join(sorted(known))}")
    norm = (given.get("norm_cfg") or {}).get("type", "BN")
    if norm not in ("BN", "BN3d"):
        raise ValueError(f"{section}.norm_cfg.type {norm}: only BN is built (no recipe uses another)")


def smooth_key(names: list[str] | None) -> list[tuple[str, float]]:
    """The label-smoothing keys asked for, with their epsilon."""
    wanted = names if names is not None else ["label_smooth_0.1"]
    return [(name, float(name.rsplit("_", 1)[1])) for name in wanted if name.startswith("label_smooth_")]


def allowances(manifest: dict[str, Any]) -> list[Allowance]:
    """No departure from the rule."""
    return []
