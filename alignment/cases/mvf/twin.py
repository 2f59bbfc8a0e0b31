"""The torch side of the MVFNet cases."""
from __future__ import annotations

import re

import numpy as np
import torch
import torch.nn.functional as F

from alignment import short_training
from alignment import torch_tools as tools
from alignment.bundle import Run
from alignment.cases.mvf import network_arguments, smooth_key
from alignment.reference import mvf_data
from alignment.reference.mvf import MultiViewFusion, MVFNet, average_clips


def stages(network: str) -> dict:
    return {"forward": forward, "loss": loss, "views": views, "backward": backward, "backward_train": backward_train,
            "bn_stats": bn_stats, "train": train, "metric": metric, "schedule": schedule,
            "sampling": mvf_data.sampling, "transform": mvf_data.transform, "short_training": mini_training}


def state_entries(manifest: dict) -> list[list]:
    return tools.state_entries(MVFNet(**network_arguments(manifest["config"]))) if manifest["config"] else []


def build(run: Run) -> MVFNet:
    return tools.build(lambda: MVFNet(**network_arguments(run.config)), run.state, run.dtype)


def _labels(run: Run) -> torch.Tensor:
    return torch.from_numpy(run.inputs["labels"].reshape(-1))


def forward(run: Run) -> dict[str, np.ndarray]:
    network = build(run)
    (frames,) = tools.tensors(run.inputs, "imgs")
    with torch.no_grad(), tools.Recorder(network) as recorder:
        for name, module in network.named_modules():
            if isinstance(module, MultiViewFusion) and module.channels:
                module.net.register_forward_pre_hook(lambda net, inputs, name=name: recorder.arrays.update(
                    {f"mvf_out:{name}": tools.array(inputs[0])}))
        logits = network(frames)
    made = {name.removeprefix("backbone."): value for name, value in recorder.arrays.items()
            if re.fullmatch(r"backbone\.(maxpool|layer\d)|mvf_out:.*", name)}
    made = {"logits": tools.array(logits), **made}
    if run.wanted is None:
        made = {**recorder.arrays, **made}  # in order of execution: the first to fail is the first divergence
    return made


def loss(run: Run) -> dict[str, np.ndarray]:
    network = build(run)
    with torch.no_grad():
        logits = network(tools.tensors(run.inputs, "imgs")[0])
        made = {"loss_cls": tools.array(F.cross_entropy(logits, _labels(run)))}
        for name, smoothing in smooth_key(run.wanted):
            made[name] = tools.array(F.cross_entropy(logits, _labels(run), label_smoothing=smoothing))
    return made


def views(run: Run) -> dict[str, np.ndarray]:
    network = build(run)
    (frames,) = tools.tensors(run.inputs, "views")
    made = {}
    for head in ("tsn", "fcn"):
        with torch.no_grad():
            logits = network(frames, full_size=head == "fcn")
        for kind in (None, "score", "prob"):
            made[f"{head}:{kind}"] = tools.array(average_clips(logits, kind))
    return made


def backward(run: Run, training: bool = False) -> dict[str, np.ndarray]:
    network = build(run).train(training)
    (frames,) = tools.tensors(run.inputs, "imgs", gradient=True)
    value = F.cross_entropy(network(frames), _labels(run))
    value.backward()
    made = {"loss": tools.array(value)}
    made.update({f"grad:{name}": gradient for name, gradient in tools.gradients(network).items()})
    if run.wanted is None:
        made["grad:input"] = tools.array(frames.grad)
    return made


def backward_train(run: Run) -> dict[str, np.ndarray]:
    return backward(run, training=True)


def bn_stats(run: Run) -> dict[str, np.ndarray]:
    network = build(run).train()
    with torch.no_grad():
        network(tools.tensors(run.inputs, "imgs")[0])
    return {name: value for name, value in tools.entries(network).items() if "running_" in name}


