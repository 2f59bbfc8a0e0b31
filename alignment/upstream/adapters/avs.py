"""OpenNLPLab/AVSBench: the network with either backbone, TPAVI alone, the losses of both tasks, IoU and F-measure.

The tasks are two folders with modules of the same names; both are imported, one after the other.
"""
from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from alignment import torch_tools as tools
from alignment.bundle import Run
from alignment.cases.avs import PVT_OPTIONS, block_inputs, block_runs, metric_inputs
from alignment.upstream.found import enter as enter_folders
from alignment.upstream.found import original
from alignment.upstream.shims import each_in_its_precision

TASKS: dict[str, SimpleNamespace] = {}


def enter(checkout: Path) -> None:
    """Import what is needed."""
    for task in ("S4", "MS3"):
        enter_folders(checkout / "avs_scripts" / f"avs_{task.lower()}")
        TASKS[task] = SimpleNamespace(
            loss=original("loss", "IouSemanticAwareLoss"), metrics=original("utils.utility"),
            resnet=original("model.ResNet_AVSModel"), pvt=original("model.PVT_AVSModel"),
            backbone=original("model.pvt", "PyramidVisionTransformerV2"),
            tpavi=original("model.TPAVI", "TPAVIModule"))


def stages(network: str) -> dict:
    # Not the metric: the original keeps precision and recall in new float32 tensors, as ours does.
    return {"metric": metric, **each_in_its_precision({"forward": forward, "loss": loss, "backward": backward,
                                                       "backward_train": backward_train})}


def make(config: dict) -> nn.Module:
    """The network of a manifest's config, which does not look for the files of its pretrained backbones."""
    task = TASKS[config["task"]]
    module = getattr(task, config["backbone"])

    class Untrained(module.Pred_endecoder):
        def initialize_weights(self) -> None:
            """The recipe's weights come later."""

        initialize_pvt_weights = initialize_weights

    more = {}
    if config["backbone"] == "pvt":
        sizes = {name: config[name] for name in PVT_OPTIONS}
        module.pvt_v2_b5 = partial(task.backbone, patch_size=4, qkv_bias=True, drop_path_rate=0.0,
                                   norm_layer=partial(nn.LayerNorm, eps=1e-6), **sizes)
        more["vis_dim"] = config["embed_dims"]
    return Untrained(config["channel"], tpavi_stages=config["tpavi_stages"], tpavi_vv_flag=config["tpavi_vv_flag"],
                     tpavi_va_flag=config["tpavi_va_flag"], **more)


def state_entries(manifest: dict) -> list[list]:
    config = manifest["config"]
    if "blocks" in config:
        return tools.state_entries(nn.ModuleDict({name: TASKS["MS3"].tpavi(**options)
                                                  for name, options in config["blocks"].items()}))
    return tools.state_entries(make(config)) if "backbone" in config else []


def build(run: Run) -> nn.Module:
    return tools.build(lambda: make(run.config), run.state, run.dtype)


def forward(run: Run) -> dict[str, np.ndarray]:
    if "blocks" in run.config:
        return blocks(run, gradients=False)
    network = build(run)
    with torch.no_grad(), tools.Recorder(network) as recorder:
        pred, maps, features = network(*tools.tensors(run.inputs, "image", "audio"))
    named = {"pred": pred, **{f"v{k}": found for k, found in enumerate(maps, 1)},
             **{f"a{k}": found for k, found in enumerate(features, 1) if found is not None}}
    return {**recorder.arrays, **{name: tools.array(found) for name, found in named.items()}}


def task_loss(name: str, pred, mask, features, maps, options: dict) -> tuple[torch.Tensor, dict]:
    """The task's loss by keyword, as its training calls it."""
    given = {key: value for key, value in options.items() if key != "task"}
    target = {"S4": "first_gt_mask", "MS3": "gt_mask"}[name]
    return TASKS[name].loss(pred_masks=pred, a_fea_list=features, v_map_list=maps, **{target: mask}, **given)


def backward(run: Run, training: bool = False) -> dict[str, np.ndarray]:
    if "blocks" in run.config:
        return blocks(run, gradients=True)
    if "combos" in run.config:
        return loss_backward(run)
    network = build(run).train(training)
    image, audio, mask = tools.tensors(run.inputs, "image", "audio", "mask")
    image.requires_grad_()
    pred, maps, features = network(image, audio)
    total, parts = task_loss(run.config["task"], pred, mask, features, maps, run.config["loss"])
    total.backward()
    made = {"loss": tools.array(total), "iou_loss": np.float64(parts["iou_loss"]),
            "sa_loss": np.float64(parts["sa_loss"]), "pred": tools.array(pred),
            **{f"grad:{name}": gradient for name, gradient in tools.gradients(network).items()}}
    if training:
        made.update({f"buffer:{name}": value for name, value in tools.entries(network).items() if "running_" in name})
    return {**made, "grad:image": tools.array(image.grad)}


