"""The first steps of MiVOS' mini run as the originals train and judge: Mask-Propagation, MiVOS' DAVIS evaluation."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from alignment import short_training
from alignment import torch_tools as tools
from alignment.bundle import Run
from alignment.reference import mivos as nets
from alignment.reference import mivos_core as core
from alignment.reference import mivos_data as data

MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)


def mini_training(run: Run) -> dict[str, np.ndarray]:
    """Three frames a sample, the hardest pixels, Adam with a milestone; the running statistics of norms rest."""
    material = short_training.read(run)
    config, options = material.config, material.config["optimizer"]
    network = tools.build(lambda: _network(config), material.upstream, run.dtype)  # eval: nothing but norms would care
    optimizer = torch.optim.Adam(network.parameters(), options["lr"], weight_decay=options["weight_decay"])
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, options["milestones"], 0.1)
    losses, rates = [], []
    for step, batch in enumerate(material.batches):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.zero_grad()
        x = {name: torch.from_numpy(value) for name, value in batch.items() if isinstance(value, np.ndarray)}
        made = core.three_frames(network, x["rgb"], x["gt"], x["sec_gt"], x["selector"])
        loss = sum(core.per_sample_loss(made[f"logits_{t}"], x["cls_gt"][:, t], x["selector"], step,
                                        options["hard_start"], options["hard_end"])[0] for t in (1, 2))
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    names = [name for batch in material.validation for name in batch["name"]]
    return short_training.arrays(losses, rates, _judge(network, config, names, run.dtype), run.dtype)


def _network(config: dict) -> nets.PropagationNetwork:
    options = config["network"]
    return nets.PropagationNetwork(options["top_k"], options["km"] or None, depth=options["depth"],
                                   base=options["base_channels"], width=options["width"])


@torch.no_grad()
def _judge(network: nets.PropagationNetwork, config: dict, names: list[str], dtype: str) -> dict[str, float]:
    """DAVIS' semi-supervised measures: the first mask carried on, first and last frame not counted, mean of objects."""
    found = []
    for name in names:
        images, truth = _video(Path(config["data"]["root"]) / config["data"]["davis"], name)
        objects = [label for label in np.unique(truth[0]) if label]
        first = np.stack([truth[0] == label for label in objects])[:, None].astype(dtype)
        video = core.InferenceCore(network, None, torch.from_numpy(images[None].astype(dtype)), len(objects),
                                   config["inference"]["mem_freq"])
        labels = np.array([0, *objects])[video.interact(nets.aggregate_wbg(torch.from_numpy(first), keep_bg=True), 0)]
        for label in objects:
            pairs = [(t == label, g == label) for t, g in zip(truth[1:-1], labels[1:-1], strict=True)]
            found.append([data.statistics([measure(*pair) for pair in pairs])
                          for measure in (data.jaccard, data.f_measure)])
    means = np.mean(found, 0)  # of J and F: mean, recall, decay
    return {"J&F": means[:, 0].mean(), **{f"{measure}_{kind}": means[row, column] for row, measure in enumerate("JF")
                                          for column, kind in enumerate(("mean", "recall", "decay"))}}


def _video(root: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Normalised frames float32 ``[T, 3, H, W]`` and labels ``[T, H, W]``."""
    pictures = [np.asarray(Image.open(path)) for path in sorted((root / "JPEGImages/480p" / name).glob("*.jpg"))]
    labels = [np.asarray(Image.open(path)) for path in sorted((root / "Annotations/480p" / name).glob("*.png"))]
    images = (np.stack(pictures).astype(np.float32) / np.float32(255) - MEAN) / STD
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)), np.stack(labels)
