"""How a bundle's inputs drive our ``dff`` networks."""
from __future__ import annotations

import itertools

import numpy as np
import paddle

from alignment import paddle_tools as tools
from alignment import paddle_training, streams
from alignment.cases.dff import (
    CROPS,
    SCHEDULE_STEPS,
    TRAIN_STEPS,
    decay_by_kind,
    fixed_metric_maps,
    in_order,
    options,
    recorded,
    scored_labels,
    trained_term,
    warp_arguments,
)
from datasets import cityscapes_transforms as transforms
from datasets.cityscapes import frame_numbers
from engine.optimization import Group, Optimizer
from engine.schedules import constant
from losses.flow import SCALE_WEIGHTS, endpoint_error, multiscale_endpoint_error
from losses.segmentation import cross_entropy, pixel_accuracy
from metrics.segmentation import ConfusionMatrix
from models import dff as models
from models.conversion import arrays, to_upstream
from models.layers import resize
from models.layers.warp import warp
from systems.dff_schedules import article_rate


def stages(network: str) -> dict:
    """Stage functions by base name of ``dff``, ``pspnet``, ``flownets`` or ``warp``."""
    return {"dff": {"forward": _dff_forward, "loss": _dff_loss, "backward": _dff_backward,
                    "evaluate": _dff_evaluate, "train": _dff_train,
                    "short_training": paddle_training.train},
            "pspnet": {"forward": _psp_forward, "loss": _psp_losses, "backward": _psp_backward,
                       "bn_train": _psp_bn_train, "train": _psp_train,
                       "short_training": paddle_training.train},
            "flownets": {"forward": _flow_forward, "forward_train": _flow_forward_train, "loss": _flow_loss,
                         "backward": _flow_backward, "train": _flow_train},
            "warp": {"forward": _warp_forward, "backward": _warp_backward, "metric": _metric,
                     "transform": _transform, "sampling": _sampling, "schedule": _schedule}}[network]


# ------------------------------------------------------------------ networks from a state dict

def mini_name(name: str) -> str:
    """Upstream's name of an entry of the mini run's network: the article's, with FlowNetPytorch's own flow network."""
    return models.upstream_name(name, backbone="csail", flownet="full")


def _names(run):
    """Which of the published name tables the state uses."""
    stem = "csail" if any(".stem.0.conv1." in f".{name}" for name in run.state) else "mmseg_v1c"
    flow = "slim" if any("upsample_flow6to5" in name for name in run.state) else "full"
    return models.upstream_names(stem, flow)


def _pspnet_options(run, prefix: str) -> dict:
    shapes = {name: array.shape for name, array in run.state.items() if name.startswith(prefix)}
    csail = f"{prefix}backbone.stem.0.conv1.weight" in shapes
    blocks = []
    for stage in range(1, 5):
        start = f"{prefix}backbone.layer{stage}."
        blocks.append(1 + max(int(name[len(start):].split(".")[0]) for name in shapes if name.startswith(start)))
    stem = [f"stem.0.conv{i}" for i in (1, 2, 3)] if csail else [f"stem.{i}" for i in (0, 3, 6)]
    classes, width = shapes[f"{prefix}decode_head.conv_seg.weight"][:2]
    return {"backbone": "csail" if csail else "mmseg_v1c", "blocks": blocks, "width": width, "num_classes": classes,
            "base": shapes[f"{prefix}backbone.layer1.0.conv1.weight"][0],
            "stem": [shapes[f"{prefix}backbone.{name}.weight"][0] for name in stem],
            "auxiliary": shapes.get(f"{prefix}auxiliary_head.convs.0.conv.weight", (0,))[0],
            "dropout": run.config.get("dropout_ratio", 0.0)}


def _flow_options(run, prefix: str) -> dict:
    return {"channels": [run.state[f"{prefix}conv{level}.0.weight"].shape[0] for level in range(1, 7)],
            "decoder_bias": f"{prefix}deconv5.0.bias" in run.state,
            "batch_norm": f"{prefix}conv1.1.weight" in run.state}


def _build(run, make):
    return tools.build(make, run.state, run.dtype, _names(run))


def _dff(run) -> models.DFF:
    psp, flow = _pspnet_options(run, "net_feat.model."), _flow_options(run, "flownet.")
    return _build(run, lambda: models.DFF(
        pspnet=models.PSPNet(**psp), flownet=models.FlowNetS(**flow), num_classes=psp["num_classes"],
        scale_map="scale_map.weight" in run.state, **options(run.config)))


