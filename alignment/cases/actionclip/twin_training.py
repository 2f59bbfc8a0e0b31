"""The first steps of ActionCLIP's mini run as the original trains: train.py, utils/solver.py, utils/lr_scheduler.py."""
from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import torch

from alignment import short_training
from alignment import torch_tools as tools
from alignment.bundle import Run
from alignment.reference import actionclip as reference
from alignment.reference.actionclip_data import PROMPTS, encode


def mini_training(run: Run) -> dict[str, np.ndarray]:
    """AdamW with a rate for each part, a schedule that is looked at every tenth iteration, fixed sentences."""
    material = short_training.read(run)
    config = material.config
    network = tools.build(lambda: _network(config), material.upstream, run.dtype).train()
    optimizer, bases = _optimizer(network, config["optimizer"])
    sentences, templates = _sentences(config["data"], network.positional_embedding.shape[0])
    classes = len(sentences) // templates
    losses, rates = [], []
    for step, batch in enumerate(material.batches):
        epoch, iteration = divmod(step, material.steps_per_epoch)
        if iteration == 0 or (iteration + 1) % 10 == 0:
            _schedule(optimizer, bases, epoch + iteration / material.steps_per_epoch, config)
        rates.append({name: group["lr"] for name, group in zip(bases, optimizer.param_groups, strict=True)})
        optimizer.zero_grad()
        labels = torch.from_numpy(batch["label"])
        video = _video(network, torch.from_numpy(batch["frames"]))
        text = network.encode_text(sentences[torch.from_numpy(batch["template"]) * classes + labels])
        if config["network"]["fix_text"]:
            text = text.detach()
        by_video, by_text = reference.create_logits(video, text, network.logit_scale.exp())
        truth = reference.gen_label(labels.tolist()).to(video.dtype)
        loss = (reference.kl_loss(by_video, truth) + reference.kl_loss(by_text, truth)) / 2
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return short_training.arrays(losses, rates, _test(network.eval(), material, sentences, templates), run.dtype)


def _network(config: dict) -> reference.ActionCLIP:
    options = config["network"]
    sizes = options["custom"]
    return reference.ActionCLIP(options["fusion"], config["data"]["frames"], tsm=options["tsm"],
                                joint=options["joint"], transformer_heads=sizes["transformer_width"] // 64, **sizes)


def _optimizer(network: torch.nn.Module, options: dict) -> tuple[torch.optim.Optimizer, dict[str, float]]:
    """AdamW with three groups, of which those without parameters are left out, and their base rates by name."""
    factors = {"text": 1.0, "image": options["ratio"], "fusion": options["f_ratio"]}
    parts: dict[str, list] = {name: [] for name in factors}
    for name, parameter in network.named_parameters():
        part = "fusion" if name.startswith("module.") else "image" if name.startswith("visual.") else "text"
        parts[part].append(parameter)
    bases = {name: options["lr"] * factor for name, factor in factors.items() if parts[name]}
    return torch.optim.AdamW([{"params": parts[name], "lr": base} for name, base in bases.items()], betas=(0.9, 0.98),
                             eps=1e-8, weight_decay=options["weight_decay"]), bases


def _schedule(optimizer: torch.optim.Optimizer, bases: dict[str, float], epoch: float, config: dict) -> None:
    """A line from 0 over the warm-up, then a half cosine; by fractional epoch."""
    warm, total = config["optimizer"]["warmup_epochs"], config["train"]["epochs"]
    share = epoch / warm if epoch < warm else 0.5 * (math.cos(math.pi * min(1, (epoch - warm) / (total - warm))) + 1)
    for base, group in zip(bases.values(), optimizer.param_groups, strict=True):
        group["lr"] = base * share


def _sentences(data: dict, length: int) -> tuple[torch.Tensor, int]:
    """Token ids of every class in every template, template-major, and the number of templates."""
    with Path(data["labels"]).open(newline="") as file:
        names = [row["name"] for row in csv.DictReader(file)]
    templates = Path(data["templates"]).read_text().splitlines() if data["templates"] else PROMPTS
    ids = torch.zeros(len(templates) * len(names), length, dtype=torch.int64)
    for row, (template, name) in enumerate((template, name) for template in templates for name in names):
        found = encode(template.format(name))
        ids[row, :len(found)] = torch.tensor(found)
    return ids, len(templates)


def _video(network: reference.ActionCLIP, frames: torch.Tensor) -> torch.Tensor:
    """``frames [B, T, 3, S, S]`` -> ``[B, D]``."""
    return network.encode_video(network.encode_image(frames.flatten(0, 1)))


@torch.no_grad()
def _test(network: reference.ActionCLIP, material: short_training.Material, sentences: torch.Tensor,
          templates: int) -> dict[str, float]:
    """Top-1 and top-5 in percent of all videos."""
    text = network.encode_text(sentences)
    clips = [torch.from_numpy(batch["frames"][:, 0]) for batch in material.validation]
    found = torch.cat([reference.probabilities(_video(network, frames), text, templates) for frames in clips])
    labels = [label for batch in material.validation for label in batch["label"].tolist()]
    return {f"top{k}": reference.top(found, labels, k) for k in (1, 5)}
