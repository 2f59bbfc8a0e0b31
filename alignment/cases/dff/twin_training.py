"""The first steps of Deep Feature Flow's mini run in PyTorch, as the article's train.py goes, with the run's Adam."""
from __future__ import annotations

import numpy as np
import torch

from alignment import short_training
from alignment import torch_tools as tools
from alignment.bundle import Run
from alignment.reference import dff as reference
from alignment.reference import dff_data


def mini_training(run: Run) -> dict[str, np.ndarray]:
    """Adam at a polynomial rate; the feature network rests but for its classifier."""
    material = short_training.read(run)
    config, options = material.config, material.config["optimizer"]
    network = tools.build(lambda: _network(config, material.upstream), material.upstream, run.dtype).set_train()
    optimizer = torch.optim.Adam([parameter for parameter in network.parameters() if parameter.requires_grad],
                                 weight_decay=options["weight_decay"])
    total = config["train"]["epochs"] * material.steps_per_epoch
    losses, rates = [], []
    for step, batch in enumerate(material.batches):
        share = (1 - step / total) ** options["power"]
        optimizer.param_groups[0]["lr"] = (options["lr"] - options["min_lr"]) * share + options["min_lr"]
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.zero_grad()
        seg, flow = (torch.from_numpy(batch[name]).transpose(1, 2) for name in ("seg", "flow"))  # N C T H W
        loss = reference.dff_loss(network(seg, flow)["pred"], torch.from_numpy(batch["label"]))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return short_training.arrays(losses, rates, _test(network.eval(), material), run.dtype)


def _network(config: dict, state: dict[str, np.ndarray]) -> reference.DFF:
    options = config["network"]
    found = reference.architecture({name: array.shape for name, array in state.items()})
    return reference.DFF(**found | {"scale_map": options["scale_map"]}, warp_padding=options["warp_padding"],
                         flow_input_scale=options["flow_input_scale"])


@torch.no_grad()
def _test(network: reference.DFF, material: short_training.Material) -> dict[str, float]:
    """Labels of the current frame from the key frame's moved scores, and the key frame's own left where they are."""
    distance = material.config["data"]["difference"]
    moved = copied = 0
    for batch in material.validation:
        seg, flow = (torch.from_numpy(batch[name]).transpose(1, 2) for name in ("seg", "flow"))
        key, current = network.evaluate(seg, flow)
        truth = batch["label"]
        moved = moved + dff_data.confusion(truth, current.numpy())
        copied = copied + dff_data.confusion(truth, key.numpy())
    mean = np.nanmean(dff_data.class_iou(moved))
    return {"miou": mean, "pixel_accuracy": np.diag(moved).sum() / moved.sum(), f"miou_distance_{distance}": mean,
            f"miou_copy_{distance}": np.nanmean(dff_data.class_iou(copied))}