def _pspnet(run) -> models.PSPNet:
    given = _pspnet_options(run, "")
    return _build(run, lambda: models.PSPNet(**given))


def _flownets(run) -> models.FlowNetS:
    given = _flow_options(run, "")
    return _build(run, lambda: models.FlowNetS(**given))


# ------------------------------------------------------------------ what stages share

def _recorder(run, network):
    """Records the layers' outputs in a run of our own; a recorded bundle does not hold them."""
    names = _names(run)
    modules = recorded(run.state) if run.wanted is None else ()
    return tools.Recorder(network, lambda name: names(f"{name}.")[:-1], modules)


def _labels(run):
    return paddle.to_tensor(scored_labels(run.inputs))


def _one(value) -> np.ndarray:
    return tools.array(value).reshape(1)


def _gradients(run, network) -> dict[str, np.ndarray]:
    return {f"grad:{name}": value for name, value in tools.gradients(network, _names(run)).items()}


def _trained(run, network) -> dict[str, np.ndarray]:
    trained = {name for name, parameter in network.named_parameters() if not parameter.stop_gradient}
    kept = {name: value for name, value in arrays(network).items() if name in trained}
    return {f"param:{name}": value for name, value in to_upstream(kept, network, _names(run)).items()}


def _train(run, network, optimizer, loss_of) -> dict[str, np.ndarray]:
    losses = []
    for _ in range(TRAIN_STEPS):
        loss = loss_of()
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(loss.item())
    return {"losses": np.array(losses), **_trained(run, network)}


def _sgd(run, parameters):
    given = run.stage["optimizer"]
    return Optimizer([Group("all", parameters, constant(given["lr"]), given["weight_decay"])], kind="sgd",
                     momentum=given["momentum"], nesterov=given.get("nesterov", False))


# ------------------------------------------------------------------ dff

def _clips(run):
    return tools.tensors(run.inputs, "im_seg_list", "im_flow_list")


@paddle.no_grad()
def _dff_forward(run):
    network = _dff(run)
    seg, flow = _clips(run)
    with _recorder(run, network) as recorder:
        key = network.key_map(seg[:, :, 0])
        field, scale = network.flow(flow[:, :, -1], network.key_half(flow[:, :, 0]))
        made = {"key": key, "flow": field, "warped": warp(key, field, network.warp_padding),
                "pred": network.task(network.move(key, field, scale))}
    return in_order(recorder.arrays, **{name: tools.array(value) for name, value in made.items()})


def _dff_total(network, run):
    return cross_entropy(network(*_clips(run)), _labels(run))


@paddle.no_grad()
def _dff_loss(run):
    return {"loss": _one(_dff_total(_dff(run), run))}


def _dff_backward(run):
    network = _dff(run)
    network.set_train()
    _dff_total(network, run).backward()
    return _gradients(run, network)


@paddle.no_grad()
def _dff_evaluate(run):
    key, current = _dff(run).evaluate(*_clips(run))
    return {"key": tools.array(key), "current": tools.array(current)}


def _dff_train(run):
    network = _dff(run)
    network.set_train()
    return _train(run, network, _sgd(run, network.trained_parameters()), lambda: _dff_total(network, run))


# ------------------------------------------------------------------ pspnet

@paddle.no_grad()
def _psp_forward(run):
    network, (image,) = _pspnet(run), tools.tensors(run.inputs, "image")
    layer3, layer4 = network.backbone(image)
    with _recorder(run, network) as recorder:
        logits, auxiliary = network(image)
    made = {"layer3": layer3, "layer4": layer4, "logits": logits, "aux": auxiliary}
    return {**recorder.arrays, **{name: tools.array(value) for name, value in made.items() if value is not None}}


def _psp_terms(network, run) -> dict:
    labels = _labels(run)
    size = labels.shape[1:]
    scores, auxiliary = network(tools.tensors(run.inputs, "image")[0])
    logits = resize(scores, size)
    terms = {"logits": scores, "decode": cross_entropy(logits, labels, average="all"),
             "decode_acc": pixel_accuracy(logits, labels).astype(scores.dtype)}
    terms["total"] = terms["decode"]
    if auxiliary is not None:
        terms["aux"] = 0.4 * cross_entropy(resize(auxiliary, size), labels, average="all")
        terms["total"] = terms["decode"] + terms["aux"]
    return terms


@paddle.no_grad()
def _psp_losses(run):
    return {name: _one(value) for name, value in _psp_terms(_pspnet(run), run).items() if name != "logits"}


def _psp_backward(run):
    network = _pspnet(run)
    _psp_terms(network, run)["total"].backward()
    return _gradients(run, network)


