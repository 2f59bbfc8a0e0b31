"""What is compared for AVSBench, and how the original's configuration maps to our arguments."""
from __future__ import annotations

import copy
from typing import Any

import numpy as np

from alignment import short_training
from alignment.compare import Allowance

SYSTEM = "avs"
STEPS: dict[str, tuple[str, ...]] = {}
MEMORY = {("resnet50_ms3_small", "paddle"): 2.5}  # GB; a whole ResNet-50
ONLY_IN_TWIN = (
    # Folded or never formed in our TPAVI, whose tokens do not pass through ``forward`` (see models/avs.py).
    r"tpavi_b\d(\.[\w.]+)?(#\d+)?$",
    # Called as functions, with the taps that can meet the map only.
    r"conv\d\.conv2d_list\.\d(#\d+)?$",
    # Maps here, tokens there (see models/backbones/pvt_v2.py).
    r"\.mlp\.fc1$",
    # The two largest enlarged maps are never made (see models/layers/enlarged.py).
    r"/(path1|output_conv\.1)$",
)

_STAGES = {
    "forward": {"mode": "eval", "about": "pred, maps, audio features and every named activation"},
    "metric": {"mode": "eval", "about": "mask_iou and F-measure of that prediction"},
    "backward": {"mode": "eval", "about": "gradients of the loss"},
    "backward_train": {"mode": "train", "about": "the same with batch statistics; buffers afterwards"},
    "train": {"mode": "train", "about": "5 steps of Adam", "optimizer": "Adam", "lr": 1e-5, "betas": [0.9, 0.999],
              "eps": 1e-8, "weight_decay": 0, "steps": 5},
}
_KL = {"sa_loss_flag": True, "count_stages": [0, 1, 2, 3], "lambda_1": 0.5, "mask_pooling_type": "avg",
       "norm_fea": False, "threshold": False, "closer_flag": False, "euclidean_flag": False, "kl_flag": True}


def manifests() -> list[dict[str, Any]]:
    """Small built-in cases: both backbones, both tasks, vv with va, another T, TPAVI, losses, mel."""
    small_pvt = {"embed_dims": [16, 32, 40, 64], "num_heads": [1, 2, 5, 8], "mlp_ratios": [4, 4, 2, 2],
                 "depths": [1, 2, 2, 1], "sr_ratios": [8, 4, 2, 1]}
    pvt = _case("pvt_small_s4", "pvt", "S4", frames=5, size=(32, 64), channel=24,
                loss={"sa_loss_flag": True, "count_stages": [1, 3], "lambda_1": 0.1, "mask_pooling_type": "max"},
                stages=[1, 3], pvt=small_pvt)
    both = _case("pvt_small_vv_va_ms3", "pvt", "MS3", frames=3, size=(64, 32), channel=16, loss=_KL,
                 vv=True, pvt=small_pvt)
    resnet = _case("resnet50_ms3_small", "resnet", "MS3", frames=5, size=(64, 32), channel=16,
                   loss={**_KL, "euclidean_flag": True, "norm_fea": True})
    resnet["stages"]["train"] |= {"about": "2 steps of Adam", "steps": 2}  # a whole ResNet-50; five are recorded
    return [pvt, both, resnet, _tpavi(), _losses(), _mel(), _training()]


def _training() -> dict[str, Any]:
    """The mini run of MS3 with the semantic-aware loss of the published one."""
    return short_training.manifest(
        SYSTEM, run="configs/avs/mini_ms3.yaml", layout="avsbench", names="models.avs:upstream_name",
        overrides=["data.root={data}", "output_dir={data}_output", "train.batch_size=2", "loss.sound=true"],
        companions={"vggish": {"make": "alignment.cases.avs.ours:vggish_of",
                               "names": "models.backbones.vggish:upstream_name"}})


