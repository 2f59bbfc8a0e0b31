"""The Paddle side of the MiVOS cases."""
from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F

from alignment import recipe
from alignment.cases.mivos import (
    ATTENTION_INPUTS,
    PROPAGATION_PHASES,
    READS,
    S2M_PHASES,
    fusion_phases,
    inputs,
    ours_training,
    stage_functions,
)
from alignment.paddle_tools import Recorder, build, entries, gradients
from alignment.streams import LegacyNumpy
from datasets import scribbles
from datasets.vos import frame_triple
from engine.optimization import Group, Optimizer
from engine.schedules import multistep
from losses import mask as losses
from metrics import davis
from models.mivos import aggregation, fusion, memory, propagation, s2m
from models.mivos.inference_core import InferenceCore


def stages(network: str) -> dict:
    """Stage name -> function(run) -> arrays, for ``propagation``, ``fusion`` or ``s2m``."""
    return stage_functions(globals() | {"mini_training": ours_training.mini_training}, network)


def tensors(arrays):
    return {name: paddle.to_tensor(value) for name, value in arrays.items()}


def numpy(values):
    return {name: value.numpy() if isinstance(value, paddle.Tensor) else np.asarray(value)
            for name, value in values.items()}


def recorder(run, network, upstream_name):
    """Records the layers' outputs in a run of our own, in order of execution."""
    return Recorder(network, lambda name: upstream_name(f"{name}.")[:-1], inputs.layers(run))


def propagation_network(run, **options):
    return build(lambda: propagation.PropagationNetwork(**options), run.state, run.dtype, propagation.upstream_name)


# Propagation, evaluation form

@paddle.no_grad()
def steps(run):
    x = tensors(inputs.propagation_steps(run))
    net, out = propagation_network(run, top_k=run.config.get("top_k")), {}
    for name, masks in (("memorize1", x["mask1"]), ("memorize3", x["masks"])):
        made = [net.memorize(x["frame"][t], masks[t]) for t in range(masks.shape[0])]
        out[f"{name}_key"], out[f"{name}_value"] = (paddle.concat([entry[i] for entry in made], 2) for i in (0, 1))
    query = net.get_query_values(x["frame"][-1])
    out |= dict(zip(("query_f16", "query_f8", "query_f4", "query_key", "query_value"), query, strict=True))
    out |= _reads(net, out["memorize3_key"][:1], out["memorize3_value"][:1], query[3])
    for count in (1, 3):
        out[f"segment{count}"] = net.segment_with_query(out[f"memorize{count}_key"], out[f"memorize{count}_value"],
                                                        *query[1:])
    key = out["memorize3_key"][:1]
    out["attention_W"] = memory.attention(key[:, :, :1], query[3])
    difference = x["masks"][1, :1] - out["segment3"][:1]
    out["attention_map"] = propagation.get_attention(key[:, :, 1:2], paddle.clip(difference, 0, 1),
                                                     paddle.clip(-difference, 0, 1), query[3])
    return numpy(out | _aggregations(x["probs"], out["segment3"]))


def _reads(net, key, value, query_key):
    key, value = (memory.rows(tensor.flatten(2, 3))[0] for tensor in (key, value))
    height, width = query_key.shape[2:]
    query, out = memory.scaled_query(query_key), {}
    for name, sparse, km in READS:
        # Tiny tiles, so that chunks of queries and pieces of memory are both exercised.
        found = memory.read(key, value, query, top_k=net.top_k if sparse else None, km=km, width=width, tile=999)
        out[name] = found.t().reshape([1, -1, height, width])
    return out


def _aggregations(probs, segment3):
    channel = aggregation.aggregate_wbg_channel(probs.transpose([1, 0, 2, 3]))
    return {"aggregate_wbg": aggregation.aggregate_wbg(probs, keep_bg=True),
            "aggregate_wbg_nobg": aggregation.aggregate_wbg(probs),
            "aggregate_wbg_hard": aggregation.aggregate_wbg(probs, keep_bg=True, hard=True),
            "aggregate_sbg": aggregation.aggregate_sbg(probs, keep_bg=True),
            "aggregate_sbg_hard": aggregation.aggregate_sbg(probs, keep_bg=True, hard=True),
            "aggregate_channel_logits": channel[0], "aggregate_channel_prob": channel[1],
            "segment3_aggregated": aggregation.aggregate_wbg(segment3, keep_bg=True)}


