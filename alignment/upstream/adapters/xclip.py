"""microsoft/VideoX, folder X-CLIP: the network, the losses that its training picks, the accuracy of its validation."""
from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F

from alignment import torch_tools as tools
from alignment.bundle import Run
from alignment.upstream.found import enter as enter_folders
from alignment.upstream.found import original
from alignment.upstream.shims import each_in_its_precision


def enter(checkout: Path) -> None:
    """Import what is needed; ``clip`` comes first, the two packages import each other."""
    enter_folders(checkout / "X-CLIP")
    original("clip")
    original("models.xclip", "XCLIP")
    original("main", "validate")


def stages(network: str) -> dict:
    return each_in_its_precision({"forward": forward, "loss": loss, "backward": backward, "metric": metric})


def state_entries(manifest: dict) -> list[list]:
    return tools.state_entries(original("models.xclip", "XCLIP")(**manifest["config"])) if manifest["config"] else []


def build(run: Run) -> torch.nn.Module:
    network = tools.build(lambda: original("models.xclip", "XCLIP")(**run.config), run.state, run.dtype)
    if run.config["use_cache"]:
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(any(part in name for part in ("visual.", "mit", "prompts")))
    return network


def logits_of(network: torch.nn.Module, run: Run) -> torch.Tensor:
    network.cache_text_features = None
    logits = network(*tools.tensors(run.inputs, "image", "text"))
    network.eval()  # caching texts leaves training mode on
    return logits


def forward(run: Run) -> dict[str, np.ndarray]:
    network = build(run)
    image, text = tools.tensors(run.inputs, "image", "text")
    last = len(network.visual.transformer.resblocks) - 1
    names = {"visual.ln_pre": "ln_pre", "visual.transformer.resblocks.0": "block0",
             f"visual.transformer.resblocks.{last}": "block_last", "prompts_generator": "prompts"}
    with torch.no_grad(), tools.Recorder(network, names=names) as recorder:
        logits = logits_of(network, run)
        features = network.encode_text(text)
        cls, _ = network.encode_image(image.flatten(0, 1))
        video, patches = network.encode_video(image)
    made = {name: recorder.arrays[layer] for layer, name in names.items()}
    for name in ("block0", "block_last"):
        made[name] = made[name].transpose(1, 0, 2)  # tokens come first
    return {**made, "cls": tools.array(cls.view(*image.shape[:2], -1)), "img_features": tools.array(patches),
            "video_features": tools.array(video), "text_features": tools.array(features),
            "logits": tools.array(logits)}


def losses_of(logits: torch.Tensor, run: Run) -> dict[str, torch.Tensor]:
    label, target = tools.tensors(run.inputs, "label", "target")
    return {"soft": original("timm.loss", "SoftTargetCrossEntropy")()(logits, target),
            "smooth": original("timm.loss", "LabelSmoothingCrossEntropy")(smoothing=0.1)(logits, label),
            "plain": F.cross_entropy(logits, label)}


def loss(run: Run) -> dict[str, np.ndarray]:
    return {name: tools.array(value) for name, value in losses_of(logits_of(build(run), run), run).items()}


def backward(run: Run) -> dict[str, np.ndarray]:
    network = build(run)
    total = losses_of(logits_of(network, run), run)["soft"]
    total.backward()
    found = tools.gradients(network)
    made = {"loss": tools.array(total), **{f"grad:{name}": array for name, array in found.items()}}
    if "token_embedding.weight" in found:
        made["grad_rows:token_embedding.weight"] = found["token_embedding.weight"][np.unique(run.inputs["text"])]
    return made


class Views(torch.nn.Module):
    """Gives validation the next view's scores, whatever it is shown."""

    def __init__(self, scores: torch.Tensor):
        super().__init__()
        self.scores = iter(scores)

    def forward(self, image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        return next(self.scores)


def metric(run: Run) -> dict[str, np.ndarray]:
    """Top-1 and top-5 as the validation function counts them, from given scores of each view."""
    scores, label = tools.tensors(run.inputs, "views", "label")
    views, videos, classes = scores.shape
    main = original("main")
    main.logger = SimpleNamespace(info=lambda text: None)
    meters = []

    class Meter(original("utils.tools", "AverageMeter")):
        """Kept to be read afterwards; one process has nobody to add up with."""

        def __init__(self):
            super().__init__()
            meters.append(self)

        def sync(self) -> None:
            """Nothing to add."""

    main.AverageMeter = Meter
    config = SimpleNamespace(
        TEST=SimpleNamespace(NUM_CLIP=views, NUM_CROP=1), TRAIN=SimpleNamespace(OPT_LEVEL="O0"), PRINT_FREQ=1,
        DATA=SimpleNamespace(NUM_FRAMES=1, NUM_CLASSES=classes))
    batch = {"imgs": torch.zeros(videos, views, 1, 1, 1), "label": label}
    main.validate([batch], torch.zeros(classes, 1), Views(scores), config)
    return {f"top{k}": np.float64(meter.avg) for k, meter in zip((1, 5), meters, strict=True)}