@paddle.no_grad()
def _psp_bn_train(run):
    network = _pspnet(run)
    network.train()
    terms = _psp_terms(network, run)
    statistics = {f"bn:{name}": value for name, value in tools.entries(network, _names(run)).items()
                  if name.endswith(("running_mean", "running_var"))}
    return {**{name: _one(terms[name]) for name in ("decode", "aux") if name in terms},
            "logits": tools.array(terms["logits"]), **statistics}


def _psp_train(run):
    network = _pspnet(run)
    trained = [parameter for parameter in network.parameters() if not parameter.stop_gradient]
    step = itertools.count()
    return _train(run, network, _sgd(run, trained),
                  lambda: _psp_terms(network, run)[trained_term(run.stage, next(step))])


# ------------------------------------------------------------------ flownets

@paddle.no_grad()
def _flow_forward(run):
    network = _flownets(run)
    with _recorder(run, network) as recorder:
        flow = tools.array(network(tools.tensors(run.inputs, "images")[0])[0])
    return {**recorder.arrays, "flow2": flow, "flow": flow * (models.FLOW_UNIT / 4)}


@paddle.no_grad()
def _flow_forward_train(run):
    network = _flownets(run)
    network.train()
    flows = network(tools.tensors(run.inputs, "images")[0])
    return {f"flow{level}": tools.array(flow) for level, flow in enumerate(flows, 2)}


def _multiscale(network, run):
    images, target = tools.tensors(run.inputs, "images", "target")
    flows = network(images)
    return multiscale_endpoint_error(flows, target, run.config.get("multiscale_weights", SCALE_WEIGHTS)), flows


@paddle.no_grad()
def _flow_loss(run):
    network = _flownets(run)
    network.train()
    loss, flows = _multiscale(network, run)
    target = tools.tensors(run.inputs, "target")[0]
    epe = endpoint_error(resize(flows[0], target.shape[2:]), target).mean() * run.config.get("div_flow", 20)
    return {"loss": _one(loss), "epe": _one(epe)}


def _flow_backward(run):
    network = _flownets(run)
    network.train()
    _multiscale(network, run)[0].backward()
    return _gradients(run, network)


def _flow_train(run):
    network, given = _flownets(run), run.stage["optimizer"]
    network.train()
    groups = [Group(kind, [(name, p) for name, p in network.named_parameters() if name.endswith(kind)],
                    constant(given["lr"]), value) for kind, value in decay_by_kind(given).items()]
    optimizer = Optimizer(groups, kind="adam", betas=tuple(given["betas"]), eps=given["eps"])
    return _train(run, network, optimizer, lambda: _multiscale(network, run)[0])


# ------------------------------------------------------------------ warp, metric, data

@paddle.no_grad()
def _warp_forward(run):
    return {"out": tools.array(warp(*tools.tensors(run.inputs, "feature", "flow"), **warp_arguments(run.config)))}


def _warp_backward(run):
    feature, flow = tools.tensors(run.inputs, "feature", "flow", gradient=True)
    (warp(feature, flow, **warp_arguments(run.config)) * tools.tensors(run.inputs, "weight")[0]).sum().backward()
    return {"grad_feature": tools.array(feature.grad), "grad_flow": tools.array(flow.grad)}


def _metric(run):
    metric = ConfusionMatrix(run.config.get("num_classes", 19))
    for labels, predictions in zip(*fixed_metric_maps(run.inputs), strict=True):
        metric.update(labels, predictions)
    iou = metric.class_iou()
    return {"confusion": metric.counts, "class_iou": np.where(np.isnan(iou), -1.0, iou),
            "miou": np.array([metric.mean_iou()])}


def _transform(run):
    rgb, label = run.inputs["image"][:, :, ::-1], run.inputs["label"]
    stream, size = streams.PythonRandom(CROPS["seed"]), tuple(run.config["crop_size"])
    starts = [transforms.crop_start(CROPS["size"], size, stream) for _ in range(CROPS["count"])]
    return {"seg": transforms.seg_input(rgb), "flow": transforms.flow_input(rgb),
            "crop_start": np.array(starts, np.int64),
            "down_image": transforms.halve_image(run.inputs["image"]), "down_label": transforms.halve_label(label)}


def _sampling(run):
    return {"pairs": np.array([frame_numbers(line, 4) for line in run.config["list_lines"]], np.int64)}


def _schedule(run):
    return {"lr": np.array([article_rate(step, 5e-4, 5e-5, 1000) for step in SCHEDULE_STEPS])}
