"""How a bundle's inputs drive the PyTorch twin of ``dff``."""
from __future__ import annotations

import itertools

import numpy as np
import torch

from alignment import torch_tools as tools
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
    twin_training,
    warp_arguments,
)
from alignment.reference import dff as reference
from alignment.reference import dff_data


def stages(network: str) -> dict:
    """Stage functions by base name of ``dff``, ``pspnet``, ``flownets`` or ``warp``."""
    return {"dff": {"forward": _dff_forward, "loss": _dff_loss, "backward": _dff_backward,
                    "evaluate": _dff_evaluate, "train": _dff_train,
                    "short_training": twin_training.mini_training},
            "pspnet": {"forward": _psp_forward, "loss": _psp_losses, "backward": _psp_backward,
                       "bn_train": _psp_bn_train, "train": _psp_train,
                       "short_training": twin_training.mini_pspnet_training},
            "flownets": {"forward": _flow_forward, "forward_train": _flow_forward_train, "loss": _flow_loss,
                         "backward": _flow_backward, "train": _flow_train},
            "warp": {"forward": _warp_forward, "backward": _warp_backward, "metric": _metric,
                     "transform": _transform, "sampling": _sampling, "schedule": _schedule}}[network]


def state_entries(manifest: dict) -> list[list]:
    """``[name, shape, dtype]`` of the twin that a built-in case asks for; data cases have none."""
    network, given = manifest["network"], manifest["config"].get("twin")
    if given is None:
        return []
    make = {"dff": reference.DFF, "pspnet": reference.PSPNet, "flownets": reference.FlowNetS}[network]
    return tools.state_entries(make(**given))


def _tensors(run) -> dict[str, torch.Tensor]:
    labels = {"labels": scored_labels(run.inputs)} if "gt_raw" in run.inputs else {}
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in {**run.inputs, **labels}.items()}


def _load(network: torch.nn.Module, run) -> torch.nn.Module:
    return tools.build(lambda: network, run.state, run.dtype)


def _arrays(values: dict) -> dict[str, np.ndarray]:
    return {name: np.array(value.detach().numpy()) for name, value in values.items()}


def _wanted(run, arrays: dict) -> dict:
    return arrays if run.wanted is None else {name: arrays[name] for name in run.wanted if name in arrays}


def _recorder(run, network):
    """Records the modules' outputs in a run of our own; a recorded bundle does not hold them."""
    return tools.Recorder(network, recorded(run.state) if run.wanted is None else ())


def _gradients(network) -> dict[str, np.ndarray]:
    return _arrays({f"grad:{name}": p.grad for name, p in network.named_parameters() if p.requires_grad})


def _descend(run, network, optimizer, loss_of) -> dict[str, np.ndarray]:
    losses = []
    for _ in range(TRAIN_STEPS):
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    trained = {f"param:{name}": p for name, p in network.named_parameters() if p.requires_grad}
    return _wanted(run, {"losses": np.array(losses), **_arrays(trained)})


# ------------------------------------------------------------------ dff

def _dff(run) -> reference.DFF:
    shapes = {name: array.shape for name, array in run.state.items()}
    return _load(reference.DFF(**reference.architecture(shapes), **options(run.config)), run)


def _dff_forward(run):
    network, inputs = _dff(run), _tensors(run)
    with torch.no_grad(), _recorder(run, network) as recorder:
        made = network(inputs["im_seg_list"], inputs["im_flow_list"])
    return in_order(recorder.arrays, **_arrays(made))


def _dff_total(network, inputs):
    logits = network(inputs["im_seg_list"], inputs["im_flow_list"])["pred"]
    return reference.dff_loss(logits, inputs["labels"]).reshape(1)


def _dff_loss(run):
    with torch.no_grad():
        return _arrays({"loss": _dff_total(_dff(run), _tensors(run))})


def _dff_backward(run):
    network = _dff(run).set_train()
    _dff_total(network, _tensors(run)).backward()
    return _wanted(run, _gradients(network))


def _dff_evaluate(run):
    network, inputs = _dff(run), _tensors(run)
    with torch.no_grad():
        key, current = network.evaluate(inputs["im_seg_list"], inputs["im_flow_list"])
    return _arrays({"key": key, "current": current})


def _sgd(parameters, stage):
    given = stage["optimizer"]
    return torch.optim.SGD(parameters, lr=given["lr"], momentum=given["momentum"],
                           weight_decay=given["weight_decay"], nesterov=given.get("nesterov", False))


def _dff_train(run):
    network, inputs = _dff(run).set_train(), _tensors(run)
    optimizer = _sgd([p for p in network.parameters() if p.requires_grad], run.stage)
    return _descend(run, network, optimizer, lambda: _dff_total(network, inputs))


# ------------------------------------------------------------------ pspnet

def _pspnet(run) -> reference.PSPNet:
    found = reference.architecture({name: array.shape for name, array in run.state.items()})
    return _load(reference.PSPNet(num_classes=found["num_classes"], **found["feature"],
                                  dropout=run.config.get("dropout_ratio", 0.0)), run)


def _psp_forward(run):
    network = _pspnet(run)
    with torch.no_grad(), _recorder(run, network) as recorder:
        made = network(_tensors(run)["image"])
    return {**recorder.arrays, **_arrays(made)}


