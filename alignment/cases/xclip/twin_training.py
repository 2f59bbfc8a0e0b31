"""The first steps of X-CLIP's mini run as the original trains: main.py, utils/optimizer.py, timm's schedule."""
from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import torch

from alignment import short_training
from alignment import torch_tools as tools
from alignment.bundle import Run
from alignment.reference import xclip as reference
from alignment.reference import xclip_data as data

# Our names of upstream's groups, in upstream's order.
GROUPS = ("rest", "rest_plain", "mit", "mit_plain", "prompts", "prompts_plain", "message", "message_plain")


def mini_training(run: Run) -> dict[str, np.ndarray]:
    """AdamW with eight groups, label smoothing, a rate that is set behind each update; the text side stays frozen."""
    material = short_training.read(run)
    config, options = material.config, material.config["optimizer"]
    network = tools.build(lambda: _network(config), material.upstream, run.dtype).train()
    optimizer, bases = _optimizer(network, options, config["network"]["fix_text"])
    text = _names(config["data"]["labels"])
    losses, rates = [], []
    for step, batch in enumerate(material.batches):
        rates.append({name: group["lr"] for name, group in zip(bases, optimizer.param_groups, strict=True)})
        optimizer.zero_grad()
        logits = network(torch.from_numpy(batch["frames"]), text)
        loss = reference.label_smoothing_cross_entropy(logits, torch.from_numpy(batch["label"]), options["smoothing"])
        loss.backward()
        optimizer.step()
        _schedule(optimizer, bases, step, material)
        losses.append(loss.item())
    return short_training.arrays(losses, rates, _test(network.eval(), material, text), run.dtype)


def _network(config: dict) -> reference.XCLIP:
    options = config["network"]
    sizes = options["custom"]
    return reference.XCLIP(T=config["data"]["frames"], mit_layers=options["mit_layers"],
                           prompts_alpha=options["prompts_alpha"], prompts_layers=options["prompts_layers"],
                           use_cache=options["fix_text"], transformer_heads=sizes["transformer_width"] // 64, **sizes)


def _optimizer(network: torch.nn.Module, options: dict, fix_text: bool
               ) -> tuple[torch.optim.Optimizer, dict[str, float]]:
    """AdamW at rate 0, and the base rates of its groups that have parameters."""
    members: list[list] = [[] for _ in GROUPS]
    for name, parameter in network.named_parameters():
        if fix_text:
            parameter.requires_grad_(any(part in name for part in ("visual.", "mit", "prompts")))
        if parameter.requires_grad:
            members[data.group(name, parameter.ndim)].append(parameter)
    used = [index for index, parameters in enumerate(members) if parameters]
    groups = [{"params": members[index], "weight_decay": 0.0 if index % 2 else options["weight_decay"]}
              for index in used]
    bases = {GROUPS[index]: options["lr"] * (1 if index < 2 else 10) for index in used}
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), eps=1e-8), bases


def _schedule(optimizer: torch.optim.Optimizer, bases: dict[str, float], step: int,
              material: short_training.Material) -> None:
    """timm's cosine by batch index: a line from 0, then down to a hundredth of the first group's base."""
    options, per_epoch = material.config["optimizer"], material.steps_per_epoch
    rising, total = options["warmup_epochs"] * per_epoch, material.config["train"]["epochs"] * per_epoch
    floor = options["lr"] / 100 if options["floor"] is None else options["floor"]
    for base, group in zip(bases.values(), optimizer.param_groups, strict=True):
        if step < rising:
            group["lr"] = step * base / rising
        else:
            group["lr"] = floor + 0.5 * (base - floor) * (1 + math.cos(math.pi * step / total))


def _names(labels: str) -> torch.Tensor:
    """Token ids of the class names, one a row."""
    with Path(labels).open(newline="") as file:
        return torch.from_numpy(data.token_table([row["name"] for row in csv.DictReader(file)]))


@torch.no_grad()
def _test(network: reference.XCLIP, material: short_training.Material, text: torch.Tensor) -> dict[str, float]:
    """Top-1 and top-5 in percent: the softmax of a video's views, summed."""
    hits = {1: 0, 5: 0}
    count = 0
    for batch in material.validation:
        for views, label in zip(torch.from_numpy(batch["frames"]), batch["label"].tolist(), strict=True):
            ranked = network(views, text).softmax(-1).sum(0).topk(5).indices.tolist()
            count += 1
            for k in hits:
                hits[k] += label in ranked[:k]
    return {f"top{k}": 100.0 * hit / count for k, hit in hits.items()}
