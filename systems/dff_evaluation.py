"""What ``test.py`` reports for the parts of ``dff``: the loops; the arithmetic is in ``metrics`` and ``losses``."""
from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from engine import distributed
from losses.flow import endpoint_error
from metrics.segmentation import ConfusionMatrix
from models.dff_video import pad_to_multiple as pad
from models.layers import resize

__all__ = ["endpoint_errors", "pad", "per_frame", "propagated"]


def endpoint_errors(network, loader, progress) -> dict[str, float]:
    """Mean endpoint error in pixels of the image, as FlowNetPytorch validates."""
    total, count = 0.0, 0
    for batch in progress(loader.epoch(0), "evaluate", len(loader)):
        target = batch["target"]
        errors = endpoint_error(resize(network(batch["pair"])[0], target.shape[2:]), target).mean([1, 2]) * 20.0
        total, count = total + errors.sum().item(), count + errors.shape[0]
    parts = distributed.gather((total, count))
    mean = sum(part[0] for part in parts) / max(sum(part[1] for part in parts), 1)
    return {"epe": mean, "minus_epe": -mean}


def per_frame(network, loader, progress, classes: int, names: Sequence[str]) -> dict[str, float]:
    """PSPNet on each labelled frame."""
    matrix = ConfusionMatrix(classes)
    for batch in progress(loader.epoch(0), "evaluate", len(loader)):
        labels = batch["label"]
        scores = network(batch["seg"][:, 0])[0]
        matrix.update(labels.numpy(), resize(scores, labels.shape[1:]).argmax(1).numpy())
    _sum([matrix])
    return {"miou": matrix.mean_iou(), "pixel_accuracy": matrix.pixel_accuracy(), **_by_class(matrix, names)}


def propagated(network, loader, progress, classes: int, names: Sequence[str], *, main: int,
               interval: int) -> dict[str, float]:
    """Deep Feature Flow at each frame difference that the items hold.

    Returns:
        ``miou`` at the difference ``main``; ``miou_distance_D`` for each; ``miou_copy_D``: the key frame's labels left
        where they are; ``miou_frame``: the labelled frame computed by itself; ``miou_interval_L``: the official
        average over the offsets 0 ... L-1 where all are there; ``iou/CLASS`` at ``main``; seconds of each
        kind of frame.
    """
    differences = loader.dataset.differences
    moved = {d: ConfusionMatrix(classes) for d in differences}
    copied = {d: ConfusionMatrix(classes) for d in differences if d}
    seconds: dict[str, list[float]] = {"key": [], "other": []}
    for batch in progress(loader.epoch(0), "evaluate", len(loader)):
        labels, current = batch["label"].numpy(), batch["flow"][:, -1]
        for place, difference in enumerate(differences):
            started = time.perf_counter()
            scores, half = network.key_map(batch["seg"][:, place]), network.key_half(batch["flow"][:, place])
            key_labels = network.labels(scores).numpy()
            seconds["key"].append(time.perf_counter() - started)
            if not difference:  # the labelled frame is its own key frame
                moved[0].update(labels, key_labels)
                continue
            started = time.perf_counter()
            predicted = network.labels(network.move(scores, *network.flow(current, half))).numpy()
            seconds["other"].append(time.perf_counter() - started)
            moved[difference].update(labels, predicted)
            copied[difference].update(labels, key_labels)
    _sum([*moved.values(), *copied.values()])
    chosen = moved.get(main, moved[differences[-1]])
    found = {"miou": chosen.mean_iou(), "pixel_accuracy": chosen.pixel_accuracy()}
    found |= {f"miou_distance_{d}": matrix.mean_iou() for d, matrix in moved.items() if d}
    found |= {f"miou_copy_{d}": matrix.mean_iou() for d, matrix in copied.items()}
    if 0 in moved:
        found["miou_frame"] = moved[0].mean_iou()
    if all(offset in moved for offset in range(interval)):
        found[f"miou_interval_{interval}"] = float(np.mean([moved[d].mean_iou() for d in range(interval)]))
    found |= {f"seconds_per_{kind}_frame": float(np.median(values)) for kind, values in seconds.items() if values}
    return found | _by_class(chosen, names)


def _by_class(matrix: ConfusionMatrix, names: Sequence[str]) -> dict[str, float]:
    """Classes that occur; one that is neither labelled nor predicted has no IoU."""
    return {f"iou/{name}": float(iou) for name, iou in zip(names, matrix.class_iou(), strict=True) if not np.isnan(iou)}


def _sum(matrices: Sequence[ConfusionMatrix]) -> None:
    """Add up what all processes counted."""
    gathered = distributed.gather([matrix.counts for matrix in matrices])
    for place, matrix in enumerate(matrices):
        matrix.counts = sum(part[place] for part in gathered)
