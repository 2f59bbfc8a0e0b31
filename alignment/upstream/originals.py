"""The originals that can be run: where each is found, what is imported of it, and what of it cannot be compared.

Nothing here imports a framework or the original: the command's own process reads this table.
"""
from __future__ import annotations

import copy
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from alignment.bundle import Bundle
from alignment.compare import Allowance
from alignment.processes import ROOT

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Original:
    """One repository.

    Args:
        name: on the command line.
        system: the system of ours that it is compared with.
        repository: ``owner/name`` on GitHub.
        commit: the one our networks were written against.
        framework: ``torch`` or ``paddle``.
        files: must be in a checkout; the first is named where it is not.
        shims: packages whose absence our stand-ins may hide (``shims.py``); everything else must be installed.
        manifests: makes the cases.
        apart: regular expressions of ``stage/name`` that only one side forms, each with its reason.
        allowances: departures from the rule beside the cases' own.
    """

    name: str
    system: str
    repository: str
    commit: str
    framework: str
    files: tuple[str, ...]
    shims: tuple[str, ...]
    manifests: Callable[[], list[Manifest]]
    apart: dict[str, str]
    allowances: tuple[Allowance, ...] = ()

    @property
    def adapter(self) -> str:
        """The module that calls it."""
        return f"alignment.upstream.adapters.{self.name.replace('-', '_')}"


def _built_in(system: str, cases: dict[str, tuple[str, ...]]) -> list[Manifest]:
    """Built-in cases of a system with the stages that the original offers."""
    found = {manifest["case"]: manifest for manifest in
             importlib.import_module(f"alignment.cases.{system}").manifests()}
    return [_only(found[case], stages) for case, stages in cases.items()]


def _only(manifest: Manifest, stages: tuple[str, ...]) -> Manifest:
    return {**copy.deepcopy(manifest), "stages": {name: copy.deepcopy(manifest["stages"][name]) for name in stages}}


def _recorded(system: str, case: str, stages: tuple[str, ...]) -> Manifest:
    """The manifest of a golden bundle, whose values are not looked at: the original computes anew."""
    manifest = Bundle.read(ROOT / "alignment" / "golden" / system / case).manifest
    return _only({name: value for name, value in manifest.items() if name != "arrays"}, stages)


def _deep(manifests: list[Manifest]) -> list[Manifest]:
    """ResNet-50 of full width. The original knows no other width, and cannot build a ResNet-18: its basic block refuses
    two of its own arguments."""
    for manifest in manifests:
        if "backbone" in manifest["config"]:
            manifest["config"]["backbone"].pop("base_channels", None)
            manifest["config"]["backbone"]["depth"] = 50
            manifest["config"]["cls_head"]["in_channels"] = 2048
            manifest["case"] = manifest["case"].replace("r18", "r50")
    return manifests


_MVF_STAGES = ("forward", "loss", "backward", "backward_train")
_VIEWS = {"r50_views": ("forward", "views", "backward"), "metrics": ("metric",)}


# Modules of MVFNet that are functions with us.
_INNER = {r"/(.*\.)?activation(\.sigmoid(\.relu)?)?(#\d+)?$": "ours applies hard-swish as a function",
          r"/cls_head\.dropout$": "the cases drop nothing, for which the original forms no layer",
          r"/cls_head\.(Logits|segmental_consensus)(#\d+)?$": "ours pools and averages in functions"}


def _mvf() -> list[Manifest]:
    stages = (*_MVF_STAGES, "bn_stats")
    return _deep(_built_in("mvf", {"r18_thw": stages, "r18_share_th": stages, **_VIEWS}))


def _mvf_paddle() -> list[Manifest]:
    return _deep(_built_in("mvf", {"r18_thw": _MVF_STAGES, **_VIEWS}))


def _avs() -> list[Manifest]:
    """The original counts five frames in its reshapes, whatever the input: the cases with three get five."""
    network = ("forward", "metric", "backward", "backward_train")
    cases = _built_in("avs", {"resnet50_ms3_small": network, "pvt_small_s4": network, "pvt_small_vv_va_ms3": network,
                              "tpavi_small": ("forward", "backward"), "losses_small": ("loss", "backward", "metric")})
    for manifest in cases:
        if manifest["config"].get("frames") == 3:
            manifest["config"]["frames"] = 5
            for name in ("image", "audio", "mask"):
                manifest["inputs"][name]["shape"][0] = 10
        if "blocks" in manifest["config"]:  # the original's norm takes five axes only
            manifest["config"]["blocks"] = {name: options for name, options in manifest["config"]["blocks"].items()
                                            if options["dimension"] == 3}
    losses = cases[-1]["inputs"]
    for name in ("pred", "mask", "v1", "v2", "v3", "v4"):
        losses[name]["shape"][0] = 10
    for name in ("a1", "a2", "a3", "a4"):
        losses[name]["shape"][1] = 5
    return cases


def _actionclip() -> list[Manifest]:
    stages = ("forward", "loss", "metric", "backward")
    made = _built_in("actionclip", dict.fromkeys(("transf", "meanp", "lstm", "conv1d_tsm", "transf_cls"), stages))
    for manifest in made:
        # The original has as many places for frames as for words: 77, CLIP's, as ours. Its top-5 needs five classes.
        manifest["config"]["context_length"] = 77
        texts = manifest["inputs"]["texts"]["values"]
        prompts = [[58, 2 * i + 1, (7 * i) % 50 + 1, 59] for i in range(12)]
        for name, rows in (("texts", texts), ("prompts", prompts)):
            manifest["inputs"][name]["values"] = [row + [0] * (77 - len(row)) for row in rows]
        manifest["stages"]["metric"]["num_classes"] = 6
    return made