def _psp_terms(network, inputs) -> dict[str, torch.Tensor]:
    gt, out = inputs["labels"], network(inputs["image"])
    terms = {"decode": reference.mmseg_loss(out["logits"], gt), "logits": out["logits"]}
    terms["total"] = terms["decode"]
    if "aux" in out:
        terms["aux"] = 0.4 * reference.mmseg_loss(out["aux"], gt)
        terms["total"] = terms["decode"] + terms["aux"]
    terms["decode_acc"] = reference.mmseg_accuracy(out["logits"], gt)
    return {name: value.reshape(1) if value.ndim == 0 else value for name, value in terms.items()}


def _psp_losses(run):
    with torch.no_grad():
        terms = _arrays(_psp_terms(_pspnet(run), _tensors(run)))
    terms["decode_acc"] = terms["decode_acc"].astype(run.dtype)
    terms.pop("logits")
    return terms


def _psp_backward(run):
    network = _pspnet(run)
    _psp_terms(network, _tensors(run))["total"].backward()
    return _wanted(run, _gradients(network))


def _psp_bn_train(run):
    network = _pspnet(run).train()
    with torch.no_grad():
        terms = _psp_terms(network, _tensors(run))
    statistics = {f"bn:{name}": value for name, value in network.named_buffers() if "num_batches" not in name}
    return _wanted(run, _arrays({**{name: terms[name] for name in ("decode", "aux", "logits") if name in terms},
                                 **statistics}))


def _psp_train(run):
    network, inputs = _pspnet(run), _tensors(run)
    step = itertools.count()
    return _descend(run, network, _sgd(network.parameters(), run.stage),
                    lambda: _psp_terms(network, inputs)[trained_term(run.stage, next(step))])


# ------------------------------------------------------------------ flownets

def _flownets(run) -> reference.FlowNetS:
    found = reference.architecture({name: array.shape for name, array in run.state.items()})
    return _load(reference.FlowNetS(**found["flow"]), run)


def _flow_forward(run):
    network = _flownets(run)
    with torch.no_grad(), _recorder(run, network) as recorder:
        flow = network(_tensors(run)["images"])[0]
    return _wanted(run, {**recorder.arrays, **_arrays({"flow2": flow, "flow": flow * 5.0})})


def _flow_forward_train(run):
    network = _flownets(run).train()
    with torch.no_grad():
        flows = network(_tensors(run)["images"])
    return _arrays({f"flow{level}": flow for level, flow in enumerate(flows, 2)})


def _multiscale(run, network, inputs):
    weights = run.config.get("multiscale_weights", (0.005, 0.01, 0.02, 0.08, 0.32))
    flows = network(inputs["images"])
    return reference.multiscale_epe(flows, inputs["target"], weights).reshape(1), flows


def _flow_loss(run):
    network, inputs = _flownets(run).train(), _tensors(run)
    with torch.no_grad():
        loss, flows = _multiscale(run, network, inputs)
        epe = run.config.get("div_flow", 20) * reference.real_epe(flows[0], inputs["target"])
    return _arrays({"loss": loss, "epe": epe.reshape(1)})


def _flow_backward(run):
    network = _flownets(run).train()
    _multiscale(run, network, _tensors(run))[0].backward()
    return _wanted(run, _gradients(network))


def _flow_train(run):
    network, inputs, given = _flownets(run).train(), _tensors(run), run.stage["optimizer"]
    groups = [{"params": [p for name, p in network.named_parameters() if name.endswith(kind)],
               "weight_decay": decay} for kind, decay in decay_by_kind(given).items()]
    groups = [group for group in groups if group["params"]]
    optimizer = torch.optim.Adam(groups, lr=given["lr"], betas=tuple(given["betas"]), eps=given["eps"])
    return _descend(run, network, optimizer, lambda: _multiscale(run, network, inputs)[0])


# ------------------------------------------------------------------ warp, metric, data

def _warp_forward(run):
    inputs = _tensors(run)
    return _arrays({"out": reference.warp(inputs["feature"], inputs["flow"], **warp_arguments(run.config))})


def _warp_backward(run):
    inputs = _tensors(run)
    feature, flow = inputs["feature"].requires_grad_(), inputs["flow"].requires_grad_()
    (reference.warp(feature, flow, **warp_arguments(run.config)) * inputs["weight"]).sum().backward()
    return _arrays({"grad_feature": feature.grad, "grad_flow": flow.grad})


def _metric(run):
    gt, pred = fixed_metric_maps(run.inputs)
    matrix = sum(dff_data.confusion(one, other) for one, other in zip(gt, pred, strict=True))
    iou = dff_data.class_iou(matrix)
    return {"confusion": matrix, "class_iou": np.where(np.isnan(iou), -1.0, iou),
            "miou": np.array([np.nanmean(iou)])}


def _transform(run):
    image, label = run.inputs["image"].astype(np.uint8), run.inputs["label"].astype(np.uint8)
    seg, flow = dff_data.transform(image)
    starts = dff_data.crop_starts(CROPS["size"], tuple(run.config["crop_size"]), CROPS["seed"], CROPS["count"])
    return {"seg": seg, "flow": flow, "crop_start": starts,
            "down_image": dff_data.half_image(image), "down_label": dff_data.half_label(label)}


def _sampling(run):
    return {"pairs": np.array([dff_data.pair(line) for line in run.config["list_lines"]], np.int64)}


def _schedule(run):
    return {"lr": np.array([dff_data.rate(step) for step in SCHEDULE_STEPS])}
