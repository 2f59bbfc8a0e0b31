"""Small cases made for planting faults, beside the built-in ones: the fewest layers in which each fault can occur."""
from __future__ import annotations

import copy
import functools
import importlib
from typing import Any

SYSTEMS = ("mvf", "actionclip", "xclip", "avs", "mivos", "dff")


def manifest(system: str, case: str) -> dict[str, Any]:
    """The case of that name: one of this file's, or a built-in one.

    Raises:
        KeyError: if there is none.
    """
    for made in (*_OWN[system](), *_built_in(system)):
        if made["case"] == case:
            return copy.deepcopy(made)
    raise KeyError(f"{system} has no case {case!r} to plant faults in")


@functools.cache
def _built_in(system: str) -> list[dict[str, Any]]:
    return importlib.import_module(f"alignment.cases.{system}").manifests()


def _variant(system: str, case: str, name: str, *, config: dict[str, Any] | None = None,
             inputs: dict[str, Any] | None = None, stages: tuple[str, ...] | None = None) -> dict[str, Any]:
    """A built-in case with other options; ``stages`` keeps these only."""
    made = copy.deepcopy(next(entry for entry in _built_in(system) if entry["case"] == case))
    made["case"] = name
    made["config"].update(config or {})
    made["inputs"].update(inputs or {})
    if stages is not None:
        made["stages"] = {stage: made["stages"][stage] for stage in stages}
    return made


def _mvf() -> list[dict[str, Any]]:
    """Two stages of a ResNet-18 with a square classifier; bottlenecks with both poolings; a frozen first stage."""
    backbone = {"type": "ResNet", "depth": 18, "num_stages": 2, "out_indices": [1], "norm_eval": False}
    head = {"dropout_ratio": 0, "in_channels": 128, "num_classes": 128}
    module = {"type": "MVF", "n_segment": 3, "alpha": 0.125, "mode": "THW", "mvf_freq": [0, 1, 0, 0]}
    inputs = {"imgs": {"shape": [2, 3, 3, 25, 33], "range": [-2, 2]},
              "labels": {"values": [[5], [77]], "dtype": "int64"}}
    config = {"backbone": backbone, "cls_head": head, "module_cfg": module}
    small = _variant("mvf", "r18_thw", "faults_small", config=config, inputs=inputs)
    small["stages"]["train"]["optimizer"]["max_norm"] = 0.5  # so that clipping is at work
    small["stages"]["train"]["schedule"]["warmup_start"] = 0.002  # at the recipe's 0 the first update moves nothing
    average = {**config, "backbone": {**backbone, "depth": 50, "avg_down": True, "avd": True},
               "cls_head": {**head, "dropout_ratio": 0.5, "in_channels": 512}}
    frozen = {**config, "backbone": {**backbone, "frozen_stages": 1}}
    return [small,
            _variant("mvf", "r18_thw", "faults_pooling", config=average, inputs=inputs, stages=("forward", "loss")),
            _variant("mvf", "r18_thw", "faults_frozen", config=frozen, inputs=inputs, stages=("train",))]


def _actionclip() -> list[dict[str, Any]]:
    """Both towers of two blocks, the temporal shift and the LSTM over frames."""
    small = {"vision_layers": 2, "transformer_layers": 2, "tsm": True}
    return [_variant("actionclip", "lstm", "faults_small", config=small)]


def _xclip() -> list[dict[str, Any]]:
    """Two blocks everywhere; text frozen or trained."""
    small = {"vision_layers": 2, "transformer_layers": 2, "prompts_layers": 1}
    return [_variant("xclip", "trained_text", "faults_small", config={**small, "mit_layers": 1}),
            _variant("xclip", "frozen_text", "faults_frozen", config=small, stages=("train",))]


