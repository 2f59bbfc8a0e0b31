"""The torch side of the MiVOS cases."""
from __future__ import annotations

import numpy as np
import torch

from alignment import recipe
from alignment.cases.mivos import (
    ATTENTION_INPUTS,
    PROPAGATION_PHASES,
    READS,
    S2M_PHASES,
    fusion_phases,
    inputs,
    stage_functions,
    twin_training,
)
from alignment.reference import mivos as nets
from alignment.reference import mivos_core as core
from alignment.reference import mivos_data as data
from alignment.reference.mivos_s2m import S2M
from alignment.torch_tools import Recorder, build, gradients
from alignment.torch_tools import state_entries as entries_of


def state_entries(manifest: dict) -> list[list]:
    """``[name, shape, dtype]`` of the case's network, for manifests that list none."""
    config = manifest["config"]
    make = {"propagation": lambda: nets.PropagationNetwork(single_object=bool(config.get("single_object", False))),
            "fusion": nets.FusionNet,
            "s2m": lambda: S2M(config.get("num_classes", 1), config.get("output_stride", 16)),
            "attention": nets.AttentionReadNetwork}
    return entries_of(make[manifest["network"]]())


def stages(network: str) -> dict:
    """Stage name -> function(run) -> arrays, for ``propagation``, ``fusion`` or ``s2m``."""
    return stage_functions(globals() | {"mini_training": twin_training.mini_training}, network)


def tensors(arrays):
    return {name: torch.as_tensor(np.ascontiguousarray(value)) for name, value in arrays.items()}


def numpy(values):
    return {name: value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
            for name, value in values.items()}


# Propagation, evaluation form ------------------------------------------------------------

@torch.no_grad()
def steps(run):
    x = tensors(inputs.propagation_steps(run))
    net = build(lambda: nets.PropagationNetwork(run.config.get("top_k")), run.state, run.dtype)
    out = {}
    for name, masks in (("memorize1", x["mask1"]), ("memorize3", x["masks"])):
        entries = [net.memorize(x["frame"][t], masks[t]) for t in range(len(masks))]
        out[f"{name}_key"], out[f"{name}_value"] = (torch.cat([e[i] for e in entries], 2) for i in (0, 1))
    query = net.get_query_values(x["frame"][-1])
    out |= dict(zip(("query_f16", "query_f8", "query_f4", "query_key", "query_value"), query, strict=True))
    key, value = out["memorize3_key"][:1], out["memorize3_value"][:1]
    for name, sparse, km in READS:
        out[name] = nets.read(key, value, query[3], net.top_k if sparse else None, km)
    for count in (1, 3):
        out[f"segment{count}"] = net.segment_with_query(out[f"memorize{count}_key"], out[f"memorize{count}_value"],
                                                        *query)
    out["attention_W"] = net.get_W(key[:, :, :1], query[3])
    difference = x["masks"][1, :1] - out["segment3"][:1]
    out["attention_map"] = net.get_attention(key[:, :, 1:2], difference.clamp(0, 1), (-difference).clamp(0, 1),
                                             query[3])
    out |= {"aggregate_wbg": nets.aggregate_wbg(x["probs"], True), "aggregate_wbg_nobg": nets.aggregate_wbg(x["probs"]),
            "aggregate_wbg_hard": nets.aggregate_wbg(x["probs"], True, True),
            "aggregate_sbg": nets.aggregate_sbg(x["probs"], True),
            "aggregate_sbg_hard": nets.aggregate_sbg(x["probs"], True, True),
            "segment3_aggregated": nets.aggregate_wbg(out["segment3"], True)}
    channel = nets.aggregate_wbg_channel(x["probs"].transpose(0, 1))
    out["aggregate_channel_logits"], out["aggregate_channel_prob"] = channel
    return numpy(out)


