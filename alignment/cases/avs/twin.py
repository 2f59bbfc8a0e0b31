"""The torch side of the AVSBench cases."""
from __future__ import annotations

import numpy as np
import torch
from torch import nn

from alignment import torch_tools as tools
from alignment.bundle import Run
from alignment.cases.avs import (
    block_inputs,
    block_runs,
    block_state,
    in_twos,
    metric_inputs,
    network_arguments,
    of_first_frames,
    twin_training,
    vggish_widths,
)
from alignment.reference import avs_data
from alignment.reference.avs import TPAVI, AVSNet
from alignment.reference.avs_backbones import VGGish, postprocess
from alignment.reference.avs_losses import f_measure, loss_with_audio, mask_iou, precision_recall


def stages(network: str) -> dict:
    if network == "vggish":
        return {"forward": vggish_forward, "backward": vggish_backward, "train": vggish_train,
                "postprocess": vggish_postprocess, "mel": avs_data.mel}
    return {"forward": forward, "metric": metric, "loss": loss, "backward": backward,
            "backward_train": backward_train, "train": train, "sampling": avs_data.sampling,
            "transform": avs_data.transform, "short_training": twin_training.mini_training}


def state_entries(manifest: dict) -> list[list]:
    config = manifest["config"]
    if "blocks" in config:
        blocks = {name: TPAVI(**options) for name, options in config["blocks"].items()}
        return tools.state_entries(nn.ModuleDict(blocks))
    if manifest["network"] == "vggish" or "backbone" not in config:
        return []
    return tools.state_entries(AVSNet(**network_arguments(config)))


def build(run: Run) -> AVSNet:
    return tools.build(lambda: AVSNet(**network_arguments(run.config)), run.state, run.dtype)


def forward(run: Run) -> dict[str, np.ndarray]:
    if "blocks" in run.config:
        return blocks(run, gradients=False)
    network = build(run)
    made = {}
    for suffix in ("", "224"):
        if f"image{suffix}" not in run.inputs or (suffix and run.name != "forward_full"):
            continue
        image, audio = tools.tensors(run.inputs, f"image{suffix}", f"audio{suffix}")
        with torch.no_grad(), tools.Recorder(network) as recorder:
            pred, maps, features = network(image, audio)
        made = {"pred": tools.array(pred)}
        for k in range(4):
            made[f"v{k + 1}"] = tools.array(maps[k])
            if features[k] is not None:
                made[f"a{k + 1}"] = tools.array(features[k])
        if run.wanted is None:
            made = {**recorder.arrays, **made}
    return made


def run_loss(run: Run, network: AVSNet):
    image, audio, mask = tools.tensors(run.inputs, "image", "audio", "mask")
    image.requires_grad_(run.wanted is None)
    pred, maps, features = network(image, audio)
    return (image, pred, *loss_with_audio(run.config["task"], pred, mask, features, maps, **run.config["loss"]))


def backward(run: Run, training: bool = False) -> dict[str, np.ndarray]:
    if "blocks" in run.config:
        return blocks(run, gradients=True)
    if "combos" in run.config:
        return loss_backward(run)
    network = build(run).train(training)
    image, pred, total, iou, sa = run_loss(run, network)
    total.backward()
    made = {"loss": tools.array(total), "iou_loss": np.float64(iou.item()), "sa_loss": np.float64(sa.item()),
            "pred": tools.array(pred)}
    made.update({f"grad:{name}": gradient for name, gradient in tools.gradients(network).items()})
    if training:
        made.update({f"buffer:{name}": value for name, value in tools.entries(network).items() if "running_" in name})
    if run.wanted is None:
        made["grad:image"] = tools.array(image.grad)
    return made


def backward_train(run: Run) -> dict[str, np.ndarray]:
    return backward(run, training=True)


def train(run: Run) -> dict[str, np.ndarray]:
    network, options = build(run).train(), run.stage
    optimizer = _adam(network, options)
    losses = []
    for _ in range(options["steps"]):
        optimizer.zero_grad()
        total = run_loss(run, network)[2]
        total.backward()
        optimizer.step()
        losses.append(total.item())
    return {"losses": np.array(losses), **{f"state:{name}": value for name, value in tools.entries(network).items()
                                           if not name.endswith("num_batches_tracked")}}


def _adam(network: nn.Module, options: dict) -> torch.optim.Optimizer:
    return torch.optim.Adam(network.parameters(), options["lr"], tuple(options["betas"]), options["eps"],
                            options["weight_decay"])


def blocks(run: Run, gradients: bool) -> dict[str, np.ndarray]:
    """TPAVI blocks alone; each run begins at the recipe's state."""
    made = {}
    for name, kind, mode in block_runs(run):
        options, key = run.config["blocks"][name], f"{name}.{kind}.{mode}"
        block = tools.build(lambda options=options: TPAVI(**options), block_state(run, name), run.dtype)
        block.train(mode == "train")
        x, weight = tools.tensors(run.inputs, *block_inputs(options))
        audio, audio_weight = tools.tensors(run.inputs, "audio", "audio_weight")
        x.requires_grad_()
        z, feature = block(x, audio) if kind == "va" else block(x)
        if not gradients:
            made[f"{key}.z"] = tools.array(z)
            if kind == "va":
                made[f"{key}.audio"] = tools.array(feature)
            if mode == "train" and options["bn_layer"]:
                made[f"{key}.running_mean"] = tools.array(block.W_z[1].running_mean)
                made[f"{key}.running_var"] = tools.array(block.W_z[1].running_var)
            continue
        value = (z * weight).mean() + ((feature * audio_weight).mean() if kind == "va" else 0)
        value.backward()
        made[f"{key}.loss"], made[f"{key}.grad:x"] = tools.array(value), tools.array(x.grad)
        made.update({f"{key}.grad:{name}.{entry}": array for entry, array in tools.gradients(block).items()})
    return made


