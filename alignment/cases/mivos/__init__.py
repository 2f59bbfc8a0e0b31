"""MiVOS: what its cases check and where they depart from the rule."""
from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from alignment import short_training
from alignment.compare import Allowance

SYSTEM = "mivos"
GOLDEN = Path(__file__).parents[2] / "golden" / SYSTEM
LEAD = "Three networks, the state over a video that joins them, the interactive protocol and its measures."
# Names of stages that the guide's steps do not know.
MEMORY = {("single_object", "paddle"): 3.7}  # GB; both encoders at full width, trained in float64
STEPS = {"data": ("pad",), "forward": ("sequence", "forward_train", "to_mask"), "metric": ("summary",)}

# Functions of ``ours`` and ``twin`` that run a stage: one, or a pair: for a batch of training (it has ``rgb``), else.
STAGES = {
    "propagation": {"forward": ("train_forward", "steps"), "sequence": "sequence", "loss": "train_loss",
                    "metric": "train_metric", "backward": "train_backward", "train": "train_steps",
                    "short_training": "mini_training"},
    "fusion": {"forward": "fusion_forward", "loss": "fusion_loss", "metric": "fusion_metric",
               "backward": "fusion_backward", "train": "fusion_train"},
    "s2m": {"forward": "s2m_forward", "forward_train": "s2m_forward_train", "loss": "s2m_loss",
            "metric": ("s2m_metric", "davis_metric"), "backward": "s2m_backward", "train": "s2m_train",
            "sampling": "sampling", "scribble": "scribble", "to_mask": "to_mask", "summary": "summary", "pad": "pad"},
}
# Ways of reading the memory: key, whether top-k is on, width of the Gaussian.
READS = (("read_top", True, None), ("read_dense", False, None), ("read_km_top", True, 5.6),
         ("read_km_dense", False, 5.6))
# What the frozen network of the fusion training takes, in order.
ATTENTION_INPUTS = ("src2_ref_im", "src2_ref", "src2_ref_gt", "src2_ref2", "src2_ref_gt2", "rgb")
PROPAGATION_PHASES, S2M_PHASES = (20000, 70000), (10000, 30000)  # iterations between which the hard share falls

_ADAM = {"optimizer": "Adam", "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 1e-7, "milestones": [2],
         "gamma": 0.1}


def stage_functions(side: Mapping[str, Callable], network: str) -> dict[str, Callable]:
    """Stage name -> function(run) -> arrays, from the functions of one side."""
    def chosen(names: str | tuple[str, str]) -> Callable:
        if isinstance(names, str):
            return side[names]
        training, other = (side[name] for name in names)
        return lambda run: (training if "rgb" in run.inputs else other)(run)

    return {stage: chosen(names) for stage, names in STAGES[network].items()}


def fusion_phases(iterations: int) -> tuple[int, int]:
    """Iterations between which the hard share falls in the fusion training."""
    return int(0.2 * iterations), int(0.5 * iterations)


def manifests() -> list[dict[str, Any]]:
    """Small built-in cases: other sizes, one object, a memory smaller than top-k, output stride 8."""
    return [_single_object(), _fusion(), _s2m_stride_8(), _sequence(), _training()]


def _training() -> dict[str, Any]:
    """The mini run of the propagation without the loss that is ours alone. Milestone and hard pixels come early; at the
    run's own rate, five times this, PyTorch is 2e-3 from itself in float32 and would notice less."""
    return short_training.manifest(
        SYSTEM, network="propagation", run="configs/mivos/mini.yaml", layout="davis",
        names="models.mivos.propagation:upstream_name",
        overrides=["data.root={data}", "output_dir={data}_output", "data.size=64", "optimizer.lr=0.0003",
                   "optimizer.attention_weight=0", "optimizer.milestones=[30]", "optimizer.hard_start=10",
                   "optimizer.hard_end=40"])


def _case(name: str, network: str, gain: float, config: dict, inputs: dict, stages: dict, **more) -> dict[str, Any]:
    return {"system": SYSTEM, "case": name, "network": network, "salt": "twin", "gain": gain, "overrides": {},
            "config": config, "inputs": inputs, "stages": stages} | more