@torch.no_grad()
def sequence(run):
    images, masks, frames = inputs.sequence(run)
    net = build(lambda: nets.PropagationNetwork(run.config.get("top_k")), run.state, run.dtype)
    fusion = build(nets.FusionNet, run.companion("fusion"), run.dtype)
    video = core.InferenceCore(net, fusion, torch.as_tensor(images), run.config["num_objects"],
                               run.config["mem_freq"])
    out = {}
    for r, (mask, frame) in enumerate(zip(masks, frames, strict=True)):
        result = video.interact(torch.as_tensor(mask), frame).numpy()
        out |= {f"round{r}/prob_{t}": video.prob[:, t].numpy().copy() for t in range(video.t)}
        out |= {f"round{r}/masks": result, f"round{r}/areas": np.stack(
            [(result == label).sum((1, 2)) for label in range(video.k + 1)], 1)}
    return out


# Propagation, training form ------------------------------------------------------------

def training_network(run):
    single = bool(run.config.get("single_object", False))
    return build(lambda: nets.PropagationNetwork(None, single_object=single), run.state, run.dtype)


def three_frames(net, x):
    return core.three_frames(net, x["rgb"], x["gt"], x.get("sec_gt"), x.get("selector"))


def three_frame_loss(out, x, it):
    parts = [core.per_sample_loss(out[f"logits_{t}"], x["cls_gt"][:, t], x.get("selector"), it, *PROPAGATION_PHASES)
             for t in (1, 2)]
    return parts[0][0] + parts[1][0], [part[0] for part in parts], (parts[0][1] + parts[1][1]) / 2


@torch.no_grad()
def train_forward(run):
    net = training_network(run)
    with Recorder(net, inputs.layers(run)) as recorded:
        out = three_frames(net, tensors(inputs.propagation_train(run)))
    return recorded.arrays | numpy(out)


@torch.no_grad()
def train_loss(run):
    x = tensors(inputs.propagation_train(run))
    out, values = three_frames(training_network(run), x), {}
    for it in inputs.iterations(run, "p_it", (0, 30000, 70000, 80000)):
        total, parts, share = three_frame_loss(out, x, it)
        values |= {f"total_loss_it{it}": total, f"loss_1_it{it}": parts[0], f"loss_2_it{it}": parts[1],
                   f"p_it{it}": share}
    return numpy(values)


@torch.no_grad()
def train_metric(run):
    x = tensors(inputs.propagation_train(run))
    out, values = three_frames(training_network(run), x), {}
    for prefix, mask, gt in (("", "mask", "gt"), ("sec_", "sec_mask", "sec_gt")):
        if gt in x:
            sums = [core.iou_sums(out[f"{mask}_{t}"], x[gt][:, t]) for t in (1, 2)]
            values |= {f"{prefix}i": sums[0][0] + sums[1][0], f"{prefix}u": sums[0][1] + sums[1][1]}
    return numpy(values)


def gradients_of(net, loss):
    loss.backward()
    return {f"grad:{name}": array for name, array in gradients(net).items()}


def train_backward(run):
    x, net = tensors(inputs.propagation_train(run)), training_network(run)
    return gradients_of(net, three_frame_loss(three_frames(net, x), x, 0)[0])


def train_loop(run, net, loss_at, its):
    """Adam with MultiStepLR stepped every iteration; returns losses and the parameters of ``run.wanted``."""
    spec = run.stage if "lr" in run.stage else run.manifest["stages"][run.name]
    optimizer = torch.optim.Adam(net.parameters(), spec["lr"], tuple(spec["betas"]), spec["eps"],
                                 spec["weight_decay"])
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, spec["milestones"], spec["gamma"])
    losses = []
    for it in its:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_at(it)
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    state = net.state_dict()
    wanted = [name for name in run.wanted or [f"param:{name}" for name in state if "num_batches" not in name]
              if name.startswith("param:")]
    return numpy({"losses": np.array(losses)} | {name: state[name[6:]] for name in wanted})


def train_steps(run):
    x, net = tensors(inputs.propagation_train(run)), training_network(run)
    its = run.manifest["stages"][run.name]["its"]
    made = train_loop(run, net, lambda it: three_frame_loss(three_frames(net, x), x, it)[0], its)
    return {name: recipe.sample(a, 256) if name.startswith("param:") else a for name, a in made.items()}


