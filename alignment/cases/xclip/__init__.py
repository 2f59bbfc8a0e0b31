"""What is compared for X-CLIP: text frozen and trained, other depths, and the data code."""
from __future__ import annotations

from typing import Any

from alignment import short_training
from alignment.compare import Allowance

SYSTEM = "xclip"
STEPS: dict[str, tuple[str, ...]] = {"data": ("blending",)}
ONLY_IN_TWIN: tuple[str, ...] = ()
# GB of a process, where parameters do not tell: eight frames of 197 tokens are kept for a backward pass in float64.
MEMORY = {("b16_t8", "paddle"): 6.8}

_SIZES = {"embed_dim": 128, "image_resolution": 32, "vision_layers": 3, "vision_width": 128, "vision_patch_size": 16,
          "context_length": 20, "vocab_size": 60, "transformer_width": 128, "transformer_heads": 2,
          "transformer_layers": 3, "droppath": 0.0, "mit_layers": 1, "prompts_alpha": 0.1, "prompts_layers": 2,
          "use_cache": True, "use_checkpoint": False}
_TEXTS = [[58, 3, 17, 59], [58, 44, 59], [58, 5, 59, 7, 59], [58, 9, 9, 1, 30, 12, 59]]


def manifests() -> list[dict[str, Any]]:
    """Small built-in cases."""
    return [_case("frozen_text", T=4), _case("trained_text", T=3, use_cache=False, mit_layers=2, prompts_layers=1),
            _data(), _training()]


def _training() -> dict[str, Any]:
    """The mini run, its warm-up shortened to see the cosine too."""
    return short_training.manifest(
        SYSTEM, run="configs/xclip/mini.yaml", layout="colour_motion", names="models.xclip:upstream_name",
        overrides=["data.root={data}", "output_dir={data}_output", "train.workers=0", "optimizer.warmup_epochs=1"])


def _case(name: str, **flags: Any) -> dict[str, Any]:
    rates = [(5e-5, 0.001), (5e-5, 0.0)] + [(5e-4, 0.001), (5e-4, 0.0)] * 3
    config = {**_SIZES, **flags}
    target = [[0.025, 0.925, 0.025, 0.025], [0.3, 0.025, 0.025, 0.65]]
    return {"system": SYSTEM, "case": name, "network": SYSTEM, "salt": f"twin-{name}", "gain": 2.0,
            "overrides": {"logit_scale": 4.6052}, "config": config,
            "inputs": {"image": {"shape": [2, config["T"], 3, 32, 32], "range": [-2, 2]},
                       "text": {"values": [text + [0] * (20 - len(text)) for text in _TEXTS], "dtype": "int64"},
                       "label": {"values": [1, 3], "dtype": "int64"},
                       "target": {"values": target, "dtype": "float32"}},
            "stages": {
                "forward": {"mode": "eval", "about": "blocks, class and patch features, prompts, logits"},
                "loss": {"mode": "eval", "about": "soft targets, label smoothing, plain"},
                "backward": {"mode": "eval", "about": "gradients of the soft-target loss"},
                "train": {"mode": "train", "about": "5 steps of AdamW with the eight groups", "optimizer": {
                    "type": "AdamW", "betas": [0.9, 0.98], "eps": 1e-8, "steps": 5,
                    "groups": [{"lr": rate, "weight_decay": decay} for rate, decay in rates]}}}}


def _data() -> dict[str, Any]:
    jitter = [{"order": [2, 0, 3, 1], "brightness": 0.8, "contrast": 1.1, "saturation": 0.9, "hue": 0.05},
              {"order": [1, 3, 2, 0], "brightness": 1.2, "contrast": 0.7, "saturation": 1.1, "hue": -0.1}]
    return {"system": SYSTEM, "case": "data", "network": SYSTEM, "config": {}, "state": [], "salt": "data",
            "inputs": {"u": {"shape": [4, 16], "range": [0, 1], "dtype": "float64"},
                       "frames": {"shape": [2, 240, 300, 3], "range": [0, 256], "dtype": "uint8"},
                       "blend_images": {"shape": [3, 2, 3, 8, 10], "range": [-2, 2]},
                       "blend_label": {"values": [[1], [4], [0]], "dtype": "int64"},
                       "views": {"shape": [3, 6, 4], "range": [-6, 6]},
                       "label": {"shape": [6], "range": [0, 4], "dtype": "int64"}},
            "stages": {
                "tokens": {"mode": "eval", "about": "ids of the four label lists",
                           "names": ["", "it's 100% 3D!", "ApplyEyeMakeup"]},
                "sampling": {"mode": "train and eval", "about": "frame indices",
                             "cases": [[1, 8], [5, 8], [9, 4], [97, 16]]},
                "transform": {"mode": "train and eval", "about": "resize, crops, colours", "jitter": jitter},
                "blending": {"mode": "train", "about": "Mixup and CutMix", "classes": 5, "permutation": [2, 0, 1],
                             "lam_mixup": 0.7, "lam_cutmix": 0.3, "centre": [1, 6]},
                "metric": {"mode": "eval", "about": "views summed, four classes"},
                "schedule": {"mode": "train", "about": "rates", "lr": 8e-6, "epochs": 3, "warmup": 1, "iters": 10,
                             "accumulation": 3}}}


def allowances(manifest: dict[str, Any]) -> list[Allowance]:
    """No departure from the rule."""
    return []
