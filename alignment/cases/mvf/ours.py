"""The Paddle side of the MVFNet cases."""
from __future__ import annotations

import re

import numpy as np
import paddle
import paddle.nn.functional as F

from alignment import paddle_tools as tools
from alignment import paddle_training
from alignment.bundle import Run
from alignment.cases.mvf import network_arguments, smooth_key
from alignment.cases.mvf.data import sampling, transform
from engine.clipping import GlobalNorm, global_norm
from engine.optimization import Group, Optimizer
from engine.schedules import cosine_after_warmup
from losses.classification import smoothed_cross_entropy
from metrics.classification import mean_class_accuracy, top_k_accuracy
from models.mvf import UPSTREAM_DROPPED, MultiViewFusion, MVFNet, average_views, upstream_name


def stages(network: str) -> dict:
    return {"forward": forward, "loss": loss, "views": views, "backward": backward, "backward_train": backward_train,
            "bn_stats": bn_stats, "train": train, "metric": metric, "schedule": schedule,
            "sampling": sampling, "transform": transform, "short_training": paddle_training.train}


def build(run: Run) -> MVFNet:
    return tools.build(lambda: MVFNet(**network_arguments(run.config)), run.state, run.dtype, upstream_name,
                       UPSTREAM_DROPPED)


def _labels(run: Run) -> paddle.Tensor:
    return paddle.to_tensor(run.inputs["labels"].reshape(-1))


def forward(run: Run) -> dict[str, np.ndarray]:
    network = build(run)
    (frames,) = tools.tensors(run.inputs, "imgs")
    with paddle.no_grad(), tools.Recorder(network) as recorder, FusedOutputs(network, recorder.arrays):
        logits = network(frames)
    made = {name.removeprefix("backbone."): value for name, value in recorder.arrays.items()
            if re.fullmatch(r"backbone\.(maxpool|layer\d)|mvf_out:.*", name)}
    made = {"logits": logits.numpy(), **made}
    if run.wanted is None:
        made = {**recorder.arrays, **made}  # in order of execution: the first to fail is the first divergence
    return made


class FusedOutputs:
    """Records into ``arrays`` what each fusion hands to its wrapped convolution, as ``mvf_out:NAME``."""

    def __init__(self, network: MVFNet, arrays: dict[str, np.ndarray]):
        self.layers = {name: layer for name, layer in network.named_sublayers()
                       if isinstance(layer, MultiViewFusion) and layer.channels}
        self.arrays = arrays

    def __enter__(self) -> FusedOutputs:
        self.hooks = [layer.net.register_forward_pre_hook(
            lambda net, inputs, name=name: self.arrays.update({f"mvf_out:{name}": inputs[0].numpy()}))
            for name, layer in self.layers.items()]
        return self

    def __exit__(self, *error) -> None:
        for hook in self.hooks:
            hook.remove()


def loss(run: Run) -> dict[str, np.ndarray]:
    network = build(run)
    (frames,) = tools.tensors(run.inputs, "imgs")
    with paddle.no_grad():
        logits = network(frames)
        made = {"loss_cls": F.cross_entropy(logits, _labels(run)).numpy()}
        for name, smoothing in smooth_key(run.wanted):
            made[name] = smoothed_cross_entropy(logits, _labels(run), smoothing).numpy()
    return made


def views(run: Run) -> dict[str, np.ndarray]:
    """Pooling before the classifier serves both of the original's heads."""
    network = build(run)
    (frames,) = tools.tensors(run.inputs, "views")
    with paddle.no_grad():
        logits = network(frames)
    return {f"{head}:{kind}": average_views(logits, frames.shape[0], kind).numpy()
            for head in ("tsn", "fcn") for kind in (None, "score", "prob")}


def backward(run: Run, training: bool = False) -> dict[str, np.ndarray]:
    network = build(run)
    if training:
        network.train()
    (frames,) = tools.tensors(run.inputs, "imgs", gradient=True)
    value = F.cross_entropy(network(frames), _labels(run))
    value.backward()
    made = {"loss": value.numpy()}
    made.update({f"grad:{name}": gradient for name, gradient in tools.gradients(network, upstream_name).items()})
    if run.wanted is None:
        made["grad:input"] = frames.grad.numpy()
    return made


def backward_train(run: Run) -> dict[str, np.ndarray]:
    return backward(run, training=True)


def bn_stats(run: Run) -> dict[str, np.ndarray]:
    network = build(run)
    network.train()
    with paddle.no_grad():
        network(tools.tensors(run.inputs, "imgs")[0])
    return {name: value for name, value in tools.entries(network, upstream_name).items() if "running_" in name}


def train(run: Run) -> dict[str, np.ndarray]:
    """The recipe's own optimizer for five steps on one batch."""
    network, options = build(run), run.stage["optimizer"]
    if run.stage["mode"] == "train":
        network.train()
    rate = lambda update: options["lr"]  # noqa: E731
    if "schedule" in run.stage:
        rate = cosine_after_warmup(**run.stage["schedule"])
    parameters = [parameter for parameter in network.parameters() if not parameter.stop_gradient]
    optimizer = Optimizer([Group("all", parameters, rate, options["weight_decay"])], kind="sgd",
                          momentum=options["momentum"], nesterov=options["nesterov"],
                          clip=GlobalNorm(options["max_norm"]))
    (frames,) = tools.tensors(run.inputs, "imgs")
    losses, norms, rates = [], [], []
    for _ in range(options.get("steps", 5)):
        value = F.cross_entropy(network(frames), _labels(run))
        value.backward()
        rates.append(rate(optimizer.updates))
        norms.append(global_norm([parameter for parameter in parameters if parameter.grad is not None]).item())
        optimizer.step()
        optimizer.clear_grad()
        losses.append(value.item())
    network.eval()
    with paddle.no_grad():
        logits = network(frames).numpy()
    made = {"losses": np.asarray(losses, run.dtype), "grad_norms": np.asarray(norms, run.dtype),
            "logits_after_eval": logits}
    made.update({f"param:{name}": value for name, value in tools.entries(network, upstream_name).items()})
    if run.wanted is None:
        made["rates"] = np.asarray(rates, "float64")
    return made


def metric(run: Run) -> dict[str, np.ndarray]:
    scores, labels = metric_inputs(run)
    top1, top5 = top_k_accuracy(scores, labels, (1, 5))
    return {"top1": np.float64(top1), "top5": np.float64(top5),
            "mean_class_accuracy": np.float64(mean_class_accuracy(scores, labels)),
            "predictions": scores.argmax(1).astype("int64")}


def metric_inputs(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Scores (float64) raised at the true class by a boost, and labels."""
    labels = run.inputs["metric_labels"]
    scores = run.inputs["scores"].astype("float64")
    scores[np.arange(len(labels)), labels] += run.inputs["boost"].astype("float64")
    return scores, labels


def schedule(run: Run) -> dict[str, np.ndarray]:
    """Keys say BASE:WARMUP_START:WARMUP_EPOCHS:MAX_EPOCH:ITERS_PER_EPOCH."""
    made = {}
    for key in run.wanted or run.stage["keys"]:
        base, start, warmup, epochs, iterations = key.split(":")
        rate = cosine_after_warmup(float(base), warmup_start=float(start), warmup_epochs=int(warmup),
                                   max_epochs=int(epochs), steps_per_epoch=int(iterations))
        made[key] = np.array([rate(update) for update in range(int(epochs) * int(iterations) + 1)])
    return made
