"""sallymmx/ActionCLIP: CLIP with options, the fusion heads, the contrastive loss, the accuracy of its validation."""
from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from alignment import torch_tools as tools
from alignment.bundle import Run
from alignment.cases.actionclip.twin import read_blocks
from alignment.upstream.found import enter as enter_folders
from alignment.upstream.found import original
from alignment.upstream.shims import each_in_its_precision


def enter(checkout: Path) -> None:
    """Import what is needed. Its ``test.py`` is a script whose validation is a function."""
    enter_folders(checkout)
    original("clip.model", "CLIP")
    original("modules.Visual_Prompt", "visual_prompt")
    original("utils.KLLoss", "KLLoss")
    original("utils.tools", "gen_label")
    original("test", "validate")


def stages(network: str) -> dict:
    return each_in_its_precision({"forward": forward, "loss": loss, "metric": metric, "backward": backward})


class Both(nn.Module):
    """The two modules of a checkpoint under their names there: CLIP's without a prefix, the fusion's behind one."""

    def __init__(self, config: dict):
        super().__init__()
        sizes = ("embed_dim", "image_resolution", "vision_layers", "vision_width", "vision_patch_size",
                 "context_length", "vocab_size", "transformer_width", "transformer_heads", "transformer_layers",
                 "joint", "tsm", "emb_dropout")
        clip = original("clip.model", "CLIP")(**{name: config[name] for name in sizes}, T=config["num_segments"],
                                              dropout=config["drop_out"])
        self.module = original("modules.Visual_Prompt", "visual_prompt")(
            config["sim_header"], clip.state_dict(), config["num_segments"])
        for name, part in clip.named_children():
            self.add_module(name, part)
        for name, parameter in clip.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        self.clip = [clip]  # in a list: not a second time among the modules

    def features(self, images: torch.Tensor, texts: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(of frames [B, T, D], of videos, of texts)."""
        count = images.shape[1] // 3
        frames = self.clip[0].encode_image(images.view(-1, 3, *images.shape[2:]))
        by_video = frames.view(-1, count, frames.shape[-1])
        return frames, self.module(by_video), self.clip[0].encode_text(texts)


def state_entries(manifest: dict) -> list[list]:
    return tools.state_entries(Both(manifest["config"]))


def build(run: Run) -> Both:
    return tools.build(lambda: Both(run.config), run.state, run.dtype)


def loss_of(network: Both, run: Run) -> dict[str, torch.Tensor]:
    _, video, text = network.features(*tools.tensors(run.inputs, "images", "texts"))
    by_video, by_text = original("utils.tools", "create_logits")(video, text, network.logit_scale.exp())
    truth = torch.tensor(original("utils.tools", "gen_label")(run.inputs["labels"]), dtype=video.dtype)
    criterion = original("utils.KLLoss", "KLLoss")()
    images, texts = criterion(by_video, truth), criterion(by_text, truth)
    return {"ground_truth": truth, "logits_per_image": by_video, "loss_images": images, "loss_texts": texts,
            "total": (images + texts) / 2}


def forward(run: Run) -> dict[str, np.ndarray]:
    network = build(run)
    with torch.no_grad(), tools.Recorder(network) as recorder:
        frames, video, text = network.features(*tools.tensors(run.inputs, "images", "texts"))
        by_video, by_text = original("utils.tools", "create_logits")(video, text, network.logit_scale.exp())
    made = {"frame_features": frames, "video_features": video, "text_features": text, "logits_per_image": by_video,
            "logits_per_text": by_text}
    return {**read_blocks(recorder.arrays, run.inputs["texts"].argmax(-1)),
            **{name: tools.array(tensor) for name, tensor in made.items()}}


def loss(run: Run) -> dict[str, np.ndarray]:
    with torch.no_grad():
        return {name: tools.array(tensor) for name, tensor in loss_of(build(run), run).items()}


def metric(run: Run) -> dict[str, np.ndarray]:
    """Top-1 and top-5 of the validation function, which prints the one and logs both."""
    network, told = build(run), {}
    script = original("test")
    script.wandb = SimpleNamespace(log=told.update)
    images, prompts = tools.tensors(run.inputs, "images", "prompts")
    count = run.stage["num_text_aug"]
    config = SimpleNamespace(data=SimpleNamespace(num_segments=run.config["num_segments"]),
                             solver=SimpleNamespace(epochs=1))
    batch = (images, torch.from_numpy(run.inputs["class_id"]))
    script.validate(0, [batch], prompts, "cpu", network.clip[0], network.module, config, count)
    return {name: np.float64(told[name]) for name in ("top1", "top5")}


def backward(run: Run) -> dict[str, np.ndarray]:
    network = build(run).train(run.stage["mode"] == "train")
    network.clip[0].train(run.stage["mode"] == "train")
    loss_of(network, run)["total"].backward()
    found = tools.gradients(network)
    rows = found["token_embedding.weight"][np.unique(run.inputs["texts"])]
    return {"rows:token_embedding.weight": rows, **{f"grad:{name}": array for name, array in found.items()}}
