"""One side of a comparison in its own process (see ``processes.py``): ``python -m alignment.worker REQUEST.json``.

The two frameworks never share a process, so neither can alias the other's memory, threads or libraries. A request
is a JSON file; the answer is an ``.npz`` of arrays and a JSON of shapes, summaries, seconds and errors beside it.
"""
from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from alignment import processes, recipe
from alignment.bundle import Run

SIDES = {"paddle": "ours", "torch": "twin"}


@dataclass(frozen=True)
class Answer:
    """What a side computed: arrays by ``stage/name`` in the order they were made, and facts of the whole arrays."""

    arrays: Mapping[str, np.ndarray]  # in memory, or StoredArrays
    shapes: dict[str, list[int]]
    summaries: dict[str, list[float]]
    finite: dict[str, bool]
    seconds: dict[str, float]  # by stage
    state: list[list] | None  # [name, shape, dtype] of the network, where it was asked for
    errors: dict[str, str]  # traceback by stage that stopped
    revision: dict[str, str]  # versions of the libraries that computed


class StoredArrays(Mapping):
    """Arrays by key that stay on disk and are read one at a time (a network's float64 gradients fill gigabytes)."""

    def __init__(self, path: Path, keys: list[str]):
        self._file = np.load(path, allow_pickle=False)
        self._entries = {key: f"a{index}" for index, key in enumerate(keys)}

    def __getitem__(self, key: str) -> np.ndarray:
        return self._file[self._entries[key]]

    def __iter__(self):
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def close(self) -> None:
        self._file.close()


def ask(side: str, manifest: dict[str, Any], stages: list[dict[str, Any]], *, fill_state: bool = False,
        variant: dict[str, Any] | None = None, folder: Path | None = None,
        original: dict[str, Any] | None = None) -> Answer:
    """Run stages of a case on one side in a fresh process.

    Args:
        side: ``paddle`` or ``torch``; any name for an original.
        manifest: the case; without ``state`` if ``fill_state`` asks the torch side to list its network's entries.
        stages: dicts with ``label`` (how the keys are prefixed), ``name``, ``dtype``, ``wanted`` (names or None)
            and ``limits`` (values kept per name, or None for whole arrays).
        variant: another legitimate evaluation in float32: ``onednn: False`` (other kernels of PyTorch),
            ``jitter: SEED`` (inputs and weights moved by at most half a unit in the last place).
        folder: leave the arrays there and read them one at a time; None: all in memory.
        original: instead of a side of ours, code in a checkout: ``name``, ``checkout`` and ``shims``
            (see ``alignment/upstream``).

    Returns:
        The answer. A stage that stopped with an error is in ``errors`` and has no arrays.

    Raises:
        RuntimeError: if the process fails; the message ends with its own last lines.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="alignment-") as temporary:
            answer = _ask(side, manifest, stages, fill_state, variant, Path(temporary), original)
            stored = answer.arrays
            answer = replace(answer, arrays=dict(stored))
            stored.close()
            return answer
    return _ask(side, manifest, stages, fill_state, variant, folder, original)


def _ask(side: str, manifest: dict[str, Any], stages: list[dict[str, Any]], fill_state: bool,
         variant: dict[str, Any] | None, folder: Path,
         original: dict[str, Any] | None) -> Answer:
    folder.mkdir(parents=True, exist_ok=True)
    request = folder / "request.json"
    request.write_text(json.dumps({"side": side, "manifest": manifest, "stages": stages, "fill_state": fill_state,
                                   "variant": variant or {}, "original": original}))
    module = "alignment.worker" if original is None else "alignment.upstream.worker"
    title = f"the {side} side of {manifest['system']}/{manifest['case']}"
    processes.run_module(module, request, title, side if original is None else None)
    return read(folder)


def because(answer: Answer, key: str) -> str:
    """Why ``stage/name`` is absent: the stage's error, or nothing."""
    error = answer.errors.get(key.split("/", 1)[0])
    return f": the stage stopped with {error.strip().splitlines()[-1]}" if error else ""