def sequence(run):
    images, masks, frames = inputs.sequence(run)
    net = propagation_network(run, top_k=run.config.get("top_k"))
    fuse = build(fusion.FusionNet, run.companion("fusion"), run.dtype, fusion.upstream_name)
    video = InferenceCore(propagation=net, fusion=fuse, frames=images, num_objects=run.config["num_objects"],
                          mem_freq=run.config["mem_freq"], mem_profile=run.config["mem_profile"])
    out = {}
    for r, (mask, frame) in enumerate(zip(masks, frames, strict=True)):
        video.interact(mask, frame)
        result = video.masks
        out |= {f"round{r}/prob_{t}": video.prob(t) for t in range(video.length)}
        out |= {f"round{r}/masks": result, f"round{r}/areas": np.stack(
            [(result == label).sum((1, 2)) for label in range(video.k + 1)], 1)}
    return out


# Propagation, training form ------------------------------------------------------------

class PropagationPass:
    """Three frames of a batch, the loss and its parts."""

    def __init__(self, run):
        self.x = tensors(inputs.propagation_train(run))
        self.net = propagation_network(run, single_object=bool(run.config.get("single_object", False)))
        self.net.train()

    def forward(self):
        return self.net(self.x["rgb"], self.x["gt"], self.x.get("sec_gt"), self.x.get("selector"))

    def losses(self, out, it):
        share = losses.hard_share(it, *PROPAGATION_PHASES)
        x, selector = self.x, self.x.get("selector")
        parts = [losses.bootstrapped_by_sample(out[f"logits_{t}"], x["cls_gt"][:, t], selector, share)
                 for t in (1, 2)]
        return parts[0] + parts[1], parts, share


@paddle.no_grad()
def train_forward(run):
    made = PropagationPass(run)
    first = made.net._memorize_batch(made.x["rgb"][:, 0], paddle.concat(
        [made.x[name][:, 0] for name in ("gt", "sec_gt") if name in made.x], 1))
    with recorder(run, made.net, propagation.upstream_name) as recorded:
        out = made.forward()
    return recorded.arrays | numpy(out | {"key_0": first[0][0], "value_0": first[0][1]})


@paddle.no_grad()
def train_loss(run):
    made, values = PropagationPass(run), {}
    out = made.forward()
    for it in inputs.iterations(run, "p_it", (0, 30000, 70000, 80000)):
        total, parts, share = made.losses(out, it)
        values |= {f"total_loss_it{it}": total, f"loss_1_it{it}": parts[0], f"loss_2_it{it}": parts[1],
                   f"p_it{it}": np.float64(share)}
    return numpy(values)


@paddle.no_grad()
def train_metric(run):
    made, values = PropagationPass(run), {}
    out = made.forward()
    for prefix, mask, gt in (("", "mask", "gt"), ("sec_", "sec_mask", "sec_gt")):
        if gt in made.x:
            sums = [losses.iou_sums(out[f"{mask}_{t}"], made.x[gt][:, t]) for t in (1, 2)]
            values |= {f"{prefix}i": sums[0][0] + sums[1][0], f"{prefix}u": sums[0][1] + sums[1][1]}
    return numpy(values)


def train_backward(run):
    made = PropagationPass(run)
    made.losses(made.forward(), 0)[0].backward()
    return _named(gradients(made.net, propagation.upstream_name), "grad")


def train_steps(run):
    made = PropagationPass(run)
    found = train_loop(run, made.net, propagation.upstream_name, lambda it: made.losses(made.forward(), it)[0],
                       run.manifest["stages"][run.name]["its"])
    return {name: recipe.sample(a, 256) if name.startswith("param:") else a for name, a in found.items()}


def _named(arrays, prefix):
    return {f"{prefix}:{name}": array for name, array in arrays.items()}