def _avs() -> list[dict[str, Any]]:
    """A pyramid of four blocks, sound on the coarsest stage, two frames."""
    pvt = {"embed_dims": [8, 16, 20, 32], "num_heads": [1, 2, 2, 4], "mlp_ratios": [2, 2, 2, 2],
           "depths": [1, 1, 1, 1], "channel": 8, "frames": 2, "tpavi_stages": [3]}
    loss = {"sa_loss_flag": True, "count_stages": [3], "lambda_1": 0.1, "mask_pooling_type": "max"}
    inputs = {"image": {"shape": [4, 3, 32, 32], "range": [-2, 2]}, "audio": {"shape": [4, 128], "range": [0, 1]},
              "mask": {"shape": [2, 1, 32, 32], "range": [0, 1], "threshold": 0.6}}
    small = _variant("avs", "pvt_small_s4", "faults_small", config={**pvt, "loss": loss}, inputs=inputs)
    small["stages"]["train"]["steps"] = 4
    resnet = _variant("avs", "resnet50_ms3_small", "faults_resnet", stages=("forward",), config={
        "channel": 8, "frames": 2, "tpavi_stages": [3], "loss": loss, "task": "S4"}, inputs=inputs)
    return [small, resnet]


def _mivos() -> list[dict[str, Any]]:
    """Three frames of one object; the fusion network; scribbles to mask; sampling, scribbles and the measures."""
    inputs = {"rgb": {"shape": [1, 3, 3, 32, 48], "range": [-1, 1]}, "owner": {"shape": [1, 3, 8, 12], "range": [0, 2]}}
    single = _variant("mivos", "single_object", "faults_single", inputs=inputs,
                      stages=("forward", "loss", "backward"))
    fusion = _variant("mivos", "fusion_small", "faults_fusion", stages=("backward", "train"))
    fusion["stages"]["train"] |= {"weight_decay": 0.01, "lr": 1e-3}
    s2m = _variant("mivos", "s2m_stride_8", "faults_s2m", stages=("forward",), inputs={
        "rgb": {"shape": [2, 3, 32, 48], "range": [-1, 1]}, "shift": {"shape": [2, 3, 1, 1], "range": [-1, 1]},
        "rest": {"shape": [2, 4, 8, 12], "range": [0, 1], "threshold": 0.6}})
    s2m["stages"]["forward_train"] = {"mode": "train", "about": "batch statistics, dropout off"}
    return [single, fusion, s2m, _mivos_data()]


def _mivos_data() -> dict[str, Any]:
    ellipse = [[frame, label, 20 + 9 * label, 15 + 22 * label + 3 * frame, 9 + label, 11] for frame in range(5)
               for label in (1, 2, 3)]
    large = [[frame, label, 150 * label, 240 * label + 20 * frame, 70, 90] for frame in range(2) for label in (1, 2)]

    def shifted(rows: list[list[float]], by: float) -> dict[str, Any]:
        return {"values": [[frame, label, y + by, x - by, ry, rx] for frame, label, y, x, ry, rx in rows]}
    path = [[0.1, 0.2], [0.4, 0.35], [0.8, 0.3]]
    return {"system": "mivos", "case": "faults_data", "network": "s2m", "config": {"num_objects": 2}, "state": [],
            "salt": "faults", "inputs": {
                "images": {"shape": [1, 1, 3, 37, 52], "range": [-1, 1]},
                "path0_object1": {"values": path}, "path1_object2": {"values": [[y, x] for x, y in path]},
                "ellipses_gt": shifted(ellipse, 0), "ellipses_pred": shifted(ellipse, 2),
                "ellipses_gt480": shifted(large, 0), "ellipses_pred480": shifted(large, 5)},
            "stages": {"sampling": {"mode": "train", "about": "frame triples"},
                       "scribble": {"mode": "eval", "about": "maps of two strokes"},
                       "metric": {"mode": "eval", "about": "J and F of ellipses"}}}


def _dff() -> list[dict[str, Any]]:
    return []


_OWN = {"mvf": _mvf, "actionclip": _actionclip, "xclip": _xclip, "avs": _avs, "mivos": _mivos, "dff": _dff}
