"""hkchengrex/MiVOS: propagation, fusion, scribble to mask, and the inference core that joins them over a video."""
from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from alignment import torch_tools as tools
from alignment.bundle import Run
from alignment.cases.mivos import inputs
from alignment.upstream.found import enter as enter_folders
from alignment.upstream.found import original
from alignment.upstream.shims import each_in_its_precision


def enter(checkout: Path) -> None:
    """Import what is needed."""
    enter_folders(checkout)
    blocks = original("model.propagation.modules")
    # Both encoders would fetch ImageNet weights, which the recipe's replace at once.
    plain, memory = blocks.models.resnet50, original("model.propagation.mod_resnet", "resnet50")
    blocks.models = SimpleNamespace(resnet50=lambda pretrained: plain())
    blocks.mod_resnet = SimpleNamespace(resnet50=lambda pretrained, extra_chan: memory(False, extra_chan))
    original("model.propagation.prop_net", "PropagationNetwork")
    original("model.fusion_net", "FusionNet")
    original("model.attn_network", "AttentionReadNetwork")
    original("model.s2m.s2m_network", "deeplabv3plus_resnet50")
    original("model.losses", "LossComputer")
    original("inference_core", "InferenceCore")


def stages(network: str) -> dict:
    return each_in_its_precision({
        "propagation": {"forward": propagation, "sequence": sequence},
        "fusion": {"forward": fusion_forward, "loss": fusion_loss, "metric": fusion_metric,
                   "backward": fusion_backward},
        "s2m": {"forward": s2m}}[network])


def make_s2m(config: dict) -> nn.Module:
    return original("model.s2m.s2m_network", "deeplabv3plus_resnet50")(
        num_classes=config.get("num_classes", 1), output_stride=config.get("output_stride", 16),
        pretrained_backbone=False)


def state_entries(manifest: dict) -> list[list]:
    make = {"propagation": original("model.propagation.prop_net", "PropagationNetwork"),
            "fusion": original("model.fusion_net", "FusionNet"), "s2m": lambda: make_s2m(manifest["config"])}
    return tools.state_entries(make[manifest["network"]]())


def tensors(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.as_tensor(np.ascontiguousarray(value)) for name, value in arrays.items()}


def numpy(values: dict) -> dict[str, np.ndarray]:
    return {name: tools.array(value) if isinstance(value, torch.Tensor) else np.asarray(value)
            for name, value in values.items()}


def build_propagation(run: Run) -> nn.Module:
    network = original("model.propagation.prop_net", "PropagationNetwork")
    return tools.build(lambda: network(run.config["top_k"]), run.state, run.dtype)


@torch.no_grad()
def propagation(run: Run) -> dict[str, np.ndarray]:
    """Every verb of the network and every way to join objects."""
    x, network = tensors(inputs.propagation_steps(run)), build_propagation(run)
    reader, join = original("model.propagation.prop_net", "EvalMemoryReader"), original("model.aggregate")
    out: dict[str, torch.Tensor] = {}
    for name, masks in (("memorize1", x["mask1"]), ("memorize3", x["masks"])):
        entries = [network.memorize(x["frame"][t], masks[t]) for t in range(len(masks))]
        out[f"{name}_key"], out[f"{name}_value"] = (torch.cat([entry[i] for entry in entries], 2) for i in (0, 1))
    query = network.get_query_values(x["frame"][-1])
    out |= dict(zip(("query_f16", "query_f8", "query_f4", "query_key", "query_value"), query, strict=True))
    key, value = out["memorize3_key"][:1], out["memorize3_value"][:1]
    top = run.config["top_k"]
    for name, top_k, km in (("read_top", top, None), ("read_dense", None, None), ("read_km_top", top, 5.6),
                            ("read_km_dense", None, 5.6)):
        out[name] = reader(top_k, km)(key, value, query[3])
    for count in (1, 3):
        out[f"segment{count}"] = network.segment_with_query(out[f"memorize{count}_key"],
                                                            out[f"memorize{count}_value"], *query)
    out["attention_W"] = network.get_W(key[:, :, :1], query[3])
    difference = x["masks"][1, :1] - out["segment3"][:1]
    out["attention_map"] = network.get_attention(key[:, :, 1:2], difference.clamp(0, 1), (-difference).clamp(0, 1),
                                                 query[3])
    out |= {"aggregate_wbg": join.aggregate_wbg(x["probs"], True), "aggregate_wbg_nobg": join.aggregate_wbg(x["probs"]),
            "aggregate_wbg_hard": join.aggregate_wbg(x["probs"], True, True),
            "aggregate_sbg": join.aggregate_sbg(x["probs"], True),
            "aggregate_sbg_hard": join.aggregate_sbg(x["probs"], True, True),
            "segment3_aggregated": join.aggregate_wbg(out["segment3"], True)}
    channel = join.aggregate_wbg_channel(x["probs"].transpose(0, 1), True)
    out["aggregate_channel_logits"], out["aggregate_channel_prob"] = channel
    return numpy(out)


