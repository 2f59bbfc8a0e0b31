"""What is compared for ActionCLIP: every fusion head, the temporal shift, the joint form, and the data code."""
from __future__ import annotations

import copy
from typing import Any

from alignment import short_training
from alignment.compare import Allowance

SYSTEM = "actionclip"
STEPS: dict[str, tuple[str, ...]] = {}
ONLY_IN_TWIN: tuple[str, ...] = ()

_SIZES = {"embed_dim": 64, "image_resolution": 32, "vision_layers": 3, "vision_width": 128, "vision_patch_size": 16,
          "context_length": 20, "vocab_size": 60, "transformer_width": 128, "transformer_heads": 2,
          "transformer_layers": 3, "tsm": False, "joint": False, "drop_out": 0.0, "emb_dropout": 0.0}
# 58 starts and 59 ends a sentence, as 49406 and 49407 do; the third has the end marker twice.
_TEXTS = [[58, 3, 17, 59], [58, 44, 59], [58, 5, 59, 7, 59], [58, 9, 9, 1, 30, 12, 59]]
_STAGES = {
    "forward": {"mode": "eval", "about": "blocks of both towers, frame, video and text features, logits"},
    "loss": {"mode": "eval", "about": "labels matched both ways, two samples of one class"},
    "metric": {"mode": "eval", "about": "two templates, three classes", "num_text_aug": 2, "num_classes": 3},
    "backward": {"mode": "eval", "about": "gradients of the loss by every entry"},
    "train": {"mode": "eval", "about": "5 steps of AdamW with the recipe's three groups (dropout off)",
              "groups": [{"lr": 5e-5}, {"lr": 5e-5}, {"lr": 5e-4}], "betas": [0.9, 0.98], "eps": 1e-8,
              "weight_decay": 0.2, "steps": 5},
}


def manifests() -> list[dict[str, Any]]:
    """Small built-in cases, one for each way to fuse frames."""
    return [_case("transf", "Transf", 3), _case("meanp", "meanP", 2), _case("lstm", "LSTM", 3),
            _case("conv1d_tsm", "Conv_1D", 4, tsm=True), _case("transf_cls", "Transf_cls", 3),
            _case("joint", "meanP", 2, joint=True), _data(), _training()]


def _training() -> dict[str, Any]:
    """The mini run, its warm-up shortened to see the cosine too, and with the original's idle first updates."""
    return short_training.manifest(
        SYSTEM, run="configs/actionclip/mini.yaml", layout="colour_motion", names="models.actionclip:upstream_name",
        overrides=["data.root={data}", "output_dir={data}_output", "train.workers=0", "optimizer.skip_idle=false",
                   "optimizer.warmup_epochs=1"])


def _padded(texts: list[list[int]], length: int) -> list[list[int]]:
    return [text + [0] * (length - len(text)) for text in texts]


def _case(name: str, head: str, frames: int, **flags: Any) -> dict[str, Any]:
    videos = 3
    stages = copy.deepcopy(_STAGES)
    if head != "Transf_cls":  # the one head with dropout, whose draws differ
        stages["backward"]["mode"] = stages["train"]["mode"] = "train"
    return {"system": SYSTEM, "case": name, "network": SYSTEM, "salt": f"twin-{name}", "gain": 1.0,
            "overrides": {"logit_scale": 2.65926},
            "config": {**_SIZES, "sim_header": head, "num_segments": frames, **flags},
            "inputs": {"images": {"shape": [videos, frames * 3, 32, 32], "range": [-2, 2]},
                       "texts": {"values": _padded(_TEXTS[:videos], 20), "dtype": "int64"},
                       "labels": {"values": [4, 1, 4], "dtype": "int64"},
                       "prompts": {"values": _padded((_TEXTS * 2)[:6], 20), "dtype": "int64"},
                       "class_id": {"values": [0, 2, 1], "dtype": "int64"}},
            "stages": stages}


def _data() -> dict[str, Any]:
    sampling = [{"mode": mode, "num_frames": frames, "num_segments": segments, "seg_length": length, "loop": loop,
                 "index_bias": 1, "seed": 3}
                for mode in ("train", "val") for frames in (2, 7, 8, 33, 250) for segments, length in ((8, 1), (3, 2))
                for loop in (False, True)]
    return {"system": SYSTEM, "case": "data", "network": SYSTEM, "config": {}, "state": [], "salt": "data",
            "inputs": {"frames": {"shape": [2, 70, 90, 3], "range": [0, 256], "dtype": "uint8"}},
            "stages": {
                "tokens": {"mode": "eval", "about": "ids of odd strings and of prompted names", "crc32": {},
                           "strings": ["", "Ünïcödé  &amp; more", "don’t", "<|endoftext|>", "w " * 80, "a\tb\r\nc"],
                           "class_names": {"few": ["playing chess", "tying knot (not on a tie)"]}},
                "sampling": {"mode": "train and eval", "about": "frame indices", "cases": sampling},
                "transform": {"mode": "eval", "about": "validation and single operations", "cases": [
                    {"key": "val64:frames", "op": "get_augmentation(False)", "input": "frames", "input_size": 64},
                    {"key": "crops", "op": "crops", "seeds": [4, 5], "sizes": [[340, 256], [115, 230]]},
                    {"key": "jitter:hue", "op": "hue", "input": "frames", "value": 0.09},
                    {"key": "randaugment:ShearX:1", "op": "RandAugment", "input": "frames", "value": 0.09}]},
                "schedule": {"mode": "train", "about": "rates held for ten iterations", "epochs": [0, 1, 3],
                             "iterations": 23, "solver": {"lr": 1e-5, "ratio": 0.5, "f_ratio": 10, "epochs": 6,
                                                          "lr_warmup_step": 1, "lr_decay_step": 2}}}}


def allowances(manifest: dict[str, Any]) -> list[Allowance]:
    """No departure from the rule."""
    return []
