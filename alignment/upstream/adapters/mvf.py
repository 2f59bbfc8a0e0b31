"""whwu95/MVFNet: a recognizer built from a configuration, top-k and mean class accuracy."""
from __future__ import annotations

import copy
import re
from pathlib import Path

import numpy as np
import torch

from alignment import torch_tools as tools
from alignment.bundle import Run
from alignment.upstream.found import enter as enter_folders
from alignment.upstream.found import original
from alignment.upstream.shims import each_in_its_precision


def enter(checkout: Path) -> None:
    """Import what is needed."""
    enter_folders(checkout)
    original("codes.models", "build_recognizer")
    original("codes.core.evaluation", "mean_class_accuracy")


def stages(network: str) -> dict:
    return each_in_its_precision({
        "forward": forward, "loss": loss, "views": views, "backward": backward, "backward_train": backward_train,
        "bn_stats": bn_stats, "metric": metric})


def make(config: dict) -> torch.nn.Module:
    """The recognizer of a manifest's config; its constructor takes keys out of what it is given."""
    head = {"type": "TSNClsHead", "spatial_size": -1, "spatial_type": "avg", "init_std": 0.01, **config["cls_head"]}
    given = {"type": "Recognizer2D", "backbone": {"pretrained": None, **config["backbone"]}, "cls_head": head,
             "module_cfg": config["module_cfg"]}
    return original("codes.models", "build_recognizer")(copy.deepcopy(given), None, {"average_clips": None})


def state_entries(manifest: dict) -> list[list]:
    return tools.state_entries(make(manifest["config"])) if manifest["config"] else []


def build(run: Run) -> torch.nn.Module:
    return tools.build(lambda: make(run.config), run.state, run.dtype)


def logits_of(network: torch.nn.Module, frames: torch.Tensor) -> torch.Tensor:
    return network(frames, None, return_loss=False, return_numpy=False)


def loss_of(network: torch.nn.Module, run: Run, frames: torch.Tensor) -> torch.Tensor:
    return network(frames, torch.from_numpy(run.inputs["labels"]), return_loss=True)["loss_cls"]


def forward(run: Run) -> dict[str, np.ndarray]:
    network = build(run)
    (frames,) = tools.tensors(run.inputs, "imgs")
    fusion, fused = original("codes.models.modules.MVF", "MVF"), {}
    for name, module in network.named_modules():
        if isinstance(module, fusion):
            module.net.register_forward_pre_hook(
                lambda net, inputs, name=name: fused.update({f"mvf_out:{name}": tools.array(inputs[0])}))
    with torch.no_grad(), tools.Recorder(network) as recorder:
        logits = logits_of(network, frames)
    stages = {name.removeprefix("backbone."): value for name, value in recorder.arrays.items()
              if re.fullmatch(r"backbone\.(maxpool|layer\d)", name)}
    arrays = {"backbone.0" if name == "backbone" else name: value for name, value in recorder.arrays.items()}
    return {**arrays, "logits": tools.array(logits), **stages, **fused}


def loss(run: Run) -> dict[str, np.ndarray]:
    network = build(run)
    with torch.no_grad():
        return {"loss_cls": tools.array(loss_of(network, run, *tools.tensors(run.inputs, "imgs")))}


def views(run: Run) -> dict[str, np.ndarray]:
    network = build(run)
    (frames,) = tools.tensors(run.inputs, "views")
    made = {}
    for head in ("tsn", "fcn"):
        network.fcn_testing = network.cls_head.fcn_testing = head == "fcn"
        for kind in (None, "score", "prob"):
            network.test_cfg = {"average_clips": kind}
            with torch.no_grad():
                made[f"{head}:{kind}"] = tools.array(logits_of(network, frames))
    return made


def backward(run: Run, training: bool = False) -> dict[str, np.ndarray]:
    network = build(run).train(training)
    (frames,) = tools.tensors(run.inputs, "imgs", gradient=True)
    value = loss_of(network, run, frames)
    value.backward()
    return {"loss": tools.array(value), "grad:input": tools.array(frames.grad),
            **{f"grad:{name}": gradient for name, gradient in tools.gradients(network).items()}}


def backward_train(run: Run) -> dict[str, np.ndarray]:
    return backward(run, training=True)


def bn_stats(run: Run) -> dict[str, np.ndarray]:
    network = build(run).train()
    with torch.no_grad():
        loss_of(network, run, *tools.tensors(run.inputs, "imgs"))
    return {name: value for name, value in tools.entries(network).items() if "running_" in name}


def metric(run: Run) -> dict[str, np.ndarray]:
    labels, scores = run.inputs["metric_labels"], run.inputs["scores"].astype("float64")
    scores[np.arange(len(labels)), labels] += run.inputs["boost"].astype("float64")
    top1, top5 = original("codes.core.evaluation", "top_k_accuracy")(scores, labels.tolist(), (1, 5))
    mean = original("codes.core.evaluation", "mean_class_accuracy")(scores, labels)
    return {"top1": np.float64(top1), "top5": np.float64(top5), "mean_class_accuracy": np.float64(mean)}
