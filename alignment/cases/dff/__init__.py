"""Alignment of Deep Feature Flow: what both sides read from a bundle alike (no framework here)."""
from __future__ import annotations

import numpy as np

from alignment.compare import Allowance

LEAD = ("PSPNet on key frames, FlowNetS between frames, the score map warped along: the article's network with the "
        "slim flow network, stock mmsegmentation PSPNet with the full FlowNetS, each part alone, and the "
        "Cityscapes data path.")
SCHEDULE_STEPS = (0, 1, 2, 500, 999, 1000, 1001, 1002, 20000, 39999)


def options(config: dict) -> dict:
    """Flags of a bundle's ``config`` that its state dict cannot tell, as keyword arguments of both networks."""
    names = ("warp_padding", "flow_input_scale")
    return {name: config[name] for name in names if name in config}


def fixed_metric_maps(inputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(labels, predictions) of the metric stage: class 17 absent, 255 ignored, class 18 never predicted rightly."""
    fixed = np.where(inputs["gt_raw"] == 17, 18, inputs["gt_raw"])
    pred = np.where(inputs["same"] == 1, np.minimum(fixed, 16), inputs["pred_raw"])
    return np.where(inputs["ignore"] == 1, 255, fixed).astype(np.int64), pred.astype(np.int64)


def allowances(manifest: dict) -> list[Allowance]:
    """Named departures from the tolerance rule."""
    return []