def train_loop(run, net, upstream_name, loss_at, its):
    """Adam with L2 and a rate that falls at milestones, one update per iteration; losses and parameters after it."""
    spec = run.stage if "lr" in run.stage else run.manifest["stages"][run.name]
    rate = multistep(spec["lr"], spec["milestones"], spec["gamma"])
    groups = [Group("all", net.named_parameters(), rate, spec["weight_decay"])]
    optimizer = Optimizer(groups, kind="adam", betas=spec["betas"], eps=spec["eps"])
    values = []
    for it in its:
        loss = loss_at(it)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        values.append(loss.item())
    return {"losses": np.array(values)} | _named(entries(net, upstream_name), "param")


# Fusion ------------------------------------------------------------

class FusionPass:
    """One pass of the fusion training on a batch, the attention frozen."""

    def __init__(self, run):
        self.x = tensors(inputs.fusion(run))
        self.net = build(fusion.FusionNet, run.state, run.dtype, fusion.upstream_name)
        warp = build(propagation.AttentionReadNetwork, run.companion("attention"), run.dtype,
                     propagation.upstream_name)
        self.attention = warp(*(self.x[name] for name in ATTENTION_INPUTS))
        self.iterations = run.manifest["stages"].get("loss", {}).get("iterations", 10)

    def forward(self):
        x = self.x
        logits = [self.net(x["rgb"], *segs, attention, x["dist"]) for segs, attention in zip(
            ((x["seg1"], x["seg2"]), (x["seg12"], x["seg22"])), self.attention, strict=True)]
        aggregated, mask = fusion.aggregate_objects(logits, x["selector"])
        return {"attn1": self.attention[0], "attn2": self.attention[1], "fusion_logit1": logits[0],
                "fusion_logit2": logits[1], "logits": aggregated, "mask": mask}

    def loss(self, it):
        share = losses.hard_share(it, *fusion_phases(self.iterations))
        logits = self.forward()["logits"]
        return losses.bootstrapped_by_sample(logits, self.x["cls_gt"], self.x["selector"], share), share


@paddle.no_grad()
def fusion_forward(run):
    made = FusionPass(run)
    with recorder(run, made.net, fusion.upstream_name) as recorded:
        out = numpy(made.forward())
    return {name: out[name] for name in ("attn1", "attn2")} | recorded.arrays | out


@paddle.no_grad()
def fusion_loss(run):
    made, values = FusionPass(run), {}
    for it in inputs.iterations(run, "p_it", (0, 3, 5, 8)):
        loss, share = made.loss(it)
        values |= {f"total_it{it}": loss, f"p_it{it}": np.float64(share)}
    return numpy(values)


@paddle.no_grad()
def fusion_metric(run):
    made, values = FusionPass(run), {}
    mask = made.forward()["mask"]
    for prefix, channel, gt in (("", 1, "gt"), ("sec_", 2, "gt2")):
        i, u = losses.iou_sums(mask[:, channel:channel + 1], made.x[gt])
        values |= {f"{prefix}i": i, f"{prefix}u": u, f"{prefix}iou": (i + 1) / (u + 1)}
    return numpy(values)


def fusion_backward(run):
    made = FusionPass(run)
    made.loss(0)[0].backward()
    return _named(gradients(made.net, fusion.upstream_name), "grad")


def fusion_train(run):
    made = FusionPass(run)
    return train_loop(run, made.net, fusion.upstream_name, lambda it: made.loss(it)[0], range(5))


# Scribble to mask ------------------------------------------------------------

def s2m_network(run):
    options = {name: run.config[name] for name in ("num_classes", "output_stride") if name in run.config}
    return build(lambda: s2m.S2M(**options), run.state, run.dtype, s2m.upstream_name)


class S2MPass:
    """One pass of the S2M training: batch norm on batch statistics, dropout off as in the bundle."""

    def __init__(self, run):
        x = tensors(inputs.s2m(run))
        self.x, self.target = x["batch"], x["cls_gt"]
        self.net = s2m_network(run)
        self.net.train()
        self.net.classifier.aspp.project[3].p = 0.0

    def forward(self):
        logits, mask = aggregation.aggregate_wbg_channel(F.sigmoid(self.net(self.x)))
        return logits, mask[:, 1:]

    def loss(self, it, logits=None):
        logits = self.forward()[0] if logits is None else logits
        share = losses.hard_share(it, *S2M_PHASES)
        return losses.bootstrapped_cross_entropy(logits, self.target, share), share