def backward_train(run: Run) -> dict[str, np.ndarray]:
    return backward(run, training=True)


def blocks(run: Run, gradients: bool) -> dict[str, np.ndarray]:
    """TPAVI blocks alone; each run begins at the recipe's state."""
    made = {}
    for name, kind, mode in block_runs(run):
        options, key = run.config["blocks"][name], f"{name}.{kind}.{mode}"
        state = {entry.removeprefix(f"{name}."): value for entry, value in run.state.items()
                 if entry.startswith(f"{name}.")}
        block = tools.build(lambda options=options: TASKS["MS3"].tpavi(**options), state, run.dtype)
        block.train(mode == "train")
        x, weight = tools.tensors(run.inputs, *block_inputs(options))
        audio, audio_weight = tools.tensors(run.inputs, "audio", "audio_weight")
        x.requires_grad_()
        z, feature = block(x, audio) if kind == "va" else block(x)
        if gradients:
            value = (z * weight).mean() + ((feature * audio_weight).mean() if kind == "va" else 0)
            value.backward()
            made[f"{key}.loss"], made[f"{key}.grad:x"] = tools.array(value), tools.array(x.grad)
            made.update({f"{key}.grad:{name}.{entry}": array for entry, array in tools.gradients(block).items()})
            continue
        made[f"{key}.z"] = tools.array(z)
        if kind == "va":
            made[f"{key}.audio"] = tools.array(feature)
        if mode == "train" and options["bn_layer"]:
            made.update({f"{key}.{statistic}": tools.array(getattr(block.W_z[1], statistic))
                         for statistic in ("running_mean", "running_var")})
    return made


def combination(run: Run, name: str):
    """(pred, audio features, maps, (loss, its parts)) of a setting of the losses."""
    options = run.config["combos"][name]
    pred, mask = tools.tensors(run.inputs, "pred", "mask")
    features = tools.tensors(run.inputs, "a1", "a2", "a3", "a4", gradient=True)
    maps = tools.tensors(run.inputs, "v1", "v2", "v3", "v4", gradient=True)
    pred.requires_grad_()
    if options["task"] == "S4":
        mask = mask[::5][:, None]
    return pred, features, maps, task_loss(options["task"], pred, mask, features, maps, options)


def loss(run: Run) -> dict[str, np.ndarray]:
    made = {}
    for name in run.config["combos"]:
        total, parts = combination(run, name)[3]
        made[name] = np.array([total.item(), parts["iou_loss"], parts["sa_loss"]])
    return made


def loss_backward(run: Run) -> dict[str, np.ndarray]:
    made = {}
    for name in run.config["combos"]:
        pred, features, maps, (total, _) = combination(run, name)
        total.backward()
        for key, tensor in (("pred", pred), ("a2", features[1]), ("v2", maps[1])):
            if tensor.grad is not None:
                made[f"{name}.grad:{key}"] = tools.array(tensor.grad)
    return made


def metric(run: Run) -> dict[str, np.ndarray]:
    metrics = TASKS[run.config.get("task", "MS3")].metrics

    def iou(pred: torch.Tensor, target: torch.Tensor) -> np.ndarray:
        return tools.array(metrics.mask_iou(pred, target))

    def f_measure(pred: torch.Tensor, target: torch.Tensor) -> np.float64:
        return np.float64(metrics.Eval_Fmeasure(pred, target, "."))  # it writes an empty file there

    if run.manifest["state"]:
        pred = torch.from_numpy(forward(run)["pred"])[:, 0]
        target = torch.from_numpy(run.inputs["mask"])[:, 0]
        target = target.repeat_interleave(len(pred) // len(target), 0)
        return {"mask_iou": iou(pred, target), "f_measure": f_measure(pred, target)}
    logits, gt, soft = (torch.from_numpy(array) for array in metric_inputs(run))
    batches = [slice(0, 2), slice(2, 4), slice(4, 6), slice(6, 7)]
    single = [slice(i, i + 1) for i in range(len(gt))]
    # Frames without a target are out of consideration; with none left, the mean of nothing is the zeros it began with.
    precision, recall = metrics._eval_pr(torch.sigmoid(logits[0]), gt[0], 255)
    return {
        "mask_iou": iou(logits, gt), "f_measure": f_measure(logits, gt),
        "mask_iou_by_frame": np.array([iou(logits[s], gt[s]) for s in single]),
        "f_measure_by_frame": np.array([f_measure(logits[s], gt[s]) for s in single]),
        "mask_iou_batches_of_2": np.float64(np.mean([iou(logits[b], gt[b]).item() for b in batches])),
        "f_measure_batches_of_2": np.float64(np.mean([f_measure(logits[b], gt[b]) for b in batches])),
        "mask_iou_all_empty": iou(logits, torch.zeros_like(gt)),
        "f_measure_all_empty": f_measure(logits, torch.zeros_like(gt)),
        "mask_iou_soft_target": iou(logits, soft),
        "precision_frame0": tools.array(precision), "recall_frame0": tools.array(recall)}
