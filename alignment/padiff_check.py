"""A second opinion: PaDiff in strict mode on one network of each system. ``python -m alignment padiff [SYSTEM ...]``

PaDiff 0.3.0 walks two networks in one process and compares outputs and gradients. Both hold the
recipe's weights and statistics through our converter, because PaDiff copies no statistics. Each pair runs twice: as it
is, which must agree, and with one weight of ours moved by a thousandth, which must not. No verdict of ours rests on it.
"""
from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alignment.bundle import Run

STRICT = {"compare_mode": "strict", "atol": 1e-9, "rtol": 1e-7}  # in float64
INSTALL = "pip install git+https://github.com/PaddlePaddle/PaDiff (0.3.0; PyPI has 0.2.0)"
FAULT = 1e-3  # relative, of one weight


@dataclass(frozen=True)
class Pair:
    """Our network and its twin with equal weights, and how each is called with the same inputs."""

    twin: Any
    ours: Any
    inputs: dict[str, np.ndarray]
    call_twin: Callable = lambda network, **inputs: network(**inputs)
    call_ours: Callable = lambda network, **inputs: network(**inputs)
    phase: str = "both"  # of PaDiff: forward alone, or backward too


def _run(system: str, case: str) -> tuple[Run, Any, Any]:
    """The built-in case in float64, and the modules of both sides."""
    cases, twin, ours = (importlib.import_module(f"alignment.cases.{system}{part}") for part in ("", ".twin", ".ours"))
    manifest = next(found for found in cases.manifests() if found["case"] == case)
    if not manifest.get("state"):
        manifest["state"] = twin.state_entries(manifest)
    return Run(manifest, "forward", "float64"), twin, ours


def _plain(system: str, case: str, builder: str, *names: str) -> Pair:
    """Networks whose arguments, in order, are the inputs named."""
    run, twin, ours = _run(system, case)
    return Pair(getattr(twin, builder)(run), getattr(ours, builder)(run), {name: run.inputs[name] for name in names},
                _by_position, _by_position)


def _by_position(network: Any, **inputs: Any) -> Any:
    output = network(*inputs.values())
    while isinstance(output, list | tuple):
        output = output[0]
    return output


def _actionclip() -> Pair:
    run, twin, ours = _run("actionclip", "meanp")
    images = run.inputs["images"]
    frames = images.reshape(-1, 3, *images.shape[2:])
    return Pair(twin.build(run).visual, ours.build(run).clip.visual, {"frames": frames}, _by_position, _by_position)


def _xclip() -> Pair:
    run, twin, ours = _run("xclip", "trained_text")
    return Pair(twin.build(run), ours.build(run), {name: run.inputs[name] for name in ("image", "text")}, _by_position,
                lambda network, image, text: network(image, network.encode_text(text)),
                phase="forward")  # PaDiff pairs gradients by the order of registration, which is another one in ours


def _mivos() -> Pair:
    from alignment.cases.mivos import inputs
    run, twin, ours = _run("mivos", "fusion_small")
    given, attention = inputs.fusion(run), twin.FusionPass(run).attention[0].numpy()
    return Pair(twin.FusionPass(run).net, ours.FusionPass(run).net,
                {"image": given["rgb"], "seg1": given["seg1"], "seg2": given["seg2"], "attention": attention,
                 "time": given["dist"]}, _by_position, _by_position)


PAIRS: dict[str, tuple[str, Callable[[], Pair]]] = {
    "mvf": ("ResNet-18 with T, H and W views", lambda: _plain("mvf", "r18_thw", "build", "imgs")),
    "actionclip": ("the image tower", _actionclip),
    "xclip": ("the whole network, forward only", _xclip),
    "avs": ("a small PVTv2 with TPAVI", lambda: _plain("avs", "pvt_small_s4", "build", "image", "audio")),
    "mivos": ("the fusion network", _mivos),
    "dff": ("FlowNetS", lambda: _plain("dff", "flow_full", "_flownets", "images")),
}


def compare(pair: Pair, folder: Path) -> bool:
    """PaDiff's verdict on forward and backward of a pair; its files go into ``folder``."""
    import paddle
    import torch
    sys.path.insert(0, str(folder))  # where PaDiff writes
    try:
        from padiff import auto_diff, create_model

        class Twin(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.network = pair.twin

            def forward(self, **inputs):
                return pair.call_twin(self.network, **inputs)

        class Ours(paddle.nn.Layer):
            def __init__(self):
                super().__init__()
                self.network = pair.ours

            def forward(self, **inputs):
                return pair.call_ours(self.network, **inputs)
        given = [{name: torch.from_numpy(np.array(array)) for name, array in pair.inputs.items()},
                 {name: paddle.to_tensor(array) for name, array in pair.inputs.items()}]
        losses = [lambda output: output.sum()] * 2
        return bool(auto_diff(create_model(Twin().eval(), "twin"), _evaluated(create_model, Ours()), given,
                              loss_fns=losses, auto_init=False, diff_phase=pair.phase, **STRICT))
    finally:
        sys.path.remove(str(folder))


def _evaluated(create_model: Callable, network: Any) -> Any:
    network.eval()
    return create_model(network, "ours")


def move_one_weight(network: Any) -> None:
    """The middle one of our matrices, by a thousandth."""
    matrices = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    chosen = matrices[len(matrices) // 2]
    chosen.set_value(chosen * (1 + FAULT))


def check(system: str, folder: Path) -> list[str]:
    """``[verdict as it is, verdict with a fault]``: ``agree``, ``differ`` or the error that PaDiff stopped with."""
    found = []
    for fault in (False, True):
        pair = PAIRS[system][1]()
        if fault:
            move_one_weight(pair.ours)
        place = folder / f"{system}-{fault}"
        place.mkdir()
        with (place / "printed.txt").open("w") as log, contextlib.redirect_stdout(log):
            try:
                found.append("agree" if compare(pair, place) else "differ")
            except Exception:  # noqa: BLE001 - whatever a tool of others raises is its result
                found.append(traceback.format_exc(limit=-1).strip().splitlines()[-1])
    return found


def padiff_command(arguments: list[str]) -> int:
    """Run the command; the exit status is 1 if PaDiff disagrees with us anywhere, 2 without PaDiff."""
    parser = argparse.ArgumentParser(prog="python -m alignment padiff",
                                     description="PaDiff in strict mode on one network of each system")
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help=f"{', '.join(PAIRS)} (default: all)")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.systems if name not in PAIRS]
    if unknown:
        parser.error(f"{unknown[0]}: no such system; there are {', '.join(PAIRS)}")
    if importlib.util.find_spec("padiff") is None:
        parser.error(f"PaDiff is not installed: {INSTALL}")
    if not hasattr(importlib.import_module("padiff"), "create_model"):
        parser.error(f"the installed PaDiff is older than 0.3.0 and has no create_model: {INSTALL}")
    failed = 0
    with tempfile.TemporaryDirectory(prefix="padiff-") as folder:
        for name in options.systems or PAIRS:
            clean, faulty = check(name, Path(folder))
            good = clean == "agree" and faulty == "differ"
            failed += not good
            sys.stdout.write(f"{'ok  ' if good else 'FAIL'} {name}, {PAIRS[name][0]}: {clean}; "
                             f"with one weight moved by {FAULT:g}: {faulty}\n")
            sys.stdout.flush()
    return 1 if failed else 0