def _case(name: str, backbone: str, task: str, *, frames: int, size: tuple[int, int], channel: int, loss: dict,
          stages=(0, 1, 2, 3), vv: bool = False, pvt: dict | None = None) -> dict[str, Any]:
    masks = 2 if task == "S4" else 2 * frames
    return {
        "system": SYSTEM, "case": name, "network": "avs", "salt": "twin", "gain": 1.0, "overrides": {},
        "config": {"backbone": backbone, "channel": channel, "tpavi_stages": list(stages), "tpavi_vv_flag": vv,
                   "tpavi_va_flag": True, "task": task, "loss": loss, "drop_path_rate_effective": 0.0,
                   "frames": frames, **(pvt or {})},
        "inputs": {"image": {"shape": [2 * frames, 3, *size], "range": [-2, 2]},
                   "audio": {"shape": [2 * frames, 128], "range": [0, 1]},
                   "mask": {"shape": [masks, 1, *size], "range": [0, 1], "threshold": 0.6}},
        "stages": copy.deepcopy(_STAGES)}


def _tpavi() -> dict[str, Any]:
    blocks = {name: {"in_channels": 12, "inter_channels": inter, "mode": mode, "dimension": dimension, "bn_layer": norm}
              for name, mode, inter, dimension, norm in (
                  ("gaussian", "gaussian", None, 3, True), ("embedded", "embedded", 5, 3, True),
                  ("dot", "dot", 7, 3, True), ("concatenate", "concatenate", None, 3, False),
                  ("dot_2d", "dot", None, 2, True), ("embedded_1d", "embedded", None, 1, False))}
    return {"system": SYSTEM, "case": "tpavi_small", "network": "avs", "salt": "t", "gain": 1.0, "overrides": {},
            "config": {"blocks": blocks},
            "inputs": {"x": {"shape": [3, 12, 4, 3, 2], "range": [-1.5, 1.5]},
                       "audio": {"shape": [3, 4, 128], "range": [0, 1]},
                       "weight": {"shape": [3, 12, 4, 3, 2], "range": [-1, 1]},
                       "audio_weight": {"shape": [3, 4, 12], "range": [-1, 1]},
                       "x2": {"shape": [3, 12, 5, 2], "range": [-1.5, 1.5]},
                       "weight2": {"shape": [3, 12, 5, 2], "range": [-1, 1]},
                       "x1": {"shape": [3, 12, 6], "range": [-1.5, 1.5]},
                       "weight1": {"shape": [3, 12, 6], "range": [-1, 1]}},
            "stages": {"forward": {"mode": "eval", "about": "every mode, vv and va, eval and train"},
                       "backward": {"mode": "eval", "about": "their gradients"}}}