@torch.no_grad()
def sequence(run: Run) -> dict[str, np.ndarray]:
    """Interactions with a video, one after the other."""
    images, masks, frames = inputs.sequence(run)
    fusion = tools.build(original("model.fusion_net", "FusionNet"), run.companion("fusion"), run.dtype)
    video = original("inference_core", "InferenceCore")(
        build_propagation(run), fusion, torch.as_tensor(images), run.config["num_objects"],
        mem_profile=run.config["mem_profile"], mem_freq=run.config["mem_freq"], device="cpu")
    out = {}
    for r, (mask, frame) in enumerate(zip(masks, frames, strict=True)):
        result = video.interact(torch.as_tensor(mask), frame)
        out |= {f"round{r}/prob_{t}": tools.array(video.prob[:, t]) for t in range(images.shape[1])}
        out |= {f"round{r}/masks": np.array(result), f"round{r}/areas": np.stack(
            [(result == label).sum((1, 2)) for label in range(run.config["num_objects"] + 1)], 1)}
    return out


class FusionPass:
    """A pass of the fusion's training: its model class needs GPUs, its parts do not."""

    def __init__(self, run: Run):
        self.x, self.net = tensors(inputs.fusion(run)), tools.build(original("model.fusion_net", "FusionNet"),
                                                                    run.state, run.dtype)
        attention = tools.build(original("model.attn_network", "AttentionReadNetwork"), run.companion("attention"),
                                run.dtype)
        names = ("src2_ref_im", "src2_ref", "src2_ref_gt", "src2_ref2", "src2_ref_gt2", "rgb")
        self.attention = attention(*(self.x[name] for name in names))
        steps = run.manifest["stages"].get("loss", {}).get("iterations", 10)
        self.computer = original("model.losses", "LossComputer")({"iterations": steps})

    def forward(self) -> dict[str, torch.Tensor]:
        x = self.x
        logits = [self.net(x["rgb"], *pair, attention, x["dist"]) for pair, attention in zip(
            ((x["seg1"], x["seg2"]), (x["seg12"], x["seg22"])), self.attention, strict=True)]
        prob = torch.sigmoid(torch.cat(logits, 1)) * x["selector"][:, :, None, None]
        joined, mask = original("model.aggregate", "aggregate_wbg_channel")(prob, True)
        return {"attn1": self.attention[0], "attn2": self.attention[1], "fusion_logit1": logits[0],
                "fusion_logit2": logits[1], "logits": joined, "mask": mask}

    def losses(self, iteration: int) -> dict:
        return self.computer.compute({**self.x, **self.forward()}, iteration)


@torch.no_grad()
def fusion_forward(run: Run) -> dict[str, np.ndarray]:
    made = FusionPass(run)
    with tools.Recorder(made.net, inputs.layers(run)) as recorded:
        out = numpy(made.forward())
    return {name: out[name] for name in ("attn1", "attn2")} | recorded.arrays | out


@torch.no_grad()
def fusion_loss(run: Run) -> dict[str, np.ndarray]:
    made, values = FusionPass(run), {}
    for it in inputs.iterations(run, "p_it", (0, 3, 5, 8)):
        found = made.losses(it)
        values[f"total_it{it}"], values[f"p_it{it}"] = found["total_loss"], found["p"]
    return numpy(values)


@torch.no_grad()
def fusion_metric(run: Run) -> dict[str, np.ndarray]:
    found, losses = FusionPass(run).losses(0), original("model.losses")
    values = {f"{prefix}{kind}": found[f"hide_iou/{prefix}{kind}"] for prefix in ("", "sec_") for kind in ("i", "u")}
    return numpy({**values, "iou": losses.get_iou_hook(found)[1], "sec_iou": losses.get_sec_iou_hook(found)[1]})


def fusion_backward(run: Run) -> dict[str, np.ndarray]:
    made = FusionPass(run)
    made.losses(0)["total_loss"].backward()
    return {f"grad:{name}": array for name, array in tools.gradients(made.net).items()}


@torch.no_grad()
def s2m(run: Run) -> dict[str, np.ndarray]:
    network = tools.build(lambda: make_s2m(run.config), run.state, run.dtype)
    x = tensors(inputs.s2m(run))["x"]
    features, head = network.backbone(x), network.classifier
    low, high = features["low_level"], features["out"]
    out = {"layer1": low, "layer4": high, "low": head.project(low), "aspp": head.aspp(high)}
    with tools.Recorder(network, inputs.layers(run)) as recorded:
        out["logits"] = network(x)
    return recorded.arrays | numpy(out)