def _single_object() -> dict[str, Any]:
    """Stage 0: a memory encoder with four channels; the hard share of every phase."""
    inputs = {"rgb": {"shape": [2, 3, 3, 48, 64], "range": [-1, 1]},
              "owner": {"shape": [2, 3, 12, 16], "range": [0, 2]}}
    stages = {name: {"mode": "eval", "about": "three frames of one object"} for name in
              ("forward", "loss", "metric", "backward")}
    # Adam's first step is little more than the gradient's sign; an epsilon near the gradients keeps a gradient of
    # rounding from becoming a whole step (of either sign), and shows where the epsilon stands.
    stages["train"] = {"mode": "eval", "about": "three steps", "its": [1, 30001, 80001], "lr": 1e-5, **_ADAM,
                       "eps": 1e-3}
    return _case("single_object", "propagation", 1.5, {"single_object": True}, inputs, stages,
                 overrides={"decoder.pred.bias": -4.5})


def _fusion() -> dict[str, Any]:
    size, quarter = [1, 1, 48, 64], [1, 1, 12, 16]
    inputs = {"rgb": {"shape": [1, 3, 48, 64], "range": [-1, 1]},
              "src2_ref_im": {"shape": [1, 3, 48, 64], "range": [-1, 1]},
              **{name: {"shape": size, "range": [0, 1]} for name in
                 ("seg1", "seg2", "seg12", "seg22", "src2_ref", "src2_ref2")},
              **{name: {"shape": quarter, "range": [0, 1], "threshold": 0.5} for name in
                 ("src2_ref_gt", "src2_ref_gt2", "gt", "gt2")},
              "selector": {"values": [[1, 1]]}, "dist": {"values": [[0.3, 0.7]]}}
    stages = {name: {"mode": "eval", "about": "one pass"} for name in ("forward", "metric", "backward")}
    stages["loss"] = {"mode": "eval", "about": "three phases", "iterations": 10}
    stages["train"] = {"mode": "eval", "about": "five steps", "lr": 1e-4, **_ADAM}
    return _case("fusion_small", "fusion", 1.3, {}, inputs, stages,
                 companions={"attention": _companion("fusion", "attention")})


def _companion(bundle: str, name: str) -> dict[str, Any]:
    """A further network with the entries that a recorded bundle lists, and weights of our own salt."""
    recorded = json.loads((GOLDEN / bundle / "manifest.json").read_text(encoding="utf-8"))["companions"][name]
    return {**recorded, "salt": "twin"}


def _s2m_stride_8() -> dict[str, Any]:
    inputs = {"x": {"shape": [1, 3, 48, 80], "range": [-1, 1]},
              "x_rest": {"shape": [1, 3, 12, 20], "range": [0, 1], "threshold": 0.6}}
    return _case("s2m_stride_8", "s2m", 1.4, {"output_stride": 8, "num_classes": 2}, inputs,
                 {"forward": {"mode": "eval", "about": "dilated layer3 and layer4, two classes"}})


def _sequence() -> dict[str, Any]:
    """One object in frames that need padding; a frame touched twice; top-k larger than the memory."""
    about = "interact with masks of owner in turn, for frames [2, 0, 2] in this order"
    return _case("sequence_small", "propagation", 1.6,
                 {"top_k": 50, "num_objects": 1, "mem_freq": 2, "mem_profile": 0},
                 {"images": {"shape": [1, 4, 3, 36, 52], "range": [-1, 1]},
                  "owner": {"shape": [3, 9, 13], "range": [0, 2]}},
                 {"sequence": {"mode": "eval", "about": about}},
                 overrides={"decoder.pred.bias": -8.0},
                 companions={"fusion": _companion("sequence", "fusion")})


def allowances(manifest: dict[str, Any]) -> list[Allowance]:
    """Named exceptions, for any case."""
    return [
        Allowance(r"backward\w*/grad:kv_m_f16\.key_proj\.bias$",
                  "mathematically zero: it shifts all affinities of a query alike and softmax does not see it; what is "
                  "left is rounding, judged by the stage's largest gradient", stage_scale=True),
        Allowance(r"^metric/(sec_)?[iu]$",
                  "pixel counts of float32 probabilities above 0.5: a few lie within rounding of it", float32=5e-4),
        Allowance(r"^sequence/round\d+/masks$",
                  "the argmax of nearly tied float32 probabilities: the bundle says that a few pixels may differ",
                  exact_share=0.999),
        Allowance(r"^sequence/round\d+/areas$",
                  "pixel counts of these maps: each pixel that falls to the other side changes two of them",
                  exact_share=0.75),
    ]
