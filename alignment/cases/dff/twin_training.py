"""The first steps of Deep Feature Flow's mini run in PyTorch, as the article's train.py goes, with the run's Adam."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from alignment import short_training
from alignment import torch_tools as tools
from alignment.bundle import Run
from alignment.reference import dff as reference
from alignment.reference import dff_data


def mini_training(run: Run) -> dict[str, np.ndarray]:
    """Adam at a polynomial rate; the feature network rests but for its classifier."""
    material = short_training.read(run)
    network = tools.build(lambda: _network(material), material.upstream, run.dtype).set_train()

    def loss(batch: dict) -> torch.Tensor:
        return reference.dff_loss(network(*_clips(batch))["pred"], torch.from_numpy(batch["label"]))
    return short_training.arrays(*_train(network, material, loss), _test(network.eval(), material), run.dtype)


def mini_pspnet_training(run: Run) -> dict[str, np.ndarray]:
    """The same on single frames, everything trained, norms by the statistics of each batch."""
    material = short_training.read(run)
    found = reference.architecture({name: array.shape for name, array in material.upstream.items()})
    network = tools.build(lambda: reference.PSPNet(num_classes=found["num_classes"], **found["feature"], dropout=0.0),
                          material.upstream, run.dtype).train()

    def logits(batch: dict) -> torch.Tensor:
        scores = network(torch.from_numpy(batch["seg"][:, 0]))["logits"]
        return F.interpolate(scores, batch["label"].shape[1:], mode="bilinear", align_corners=False)

    def loss(batch: dict) -> torch.Tensor:
        return reference.dff_loss(logits(batch), torch.from_numpy(batch["label"]))
    losses, rates = _train(network, material, loss)
    network.eval()
    with torch.no_grad():
        matrix = sum(dff_data.confusion(batch["label"], logits(batch).argmax(1).numpy())
                     for batch in material.validation)
    return short_training.arrays(losses, rates, _scores(matrix), run.dtype)


def _train(network: torch.nn.Module, material: short_training.Material, loss_of: Callable[[dict], torch.Tensor]
           ) -> tuple[list[float], list[float]]:
    """Losses and rates of one step of Adam on each batch."""
    options = material.config["optimizer"]
    optimizer = torch.optim.Adam([parameter for parameter in network.parameters() if parameter.requires_grad],
                                 weight_decay=options["weight_decay"])
    total = material.config["train"]["epochs"] * material.steps_per_epoch
    losses, rates = [], []
    for step, batch in enumerate(material.batches):
        share = (1 - step / total) ** options["power"]
        optimizer.param_groups[0]["lr"] = (options["lr"] - options["min_lr"]) * share + options["min_lr"]
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.zero_grad()
        loss = loss_of(batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, rates


def _clips(batch: dict) -> list[torch.Tensor]:
    """Frames for the feature and for the flow network, ``[N, C, T, H, W]``."""
    return [torch.from_numpy(batch[name]).transpose(1, 2) for name in ("seg", "flow")]


def _network(material: short_training.Material) -> reference.DFF:
    options = material.config["network"]
    found = reference.architecture({name: array.shape for name, array in material.upstream.items()})
    return reference.DFF(**found | {"scale_map": options["scale_map"]}, warp_padding=options["warp_padding"],
                         flow_input_scale=options["flow_input_scale"])


@torch.no_grad()
def _test(network: reference.DFF, material: short_training.Material) -> dict[str, float]:
    """Labels of the current frame from the key frame's moved scores, and the key frame's own left where they are."""
    distance = material.config["data"]["difference"]
    moved = copied = 0
    for batch in material.validation:
        key, current = network.evaluate(*_clips(batch))
        moved = moved + dff_data.confusion(batch["label"], current.numpy())
        copied = copied + dff_data.confusion(batch["label"], key.numpy())
    scores = _scores(moved)
    return {**scores, f"miou_distance_{distance}": scores["miou"], f"miou_copy_{distance}": _scores(copied)["miou"]}


def _scores(matrix: np.ndarray) -> dict[str, float]:
    return {"miou": np.nanmean(dff_data.class_iou(matrix)), "pixel_accuracy": np.diag(matrix).sum() / matrix.sum()}
