"""One side of a comparison in its own process: ``python -m alignment.worker REQUEST.json``.

The two frameworks never share a process, so neither can alias the other's memory, threads or libraries. A request
is a JSON file; the answer is an ``.npz`` of arrays and a JSON of shapes, dtypes and summaries beside it.
"""
from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alignment import recipe
from alignment.bundle import Run

SIDES = {"paddle": "ours", "torch": "twin"}
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Answer:
    """What a side computed: arrays by ``stage/name`` in the order they were made, and facts of the whole arrays."""

    arrays: dict[str, np.ndarray]
    shapes: dict[str, list[int]]
    summaries: dict[str, list[float]]
    finite: dict[str, bool]
    seconds: dict[str, float]  # by stage
    state: list[list] | None  # [name, shape, dtype] of the network, where it was asked for


def ask(side: str, manifest: dict[str, Any], stages: list[dict[str, Any]], *, fill_state: bool = False,
        variant: dict[str, Any] | None = None, threads: int | None = None) -> Answer:
    """Run stages of a case on one side in a fresh process.

    Args:
        side: ``paddle`` or ``torch``.
        manifest: the case; without ``state`` if ``fill_state`` asks the torch side to list its network's entries.
        stages: dicts with ``label`` (how the keys are prefixed), ``name``, ``dtype``, ``wanted`` (names or None)
            and ``limits`` (values kept per name, or None for whole arrays).
        variant: another legitimate evaluation in float32: ``onednn: False`` (other kernels of PyTorch),
            ``jitter: SEED`` (inputs moved by at most half a unit in the last place).

    Raises:
        RuntimeError: if the process fails; the message ends with its own last lines.
    """
    with tempfile.TemporaryDirectory(prefix="alignment-") as folder:
        request = Path(folder) / "request.json"
        request.write_text(json.dumps({"side": side, "manifest": manifest, "stages": stages,
                                       "fill_state": fill_state, "variant": variant or {}}))
        environment = dict(os.environ)
        environment.setdefault("OMP_NUM_THREADS", str(threads or os.cpu_count() or 1))
        environment["CUDA_VISIBLE_DEVICES"] = ""
        done = subprocess.run([sys.executable, "-m", "alignment.worker", str(request)], cwd=ROOT, env=environment,
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            tail = "\n".join(done.stderr.strip().splitlines()[-25:])
            raise RuntimeError(f"the {side} side of {manifest['system']}/{manifest['case']} failed:\n{tail}")
        facts = json.loads((Path(folder) / "answer.json").read_text())
        with np.load(Path(folder) / "answer.npz", allow_pickle=False) as file:
            arrays = {key: file[f"a{index}"] for index, key in enumerate(facts["keys"])}
    return Answer(arrays, facts["shapes"], facts["summaries"], facts["finite"], facts["seconds"], facts["state"])


def answer(request: dict[str, Any], folder: Path) -> None:
    """Compute a request and write ``answer.npz`` and ``answer.json`` into ``folder``."""
    manifest, side = request["manifest"], request["side"]
    case = importlib.import_module(f"alignment.cases.{manifest['system']}.{SIDES[side]}")
    state = None
    if request["fill_state"]:
        state = manifest["state"] = case.state_entries(manifest)
    arrays: dict[str, np.ndarray] = {}
    facts: dict[str, Any] = {"shapes": {}, "summaries": {}, "finite": {}, "seconds": {}, "state": state}
    for stage in request["stages"]:
        started = time.perf_counter()
        run = Run(manifest, stage["name"], stage["dtype"], stage["wanted"], request["variant"].get("jitter"))
        functions = case.stages(run.network)
        if run.name not in functions:
            raise ValueError(f"the {side} side of {manifest['system']} ({run.network}) has no stage {run.name!r}; "
                             f"it has {', '.join(functions)}")
        made = functions[run.name](run)
        for name, value in made.items():
            if stage["wanted"] is not None and name not in stage["wanted"]:
                continue
            key, value = f"{stage['label']}/{name}", np.asarray(value)
            facts["shapes"][key] = list(value.shape)
            numeric = value.dtype.kind in "fiub"
            facts["summaries"][key] = recipe.summary(value) if numeric and value.size else [0.0, 0.0, 0.0]
            facts["finite"][key] = bool(np.isfinite(value).all()) if value.dtype.kind == "f" else True
            limits = stage["limits"]
            arrays[key] = value if limits is None else recipe.sample(value, max(limits[name], 2))
        facts["seconds"][stage["label"]] = time.perf_counter() - started
        del made
    facts["keys"] = list(arrays)
    np.savez(folder / "answer.npz", **{f"a{index}": value for index, value in enumerate(arrays.values())})
    (folder / "answer.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    path = Path(sys.argv[1])
    content = json.loads(path.read_text())
    if content["side"] == "torch":
        import torch

        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        torch.backends.mkldnn.enabled = content["variant"].get("onednn", True)
    answer(content, path.parent)
