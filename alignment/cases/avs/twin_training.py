"""The first steps of AVSBench's mini run as the original trains: avs_scripts/avs_ms3/train.py."""
from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from alignment import short_training
from alignment import torch_tools as tools
from alignment.bundle import Run
from alignment.reference.avs import AVSNet
from alignment.reference.avs_backbones import VGGish
from alignment.reference.avs_losses import f_curves, f_measure, loss_with_audio, mask_iou


def mini_training(run: Run) -> dict[str, np.ndarray]:
    """Adam at a constant rate; the frozen VGGish hears every batch anew."""
    material = short_training.read(run)
    config, options = material.config, material.config["optimizer"]
    network = tools.build(lambda: _network(config), material.upstream, run.dtype).train()
    ears = tools.build(lambda: _ears(config["audio"]), material.companions["vggish"]["upstream"], run.dtype)
    optimizer = torch.optim.Adam(network.parameters(), options["lr"], (options["beta1"], options["beta2"]),
                                 options["eps"])
    losses, rates = [], []
    for batch in material.batches:
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.zero_grad()
        image, sound, mask = _inputs(batch, ears)
        pred, maps, features = network(image, sound)
        loss = loss_with_audio(config["task"], pred, mask, features, maps, **_loss_options(config["loss"]))[0]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return short_training.arrays(losses, rates, _judge(_predictions(network.eval(), ears, material)), run.dtype)


def _network(config: dict) -> AVSNet:
    options = config["network"]
    return AVSNet(backbone=options["backbone"], channel=options["channel"], num_frames=options["frames"],
                  tpavi_stages=options["tpavi_stages"], vv=options["tpavi_vv"], va=options["tpavi_va"],
                  drop_path=options["drop_path"], head=options["head"],
                  pvt={"embed_dims": options["pvt_dims"], "num_heads": options["pvt_heads"],
                       "depths": options["pvt_depths"], "sr_ratios": options["pvt_reductions"]})


def _ears(audio: dict) -> VGGish:
    a, b, c, d, e, f = audio["widths"]
    return VGGish((a, "M", b, "M", c, d, "M", e, f, "M"), audio["hidden"])


def _loss_options(loss: dict) -> dict:
    """The run's loss under the names of the original's flags (MS3)."""
    return {"sa_loss_flag": loss["sound"], "count_stages": loss["stages"], "lambda_1": loss["weight"],
            "mask_pooling_type": loss["pooling"], "norm_fea": loss["normalise"], "threshold": loss["threshold"],
            "closer_flag": loss["closer"], "kl_flag": loss["distance"] == "kl",
            "euclidean_flag": loss["distance"] == "euclidean"}


def _inputs(batch: dict, ears: VGGish) -> list[torch.Tensor]:
    """Frames, sound and masks of all videos of a batch, one after another."""
    image, log_mel, mask = (torch.from_numpy(batch[name]).flatten(0, 1) for name in ("image", "log_mel", "mask"))
    with torch.no_grad():
        return [image, ears(log_mel), mask]


@torch.no_grad()
def _predictions(network: AVSNet, ears: VGGish, material: short_training.Material
                 ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Logits and masks ``[N, H, W]`` of every batch."""
    for batch in material.validation:
        image, sound, mask = _inputs(batch, ears)
        yield network(image, sound)[0][:, 0], mask[:, 0]


def _judge(predictions: Iterator[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, float]:
    """The original's means over batches, and those over all frames."""
    pairs = list(predictions)
    frames = [(logits, mask) for batch in pairs for logits, mask in zip(*batch, strict=True)]
    curves = torch.cat([f_curves(*pair) for pair in pairs]).double()
    return {"miou": np.mean([mask_iou(*pair).item() for pair in pairs]),
            "f_score": np.mean([f_measure(*pair) for pair in pairs]),
            "dataset_miou": np.mean([mask_iou(logits[None], mask[None]).item() for logits, mask in frames]),
            "dataset_f_score": curves.mean(0).max().item() if len(curves) else 0.0}