@paddle.no_grad()
def s2m_forward(run):
    net, x = s2m_network(run), paddle.to_tensor(inputs.s2m(run)["x"])
    low, high = net.backbone(x)
    out = {"layer1": low, "layer4": high, "low": net.classifier.project(low), "aspp": net.classifier.aspp(high)}
    with recorder(run, net, s2m.upstream_name) as recorded:
        out["logits"] = net(x)
    return recorded.arrays | numpy(out)


@paddle.no_grad()
def s2m_forward_train(run):
    made = S2MPass(run)
    logits, mask = made.forward()
    state = entries(made.net, s2m.upstream_name)
    tracked = {name: state[name] for name in inputs.tracked(run)}
    return numpy({"logits": logits, "mask": mask} | tracked)


@paddle.no_grad()
def s2m_loss(run):
    made, values = S2MPass(run), {}
    logits, _ = made.forward()
    for it in inputs.iterations(run, "p_it", (0, 20001, 30000)):
        loss, share = made.loss(it, logits)
        values |= {f"total_it{it}": loss, f"p_it{it}": np.float64(share)}
    return numpy(values)


@paddle.no_grad()
def s2m_metric(run):
    made = S2MPass(run)
    i, u = losses.iou_sums(made.forward()[1][:, 0], made.target)
    return numpy({"i": i, "u": u})


def s2m_backward(run):
    made = S2MPass(run)
    made.loss(0)[0].backward()
    return _named(gradients(made.net, s2m.upstream_name), "grad")


def s2m_train(run):
    made = S2MPass(run)
    return train_loop(run, made.net, s2m.upstream_name, lambda it: made.loss(it)[0],
                      run.manifest["stages"][run.name]["its"])


@paddle.no_grad()
def to_mask(run):
    image, objects, current = inputs.to_mask(run)
    logits, mask, _ = s2m.scribbles_to_mask(
        s2m_network(run), image, current, objects, lambda height, width: scribbles.positive_negative(
            scribbles.scribble_map(inputs.scribble_paths(run), height, width), objects), displaced=True)
    return {"logits": logits, "mask": mask, "index": mask.argmax(0).astype(np.uint8)}


# Data and metrics ------------------------------------------------------------

def sampling(run):
    return {key: np.array([frame_triple(LegacyNumpy(seed), frames, jump) for seed in range(12)])
            for key, frames, jump in inputs.sampling_cases(run)}


def scribble(run):
    paths, (height, width) = inputs.scribble_paths(run), run.inputs["images"].shape[-2:]
    left, right, top, bottom = aggregation.pad_amounts(height, width)
    padded = scribbles.scribble_map(paths, height + top + bottom, width + left + right)
    first = paths[0][1]
    return {"map": scribbles.scribble_map(paths, height, width), "map_padded_size": padded,
            "bezier": scribbles.bezier_curve(first, 200),
            "bresenham": scribbles.bresenham((first * (width - 1, height - 1)).astype(np.int64)),
            "dilated": scribbles.positive_negative(padded, run.config["num_objects"])}


def davis_metric(run):
    out = {}
    for name, (truth, guess, size, objects) in inputs.ELLIPSES.items():
        truth, guess = (inputs.ellipses(run.inputs[key], *size) for key in (truth, guess))
        ids = range(1, objects + 1)
        scores = np.array([davis.frame_scores(t, g, ids) for t, g in zip(truth, guess, strict=True)])
        out |= {f"{name}_J": scores[..., 0], f"{name}_F": scores[..., 1],
                f"{name}_areas": np.array([[(m == i).sum((1, 2)) for m in (truth, guess)] for i in ids]),
                f"{name}_boundary_pixels": np.array([[davis.boundary(t == i).sum() for i in ids] for t in truth]),
                f"{name}_radius": np.float64(davis.tolerance(*size[1:]))}
    found = [[davis.statistics(out[f"small_{measure}"][:, i]) for measure in "JF"] for i in range(3)]
    out["small_statistics"] = np.array([[v for s in row for v in (s.mean, s.recall, s.decay)] for row in found])
    return numpy(out)


def summary(run):
    return inputs.summaries(run, lambda values, samples, max_time: davis.interactive_summary(
        values, interactions=8, max_time=max_time))


def pad(run):
    return {"low_high": np.array([aggregation.pad_amounts(*size) for size in inputs.sizes(run)])}