def _losses() -> dict[str, Any]:
    s4 = {"task": "S4", "sa_loss_flag": True, "count_stages": [0, 1], "lambda_1": 0.3, "mask_pooling_type": "max"}
    combos = {"ms3.kl": {"task": "MS3", **_KL}, "ms3.closer": {"task": "MS3", **_KL, "closer_flag": True},
              "s4.max": s4, "s4.off": {"task": "S4", "sa_loss_flag": False, "count_stages": [], "lambda_1": 0}}
    shapes = {"pred": ([6, 1, 24, 40], [-30, 20]), "a1": ([2, 3, 32], [-0.6, 0.6]), "a2": ([2, 3, 32], [-0.6, 0.6]),
              "a3": ([2, 3, 32], [-0.6, 0.6]), "a4": ([2, 3, 32], [-0.6, 0.6]), "v1": ([6, 32, 6, 10], [0, 2]),
              "v2": ([6, 32, 3, 5], [0, 2]), "v3": ([6, 32, 2, 3], [0, 2]), "v4": ([6, 32, 1, 2], [0, 2]),
              "metric_noise": ([7, 20, 31], [-3, 3]), "image": ([60, 80, 3], [0, 256])}
    inputs: dict[str, Any] = {name: {"shape": shape, "range": limits} for name, (shape, limits) in shapes.items()}
    inputs["image"]["dtype"] = "uint8"
    for name in ("pred", "a1", "a2", "a3", "a4", "v1", "v2", "v3", "v4"):
        inputs[name]["dtype"] = "float64"  # without a network there is one run, and no yardstick for float32
    inputs["mask"] = {"shape": [6, 1, 24, 40], "range": [0, 1], "threshold": 0.6, "dtype": "float64"}
    inputs["metric_gt"] = {"shape": [7, 20, 31], "range": [0, 1], "threshold": 0.7}
    inputs["gray_mask"] = {"shape": [6, 7], "range": [0, 1], "threshold": 0.5}
    inputs["metric_keep"] = {"values": [1, 0, 1, 0, 1, 0, 1]}
    inputs["metric_gain"] = {"values": [3.0, 0.0, 0.0, 2.0, 0.0, 0.0, 1.5]}
    inputs["metric_shift"] = {"values": [-1.5, 0.0, -20.0, 0.0, 25.0, -20.0, -0.5]}
    return {"system": SYSTEM, "case": "losses_small", "network": "avs", "config": {"combos": combos}, "salt": "loss",
            "gain": 1.0, "overrides": {}, "inputs": inputs, "stages": {
                "loss": {"mode": "eval", "about": "total, iou_loss, sa_loss; saturated logits included"},
                "backward": {"mode": "eval", "about": "gradients by pred, a2, v2"},
                "metric": {"mode": "eval", "about": "IoU and F-measure with silent and soft frames"},
                "sampling": {"mode": "eval", "about": "frame numbers",
                             "keys": ["25.0_125", "29.97_150", "50.0_260", "12.5_61", "24.0_30"]},
                "transform": {"mode": "eval", "about": "images and masks of every stored mode"}}}


def _mel() -> dict[str, Any]:
    waves = {"wave_16000_mono": ([93000], [-0.5, 0.5], "float64"),
             "wave_16000_stereo_int16": ([36000, 2], [-9000, 9000], "int16"),
             "wave_16000_one_int16": ([15600, 1], [-20, 20], "int16")}
    inputs = {name: {"shape": shape, "range": limits, "dtype": kind} for name, (shape, limits, kind) in waves.items()}
    return {"system": SYSTEM, "case": "log_mel", "network": "vggish", "config": {}, "state": [], "salt": "mel",
            "inputs": inputs, "stages": {"mel": {"mode": "eval", "about": "log-mel patches of 0.96 s"}}}


PVT_OPTIONS = ("embed_dims", "num_heads", "mlp_ratios", "depths", "sr_ratios")


def network_arguments(config: dict[str, Any]) -> dict[str, Any]:
    """The original's configuration as keyword arguments of our network and of its twin.

    Raises:
        ValueError: for an option that neither implements.
    """
    known = {"backbone", "channel", "tpavi_stages", "tpavi_vv_flag", "tpavi_va_flag", "task", "loss", "frames",
             "drop_path_rate_effective", "drop_path_rate", "config", *PVT_OPTIONS}
    unknown = sorted(set(config) - known)
    if unknown:
        raise ValueError(f"config: {', '.join(unknown)} is not known; known are {', '.join(sorted(known))}")
    pvt = {name: tuple(config[name]) for name in PVT_OPTIONS if name in config}
    return {"backbone": config["backbone"], "channel": config.get("channel", 256),
            "num_frames": config.get("frames", 5), "tpavi_stages": tuple(config.get("tpavi_stages", ())),
            "vv": config.get("tpavi_vv_flag", False), "va": config.get("tpavi_va_flag", False),
            "drop_path": config.get("drop_path_rate_effective", config.get("drop_path_rate", 0.0)),
            "pvt": pvt or None}