def train(run: Run) -> dict[str, np.ndarray]:
    network, options = build(run).train(run.stage["mode"] == "train"), run.stage["optimizer"]
    optimizer = torch.optim.SGD(network.parameters(), lr=options["lr"], momentum=options["momentum"],
                                weight_decay=options["weight_decay"], nesterov=options["nesterov"])
    (frames,) = tools.tensors(run.inputs, "imgs")
    losses, norms, rates = [], [], []
    for step in range(options.get("steps", 5)):
        if "schedule" in run.stage:
            optimizer.param_groups[0]["lr"] = mvf_data.warmup_cosine(step, **run.stage["schedule"])
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.zero_grad()
        value = F.cross_entropy(network(frames), _labels(run))
        value.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(network.parameters(), options["max_norm"]).item())
        optimizer.step()
        losses.append(value.item())
    network.eval()
    with torch.no_grad():
        logits = tools.array(network(frames))
    made = {"losses": np.asarray(losses, run.dtype), "grad_norms": np.asarray(norms, run.dtype),
            "logits_after_eval": logits}
    made.update({f"param:{name}": value for name, value in tools.entries(network).items()
                 if not name.endswith("num_batches_tracked")})
    if run.wanted is None:
        made["rates"] = np.asarray(rates, "float64")
    return made


def mini_training(run: Run) -> dict[str, np.ndarray]:
    """The mini run's recipe: nesterov SGD, one clipping of all gradients, cosine after a warm-up by epochs."""
    material = short_training.read(run)
    config, options = material.config["network"], material.config["optimizer"]
    network = tools.build(lambda: MVFNet(
        num_classes=config["num_classes"], num_frames=material.config["data"]["clip_len"], depth=config["depth"],
        alpha=config["alpha"], fused_stages=config["mvf_freq"], dropout=0.0,
        backbone={"base_channels": config["base_channels"], "num_stages": config["num_stages"],
                  "out_stages": (config["num_stages"] - 1,)}), material.upstream, run.dtype).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=options["lr"], momentum=options["momentum"],
                                weight_decay=options["weight_decay"], nesterov=True)
    losses, rates = [], []
    for step, batch in enumerate(material.batches):
        rates.append(mvf_data.warmup_cosine(
            step, base=options["lr"], warmup_start=options["warmup_start"], warmup_epochs=options["warmup_epochs"],
            max_epochs=material.config["train"]["epochs"], steps_per_epoch=material.steps_per_epoch))
        optimizer.param_groups[0]["lr"] = rates[-1]
        optimizer.zero_grad()
        value = F.cross_entropy(network(torch.from_numpy(batch["frames"])), torch.from_numpy(batch["label"]))
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), options["max_norm"])
        optimizer.step()
        losses.append(value.item())
    network.eval()
    with torch.no_grad():
        scores = [average_clips(network(torch.from_numpy(video[None])), "prob")
                  for batch in material.validation for video in batch["frames"]]
    scores = torch.cat(scores).numpy()
    labels = np.concatenate([batch["label"] for batch in material.validation])
    top1, top5 = ((np.argsort(scores, 1)[:, -k:] == labels[:, None]).any(1).mean() for k in (1, 5))
    found = {"top1_acc": top1, "top5_acc": top5, "mean_class_accuracy": _class_accuracy(scores.argmax(1), labels)}
    return short_training.arrays(losses, rates, found, run.dtype)


def metric(run: Run) -> dict[str, np.ndarray]:
    """The original's loops over samples and classes."""
    labels = run.inputs["metric_labels"]
    scores = run.inputs["scores"].astype("float64")
    for i, label in enumerate(labels):
        scores[i, label] += float(run.inputs["boost"][i])
    predictions = np.array([int(np.argmax(row)) for row in scores], "int64")
    hits = {k: np.mean([label in np.argsort(row)[-k:] for row, label in zip(scores, labels, strict=True)])
            for k in (1, 5)}
    return {"top1": np.float64(hits[1]), "top5": np.float64(hits[5]),
            "mean_class_accuracy": np.float64(_class_accuracy(predictions, labels)), "predictions": predictions}


def _class_accuracy(predictions: np.ndarray, labels: np.ndarray) -> float:
    classes = sorted(set(predictions.tolist()) | set(labels.tolist()))
    rates = []
    for c in classes:
        of_class = predictions[labels == c]
        rates.append(np.mean(of_class == c) if of_class.size else 0.0)
    return float(np.mean(rates))


def schedule(run: Run) -> dict[str, np.ndarray]:
    made = {}
    for key in run.wanted or run.stage["keys"]:
        base, start, warmup, epochs, iterations = key.split(":")
        made[key] = np.array([mvf_data.warmup_cosine(
            step, base=float(base), warmup_start=float(start), warmup_epochs=int(warmup), max_epochs=int(epochs),
            steps_per_epoch=int(iterations)) for step in range(int(epochs) * int(iterations) + 1)])
    return made