# Fusion ------------------------------------------------------------

class FusionPass:
    """One pass of upstream's FusionModel on a batch."""

    def __init__(self, run):
        self.x = tensors(inputs.fusion(run))
        self.net = build(nets.FusionNet, run.state, run.dtype)
        attention = build(nets.AttentionReadNetwork, run.companion("attention"),
                          run.dtype)
        with torch.no_grad():
            self.attention = attention(*(self.x[name] for name in ATTENTION_INPUTS))
        self.iterations = run.manifest["stages"].get("loss", {}).get("iterations", 10)

    def forward(self):
        x = self.x
        logits = [self.net(x["rgb"], *segs, attention, x["dist"]) for segs, attention in zip(
            ((x["seg1"], x["seg2"]), (x["seg12"], x["seg22"])), self.attention, strict=True)]
        prob = torch.sigmoid(torch.cat(logits, 1)) * x["selector"][:, :, None, None]
        aggregated, mask = nets.aggregate_wbg_channel(prob)
        return {"attn1": self.attention[0], "attn2": self.attention[1], "fusion_logit1": logits[0],
                "fusion_logit2": logits[1], "logits": aggregated, "mask": mask}

    def loss(self, it):
        return core.per_sample_loss(self.forward()["logits"], self.x["cls_gt"], self.x["selector"], it,
                                    *fusion_phases(self.iterations))


@torch.no_grad()
def fusion_forward(run):
    made = FusionPass(run)
    with Recorder(made.net, inputs.layers(run)) as recorded:
        out = numpy(made.forward())
    return {name: out[name] for name in ("attn1", "attn2")} | recorded.arrays | out


@torch.no_grad()
def fusion_loss(run):
    made, values = FusionPass(run), {}
    for it in inputs.iterations(run, "p_it", (0, 3, 5, 8)):
        values[f"total_it{it}"], values[f"p_it{it}"] = made.loss(it)
    return numpy(values)


@torch.no_grad()
def fusion_metric(run):
    made, values = FusionPass(run), {}
    mask = made.forward()["mask"]
    for prefix, channel, gt in (("", 1, "gt"), ("sec_", 2, "gt2")):
        i, u = core.iou_sums(mask[:, channel:channel + 1], made.x[gt])
        values |= {f"{prefix}i": i, f"{prefix}u": u, f"{prefix}iou": (i + 1) / (u + 1)}
    return numpy(values)


def fusion_backward(run):
    made = FusionPass(run)
    return gradients_of(made.net, made.loss(0)[0])


def fusion_train(run):
    made = FusionPass(run)
    return train_loop(run, made.net, lambda it: made.loss(it)[0], range(5))


# Scribble to mask ------------------------------------------------------------

def s2m_network(run):
    options = run.config.get("num_classes", 1), run.config.get("output_stride", 16)
    return build(lambda: S2M(*options), run.state, run.dtype)


class S2MPass:
    """Upstream's S2MModel in training: batch norm on batch statistics, dropout off."""

    def __init__(self, run):
        x = tensors(inputs.s2m(run))
        self.x, self.target = x["batch"], x["cls_gt"]
        self.net = s2m_network(run).train()
        self.net.classifier.aspp.project[3].p = 0.0

    def forward(self):
        logits, mask = nets.aggregate_wbg_channel(torch.sigmoid(self.net(self.x)))
        return logits, mask[:, 1:]

    def loss(self, it, logits=None):
        logits = self.forward()[0] if logits is None else logits
        return core.bootstrapped(logits, self.target, it, *S2M_PHASES)


@torch.no_grad()
def s2m_forward(run):
    net, x = s2m_network(run), tensors(inputs.s2m(run))["x"]
    low, high = net.backbone(x)
    out = {"layer1": low, "layer4": high, "low": net.classifier.project(low), "aspp": net.classifier.aspp(high)}
    with Recorder(net, inputs.layers(run)) as recorded:
        out["logits"] = net(x)
    return recorded.arrays | numpy(out)