def block_runs(run) -> list[tuple[str, str, str]]:
    """(block, va or vv, eval or train) of a TPAVI case; blocks of one and two dimensions get no audio in bundles."""
    made = []
    for name, options in run.config["blocks"].items():
        kinds = ("va", "vv") if options["dimension"] == 3 else ("vv",)
        made += [(name, kind, mode) for kind in kinds for mode in ("eval", "train")]
    return made


def block_inputs(options: dict[str, Any]) -> tuple[str, str]:
    """Names of the input and of the weights of its loss."""
    suffix = {3: "", 2: "2", 1: "1"}[options["dimension"]]
    return f"x{suffix}", f"weight{suffix}"


def block_state(run, name: str) -> dict[str, np.ndarray]:
    """The entries of one block of a TPAVI case, without its name."""
    return {entry.removeprefix(f"{name}."): value for entry, value in run.state.items() if entry.startswith(f"{name}.")}


def vggish_widths(run) -> tuple[int | str, ...]:
    """Widths of VGGish's convolutions with its poolings, from the shapes of its state."""
    a, b, c, d, e, f = (array.shape[0] for name, array in run.state.items()
                        if name.startswith("features") and name.endswith("weight"))
    return a, "M", b, "M", c, d, "M", e, f, "M"


def of_first_frames(mask, pred, sound):
    """S4's masks ``[B, 1, 1, H, W]``: those of every video's first frame. Tensors of either framework."""
    return mask[::pred.shape[0] // sound.shape[0]][:, None]


def in_twos(count: int) -> list[slice]:
    """Batches of two frames, the last perhaps smaller, for the averages of batches."""
    return [slice(start, start + 2) for start in range(0, count, 2)]


def metric_inputs(run) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, targets and soft targets ``[N, H, W]``, float32."""
    read = {name: run.inputs[f"metric_{name}"].astype("float32") for name in ("noise", "gt", "keep", "gain", "shift")}
    gt = read["gt"] * read["keep"][:, None, None]
    logits = read["noise"] + (2 * gt - 1) * read["gain"][:, None, None] + read["shift"][:, None, None]
    return logits, gt, gt * np.float32(225 / 255)


def allowances(manifest: dict[str, Any]) -> list[Allowance]:
    """Mathematically zero gradients and what a bundle itself lost; nothing else departs from the rule."""
    made = [
        Allowance(r"W_z\.0\.bias$", "a constant per channel before a batch norm over the batch has no gradient: only "
                  "rounding is left; judged against the largest gradient of the stage", stage_scale=True),
        Allowance(r"(gaussian|embedded)[^/]*grad:.*\.(phi|g)\.bias$", "a softmax does not change when all its logits "
                  "shift, and batch norm removes a shift of all values: the gradient is zero but for rounding",
                  stage_scale=True),
    ]
    if manifest["config"].get("combos"):
        made.append(Allowance(r"^backward(64)?/.*grad:pred$", "Paddle's cross entropy keeps its floor of p(1 - p) in "
                              "float32 (1e-12, 4e-9 off); it acts on logits below -27.6 only, which no network has",
                              float64=5e-9))
    if "backbone" in manifest["config"]:
        made.append(Allowance(r"^backward/grad:path\d\.resConfUnit\d\.conv1\.bias$", "this gradient is a sum over "
                              "pixels in front of a ReLU; in pvtv2-b5-s4 one of 655360 is within rounding of zero "
                              "(1.2e-6 in float64, -1.2e-7 here) and counts or not: 1.6e-3 with it, 1.3e-6 without",
                              float32=2e-3))
    if manifest["config"].get("blocks"):
        made.append(Allowance(r"^forward(64)?/.*\.running_(mean|var)$", "the bundle's recorder kept references to live "
                              "buffers, which the next run's reset overwrote: its values are the recipe's; its "
                              "summaries were taken in time", summary_only=True))
    if manifest["network"] == "vggish":
        made.append(Allowance(r"^mel/.*44100", "the window of resampy is rebuilt from its formula, not read from its "
                              "file", float64=1e-9))
    return made
