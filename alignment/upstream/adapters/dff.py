"""ClementPinard/FlowNetPytorch: FlowNetS with and without batch norm, the multi-scale and the real endpoint error."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from alignment import torch_tools as tools
from alignment.bundle import Run
from alignment.cases.dff import recorded
from alignment.upstream.found import enter as enter_folders
from alignment.upstream.found import original
from alignment.upstream.shims import each_in_its_precision


def enter(checkout: Path) -> None:
    """Import what is needed."""
    enter_folders(checkout)
    original("models", "flownets")
    original("multiscaleloss", "multiscaleEPE")


def stages(network: str) -> dict:
    return each_in_its_precision({"forward": forward, "forward_train": forward_train, "loss": loss,
                                  "backward": backward})


def make(config: dict) -> torch.nn.Module:
    return original("models", "flownets_bn" if config["batchNorm"] else "flownets")()


def state_entries(manifest: dict) -> list[list]:
    return tools.state_entries(make(manifest["config"]))


def build(run: Run) -> torch.nn.Module:
    return tools.build(lambda: make(run.config), run.state, run.dtype)


def forward(run: Run) -> dict[str, np.ndarray]:
    network = build(run)
    with torch.no_grad(), tools.Recorder(network, recorded(run.state)) as recorder:
        flow = network(*tools.tensors(run.inputs, "images"))
    return {**recorder.arrays, "flow2": tools.array(flow)}


def forward_train(run: Run) -> dict[str, np.ndarray]:
    network = build(run).train()
    with torch.no_grad():
        flows = network(*tools.tensors(run.inputs, "images"))
    return {f"flow{level}": tools.array(flow) for level, flow in enumerate(flows, 2)}


def loss(run: Run) -> dict[str, np.ndarray]:
    network = build(run).train()
    images, target = tools.tensors(run.inputs, "images", "target")
    with torch.no_grad():
        flows = network(images)
        value = original("multiscaleloss", "multiscaleEPE")(flows, target)
        epe = run.config["div_flow"] * original("multiscaleloss", "realEPE")(flows[0], target)
    return {"loss": tools.array(value.reshape(1)), "epe": tools.array(epe.reshape(1))}


def backward(run: Run) -> dict[str, np.ndarray]:
    network = build(run).train()
    images, target = tools.tensors(run.inputs, "images", "target")
    original("multiscaleloss", "multiscaleEPE")(network(images), target).backward()
    return {f"grad:{name}": gradient for name, gradient in tools.gradients(network).items()}