def answer(request: dict[str, Any], folder: Path, case: Any = None,
           versions: Callable[[], dict[str, str]] | None = None) -> None:
    """Compute a request and write ``answer.npz`` and ``answer.json`` into ``folder``; see :func:`compute`."""
    made = compute(request, case=case, versions=versions)
    facts = {name: getattr(made, name) for name in
             ("shapes", "summaries", "finite", "seconds", "state", "errors", "revision")}
    arrays = made.arrays.values()
    np.savez(folder / "answer.npz", **{f"a{index}": value for index, value in enumerate(arrays)})
    (folder / "answer.json").write_text(json.dumps({**facts, "keys": list(made.arrays)}))


def read(folder: Path) -> Answer:
    """The answer that :func:`answer` left in ``folder``; its arrays stay on disk."""
    facts = json.loads((folder / "answer.json").read_text())
    arrays = StoredArrays(folder / "answer.npz", facts.pop("keys"))
    return Answer(arrays=arrays, **facts)


def compute(request: dict[str, Any], store: dict[str, Any] | None = None, case: Any = None,
            versions: Callable[[], dict[str, str]] | None = None) -> Answer:
    """Run the stages of a request in this process.

    Args:
        request: ``side``, ``manifest``, ``stages``, ``fill_state`` and ``variant``, as for :func:`ask`.
        store: what the runs share (weights made from the recipe); give it again to spare making them again.
        case: offers ``stages`` and ``state_entries``; None: the side's module of the manifest's system.
        versions: told at the end, as ``revision``; None: those of the side's library.
    """
    manifest, side = request["manifest"], request["side"]
    case = case or importlib.import_module(f"alignment.cases.{manifest['system']}.{SIDES[side]}")
    state = None
    if request["fill_state"]:
        state = manifest["state"] = case.state_entries(manifest)
    made = Answer({}, {}, {}, {}, {}, state, {}, {})
    store, networks = {} if store is None else store, {}
    for stage in request["stages"]:
        started = time.perf_counter()
        run = Run(manifest, stage["name"], stage["dtype"], stage["wanted"], request["variant"].get("jitter"), store,
                  networks)
        try:
            _keep(stage, _compute(case, side, run), made)
        except Exception:  # noqa: BLE001 - reported by whoever asked; the other stages are still worth comparing
            made.errors[stage["label"]] = traceback.format_exc(limit=-6)
        made.seconds[stage["label"]] = time.perf_counter() - started
    made.revision.update({**(versions() if versions else _versions(side)), "numpy": np.__version__})
    return made


def _compute(case: Any, side: str, run: Run) -> dict[str, np.ndarray]:
    functions = case.stages(run.network)
    if run.name not in functions:
        raise ValueError(f"the {side} side of {run.manifest['system']} ({run.network}) has no stage {run.name!r}; "
                         f"it has {', '.join(functions)}")
    if run.name != "train" or not (run.wanted is None or any(name.startswith("first:") for name in run.wanted)):
        return functions[run.name](run)
    with importlib.import_module(f"alignment.{side}_tools").FirstUpdate() as first:
        made = functions[run.name](run)
    rates = {name: made.pop(name) for name in ("rates",) if name in made}
    return {**rates, **first.arrays, **made}  # in the order in which they come into being


def _keep(stage: dict[str, Any], found: dict[str, np.ndarray], made: Answer) -> None:
    for name, value in found.items():
        if stage["wanted"] is not None and name not in stage["wanted"]:
            continue
        key, value = f"{stage['label']}/{name}", np.asarray(value)
        made.shapes[key] = list(value.shape)
        numeric = value.dtype.kind in "fiub"
        made.summaries[key] = recipe.summary(value) if numeric and value.size else [0.0, 0.0, 0.0]
        made.finite[key] = bool(np.isfinite(value).all()) if value.dtype.kind == "f" else True
        limits = stage["limits"]
        made.arrays[key] = value if limits is None else recipe.sample(value, max(limits[name], 2))


def _versions(side: str) -> dict[str, str]:
    return {side: str(getattr(sys.modules.get(side), "__version__", ""))}


def main(path: Path) -> None:
    """Answer the request in this process."""
    content = json.loads(path.read_text())
    if content["side"] == "torch":
        import torch

        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        torch.backends.mkldnn.enabled = content["variant"].get("onednn", True)
    answer(content, path.parent)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