@torch.no_grad()
def s2m_forward_train(run):
    made = S2MPass(run)
    logits, mask = made.forward()
    state = made.net.state_dict()
    tracked = {name: state[name] for name in inputs.tracked(run)}
    return numpy({"logits": logits, "mask": mask} | tracked)


@torch.no_grad()
def s2m_loss(run):
    made, values = S2MPass(run), {}
    logits, _ = made.forward()
    for it in inputs.iterations(run, "p_it", (0, 20001, 30000)):
        values[f"total_it{it}"], values[f"p_it{it}"] = made.loss(it, logits)
    return numpy(values)


@torch.no_grad()
def s2m_metric(run):
    made = S2MPass(run)
    i, u = core.iou_sums(made.forward()[1][:, 0], made.target)
    return numpy({"i": i, "u": u})


def s2m_backward(run):
    made = S2MPass(run)
    return gradients_of(made.net, made.loss(0)[0])


def s2m_train(run):
    made = S2MPass(run)
    return train_loop(run, made.net, lambda it: made.loss(it)[0], run.manifest["stages"][run.name]["its"])


@torch.no_grad()
def to_mask(run):
    image, objects, current = inputs.to_mask(run)
    padded, amounts = core.pad16(torch.as_tensor(image)[None])
    size = padded.shape[-2:]
    current = np.pad(current, (amounts[2:], amounts[:2]))
    drawn = data.scribble_map(inputs.scribble_paths(run), *size)
    maps = torch.as_tensor(data.positive_negative(drawn, objects)).to(padded.dtype)
    logits, mask = core.scribbles_to_mask(s2m_network(run), padded, torch.as_tensor(current), maps[:, 0], maps[:, 1])
    return numpy({"logits": logits, "mask": mask, "index": mask.argmax(0).to(torch.uint8)})


# Data and metrics ------------------------------------------------------------

def sampling(run):
    return {key: np.array([data.frame_triple(np.random.RandomState(seed), n, jump) for seed in range(12)])
            for key, n, jump in inputs.sampling_cases(run)}


def scribble(run):
    paths, (height, width) = inputs.scribble_paths(run), run.inputs["images"].shape[-2:]
    left, right, top, bottom = data.pad_amounts(height, width)
    padded = data.scribble_map(paths, height + top + bottom, width + left + right)
    first = paths[0][1]
    return {"map": data.scribble_map(paths, height, width).astype(np.int16),
            "map_padded_size": padded.astype(np.int16),
            "bezier": data.bezier(first, 200), "dilated": data.positive_negative(padded, run.config["num_objects"]),
            "bresenham": data.bresenham((first * (width - 1, height - 1)).astype(int))}


def davis_metric(run):
    out = {}
    for name, (truth, guess, size, objects) in inputs.ELLIPSES.items():
        truth, guess = (inputs.ellipses(run.inputs[key], *size) for key in (truth, guess))
        pairs = [[(truth[f] == i, guess[f] == i) for i in range(1, objects + 1)] for f in range(size[0])]
        out[f"{name}_J"] = np.array([[data.jaccard(*pair) for pair in row] for row in pairs])
        out[f"{name}_F"] = np.array([[data.f_measure(*pair) for pair in row] for row in pairs])
        out[f"{name}_areas"] = np.array([[[(m[f] == i).sum() for f in range(size[0])] for m in (truth, guess)]
                                         for i in range(1, objects + 1)])
        out[f"{name}_boundary_pixels"] = np.array([[data.boundary(t).sum() for t, _ in row] for row in pairs])
        out[f"{name}_radius"] = np.float64(data.radius_of(*size[1:]))
    out["small_statistics"] = np.array([[*data.statistics(out["small_J"][:, i]),
                                         *data.statistics(out["small_F"][:, i])] for i in range(3)])
    return out


def summary(run):
    return inputs.summaries(run, lambda values, samples, max_time: data.summary(values, 8, samples, max_time, 60.0))


def pad(run):
    return {"low_high": np.array([data.pad_amounts(*size) for size in inputs.sizes(run)])}
