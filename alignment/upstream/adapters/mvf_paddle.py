"""txyugood/PaddleMVF, the earlier port: Paddle against Paddle, in two processes."""
from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import paddle

from alignment import paddle_tools as tools
from alignment.bundle import Run
from alignment.upstream.found import enter as enter_folders
from alignment.upstream.found import original


def enter(checkout: Path) -> None:
    """Import what is needed. Its package ``models`` takes the place of ours, whose loader stays in ``paddle_tools``."""
    enter_folders(checkout)
    original("models.resnet", "ResNet")
    original("models.heads.tsn_clshead", "TSNClsHead")
    original("models.heads.base", "top_k_accuracy")
    original("models.recognizers.recognizer2d", "Recognizer2D")


def stages(network: str) -> dict:
    return {"forward": forward, "loss": loss, "views": views, "backward": backward, "backward_train": backward_train,
            "metric": metric}


def make(config: dict) -> paddle.nn.Layer:
    """The recognizer of a manifest's config; its constructor takes keys out of what it is given."""
    backbone = {name: value for name, value in config["backbone"].items() if name != "type"}
    head = original("models.heads.tsn_clshead", "TSNClsHead")(spatial_size=-1, spatial_type="avg", init_std=0.01,
                                                              **config["cls_head"])
    return original("models.recognizers.recognizer2d", "Recognizer2D")(
        backbone=original("models.resnet", "ResNet")(**backbone), cls_head=head,
        module_cfg=copy.deepcopy(config["module_cfg"]), test_cfg={"average_clips": None})


def state_entries(manifest: dict) -> list[list]:
    """The port's entries under the names and layouts of the PyTorch original."""
    if not manifest["config"]:
        return []
    network = make(manifest["config"])
    return [[name, list(array.shape), str(array.dtype)] for name, array in tools.entries(network).items()]


def build(run: Run) -> paddle.nn.Layer:
    return tools.build(lambda: make(run.config), run.state, run.dtype)


def logits_of(network: paddle.nn.Layer, frames: paddle.Tensor) -> paddle.Tensor:
    return network(frames, None, return_loss=False, return_numpy=False)


def loss_of(network: paddle.nn.Layer, run: Run, frames: paddle.Tensor, smoothing: float) -> paddle.Tensor:
    network.cls_head.ls_eps = smoothing
    labels = paddle.to_tensor(run.inputs["labels"])
    scores = network.cls_head(network.extract_feat(frames.flatten(0, 1)), frames.shape[1])
    with one_hot_as(run.dtype):
        return network.cls_head.loss(scores, labels)["loss_cls"]


@contextlib.contextmanager
def one_hot_as(dtype: str) -> Iterator[None]:
    """Smoothed labels begin as float32, which a float64 network's loss refuses."""
    functional, one_hot = paddle.nn.functional, paddle.nn.functional.one_hot
    functional.one_hot = lambda *args, **options: one_hot(*args, **options).astype(dtype)
    try:
        yield
    finally:
        functional.one_hot = one_hot


def forward(run: Run) -> dict[str, np.ndarray]:
    network, fused = build(run), {}
    fusion = original("models.recognizers.MVF", "MVF")
    for name, layer in network.named_sublayers():
        if isinstance(layer, fusion):
            layer.net.register_forward_pre_hook(
                lambda net, inputs, name=name: fused.update({f"mvf_out:{name}": inputs[0].numpy()}))
    (frames,) = tools.tensors(run.inputs, "imgs")
    with paddle.no_grad(), tools.Recorder(network) as recorder:
        logits = logits_of(network, frames)
    stages = {name.removeprefix("backbone."): value for name, value in recorder.arrays.items()
              if re.fullmatch(r"backbone\.(maxpool|layer\d)", name)}
    arrays = {"backbone.0" if name == "backbone" else name: value for name, value in recorder.arrays.items()}
    return {**arrays, "logits": logits.numpy(), **stages, **fused}


def loss(run: Run) -> dict[str, np.ndarray]:
    network = build(run)
    (frames,) = tools.tensors(run.inputs, "imgs")
    with paddle.no_grad():
        return {name: loss_of(network, run, frames, smoothing).numpy()
                for name, smoothing in (("loss_cls", 0.0), ("label_smooth_0.1", 0.1))}


def views(run: Run) -> dict[str, np.ndarray]:
    made = {}
    for head in ("tsn", "fcn"):
        for kind in (None, "score", "prob"):
            network = build(run)
            network.fcn_testing = network.cls_head.fcn_testing = head == "fcn"
            network.test_cfg = {"average_clips": kind}
            with paddle.no_grad(), tools.default_dtype(run.dtype):
                made[f"{head}:{kind}"] = logits_of(network, *tools.tensors(run.inputs, "views")).numpy()
    return made


def backward(run: Run, training: bool = False) -> dict[str, np.ndarray]:
    network = build(run)
    if training:
        network.train()
    (frames,) = tools.tensors(run.inputs, "imgs", gradient=True)
    value = loss_of(network, run, frames, 0.0)
    value.backward()
    return {"loss": value.numpy(), "grad:input": frames.grad.numpy(),
            **{f"grad:{name}": gradient for name, gradient in tools.gradients(network).items()}}


def backward_train(run: Run) -> dict[str, np.ndarray]:
    return backward(run, training=True)


def metric(run: Run) -> dict[str, np.ndarray]:
    labels, scores = run.inputs["metric_labels"], run.inputs["scores"].astype("float64")
    scores[np.arange(len(labels)), labels] += run.inputs["boost"].astype("float64")
    top1, top5 = original("models.heads.base", "top_k_accuracy")(scores, labels, (1, 5))
    return {"top1": np.float64(top1), "top5": np.float64(top5)}