def _combination(run: Run, name: str, gradient: bool = False):
    options = dict(run.config["combos"][name])
    task = options.pop("task")
    pred, mask = tools.tensors(run.inputs, "pred", "mask")
    features = tools.tensors(run.inputs, "a1", "a2", "a3", "a4", gradient=gradient)
    maps = tools.tensors(run.inputs, "v1", "v2", "v3", "v4", gradient=gradient)
    pred.requires_grad_(gradient)
    if task == "S4":
        mask = of_first_frames(mask, pred, features[0])
    return pred, features, maps, loss_with_audio(task, pred, mask, features, maps, **options)


def loss(run: Run) -> dict[str, np.ndarray]:
    made = {}
    for name in run.config["combos"]:
        with torch.no_grad():
            values = _combination(run, name)[3]
        made[name] = np.array([value.item() for value in values])
    return made


def loss_backward(run: Run) -> dict[str, np.ndarray]:
    made = {}
    for name in run.config["combos"]:
        pred, features, maps, (total, _, _) = _combination(run, name, gradient=True)
        total.backward()
        for key, tensor in (("pred", pred), ("a2", features[1]), ("v2", maps[1])):
            if tensor.grad is not None:
                made[f"{name}.grad:{key}"] = tools.array(tensor.grad)
    return made


def metric(run: Run) -> dict[str, np.ndarray]:
    if run.manifest["state"]:
        pred = torch.from_numpy(forward(run)["pred"])[:, 0]
        target = torch.from_numpy(run.inputs["mask"])[:, 0]
        target = target.repeat_interleave(len(pred) // len(target), 0)
        return {"mask_iou": tools.array(mask_iou(pred, target)), "f_measure": np.float64(f_measure(pred, target))}
    logits, gt, soft = (torch.from_numpy(array) for array in metric_inputs(run))
    silent = torch.zeros_like(gt)
    precision, recall = precision_recall(torch.sigmoid(logits[0]), gt[0])
    return {
        "mask_iou": tools.array(mask_iou(logits, gt)), "f_measure": np.float64(f_measure(logits, gt)),
        "mask_iou_by_frame": np.array([tools.array(mask_iou(logits[i:i + 1], gt[i:i + 1])) for i in range(len(gt))]),
        "f_measure_by_frame": np.array([f_measure(logits[i:i + 1], gt[i:i + 1]) for i in range(len(gt))]),
        "mask_iou_batches_of_2": np.float64(np.mean([mask_iou(logits[b], gt[b]).item() for b in in_twos(len(gt))])),
        "f_measure_batches_of_2": np.float64(np.mean([f_measure(logits[b], gt[b]) for b in in_twos(len(gt))])),
        "mask_iou_all_empty": tools.array(mask_iou(logits, silent)),
        "f_measure_all_empty": np.float64(f_measure(logits, silent)),
        "mask_iou_soft_target": tools.array(mask_iou(logits, soft)),
        "precision_frame0": tools.array(precision), "recall_frame0": tools.array(recall),
        "thresholds": torch.linspace(0, 1 - 1e-10, 255).numpy()}


def build_vggish(run: Run) -> VGGish:
    return tools.build(lambda: VGGish(vggish_widths(run), run.state["embeddings.0.bias"].size), run.state, run.dtype)


def vggish_forward(run: Run) -> dict[str, np.ndarray]:
    network = build_vggish(run)
    with torch.no_grad(), tools.Recorder(network, ["features"]) as recorder:
        embedding = network(*tools.tensors(run.inputs, "logmel"))
    return {**recorder.arrays, "embedding": tools.array(embedding)}


def _vggish_loss(run: Run, network: VGGish) -> torch.Tensor:
    logmel, target = tools.tensors(run.inputs, "logmel", "target")
    return ((network(logmel) - target) ** 2).mean()


def vggish_backward(run: Run) -> dict[str, np.ndarray]:
    network = build_vggish(run)
    value = _vggish_loss(run, network)
    value.backward()
    return {"loss": tools.array(value), **{f"grad:{name}": g for name, g in tools.gradients(network).items()}}


def vggish_train(run: Run) -> dict[str, np.ndarray]:
    network = build_vggish(run)
    optimizer, losses = _adam(network, run.stage), []
    for _ in range(run.stage["steps"]):
        optimizer.zero_grad()
        value = _vggish_loss(run, network)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return {"losses": np.array(losses), **{f"state:{name}": value for name, value in tools.entries(network).items()}}


def vggish_postprocess(run: Run) -> dict[str, np.ndarray]:
    embedding, vectors, means = tools.tensors(run.inputs, "embedding", "pca_eigen_vectors", "pca_means")
    return {"quantised": postprocess(embedding, vectors, means).numpy(),
            "one": postprocess(embedding[:1], vectors, means).numpy()}