def _xclip() -> list[Manifest]:
    stages = ("forward", "loss", "backward")
    made = _built_in("xclip", {"frozen_text": stages, "trained_text": stages, "data": ("metric",)})
    scores = made[-1]["inputs"]  # the original's top-5 needs five classes
    scores["views"]["shape"][2], scores["label"]["range"] = 7, [0, 7]
    made[-1]["case"] = "views"
    return made


def _mivos() -> list[Manifest]:
    """The original cannot choose 50 of the 12 places that a first small frame has: it chooses 10."""
    steps = _recorded("mivos", "propagation_steps", ("forward",))
    made = _built_in("mivos", {"fusion_small": ("forward", "loss", "metric", "backward"),
                               "s2m_stride_8": ("forward",), "sequence_small": ("sequence",)})
    made[-1]["config"]["top_k"] = 10
    return [steps, *made]


def _dff() -> list[Manifest]:
    """Full width, which the original fixes; a small picture."""
    stages = ("forward", "forward_train", "loss", "backward")
    made = _built_in("dff", {"flow_full": stages, "flow_full_bn": stages})
    for manifest in made:
        manifest["config"] = {"batchNorm": manifest["case"].endswith("bn"), "div_flow": 20}
        manifest["inputs"]["images"]["shape"][2:] = manifest["inputs"]["target"]["shape"][2:] = [64, 128]
        manifest.pop("state", None)  # the reference lists it
    return made


ORIGINALS = {original.name: original for original in (
    Original("mvf", "mvf", "whwu95/MVFNet", "0ddc7e2ebf2b7c24c09794bfab45de3f85760557", "torch",
             ("codes/models/builder.py", "codes/core/evaluation/accuracy.py"),
             ("mmcv", "torchvision"), _mvf,
             {r"/predictions$": "the original's metrics do not hand out predictions",
              r"/label_smooth": "the original has no label smoothing; its Paddle port has",
              **_INNER}),
    Original("avs", "avs", "OpenNLPLab/AVSBench", "f7414aff6aedf49248887abf352471612fb1ec90", "torch",
             ("avs_scripts/avs_ms3/model/TPAVI.py", "avs_scripts/avs_s4/loss.py"),
             ("timm", "torchvision", "pandas", "cv2"), _avs,
             {r"/thresholds$": "the original's F-measure does not hand out its thresholds",
              r"/resnet\.(\d|maxpool|(.*\.)?relu)(#\d+)?$": "the encoder is one layer with us, its ReLUs functions",
              r"/path\d\.resConfUnit\d\.relu(#\d+)?$": "ours rectifies in functions",
              r"/encoder_backbone\..*\.(attn_drop|proj_drop|drop_path|drop|act|mlp\.dwconv)(#\d+)?$":
                  "ours has functions for GELU and reshaping, and no layers for what is not dropped"}),
    Original("actionclip", "actionclip", "sallymmx/ActionCLIP", "31c34df17dce917d67127b7fb155922c4744f680", "torch",
             ("clip/model.py", "modules/Visual_Prompt.py", "utils/KLLoss.py"),
             ("torchvision", "regex", "wandb", "dotmap", "pandas", "RandAugment", "cv2"), _actionclip,
             {r"/probabilities$": "the original's validation does not hand out its probabilities"}),
    Original("xclip", "xclip", "microsoft/VideoX", "1744b2159c3d11694f94dab4fcde8660c685e79a", "torch",
             ("X-CLIP/models/xclip.py", "X-CLIP/clip/model.py"),
             ("timm", "torchvision", "einops", "regex", "mmcv", "apex", "yacs", "termcolor", "pandas"), _xclip,
             {r"/similarity$": "the original's validation does not hand out the summed scores",
              r"^forward(64)?/(.*\.(ln_pre|resblocks\.\d+.*|decoder\.\d+.*)|ln_final)(#\d+)?$":
                  "the adapter records the named activations, not every layer inside the towers"}),
    Original("mivos", "mivos", "hkchengrex/MiVOS", "f2600a6eea8709c7b9f1a7575adc725def680b81", "torch",
             ("model/propagation/prop_net.py", "model/s2m/s2m_network.py", "inference_core.py"),
             ("torchvision", "cv2"), _mivos, {}),
    Original("dff", "dff", "ClementPinard/FlowNetPytorch", "d5f3292a738209d5f3ea450cf714265034fd033a", "torch",
             ("models/FlowNetS.py", "multiscaleloss.py"), (), _dff,
             {r"forward(64)?/flow$": "flow2 in pixels: ours and the article's, not the original's"}),
    Original("mvf-paddle", "mvf", "txyugood/PaddleMVF", "cabf4f2d868789dd2b7fe5651dd4b9fd5a6035a6", "paddle",
             ("models/recognizers/MVF.py", "models/heads/tsn_clshead.py"), (), _mvf_paddle,
             {r"/(predictions|mean_class_accuracy)$": "the port's head hands out top-k accuracy only",
              **_INNER},
             (Allowance(r"/label_smooth_", "the port's label_smooth is Paddle's, which keeps epsilon as float32 in a "
                        "float64 network too", float64=5e-8),)),
)}
