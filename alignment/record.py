"""Record the torch twin as a bundle in the golden form: ``python -m alignment record SYSTEM CASE DIR``.

Such a bundle freezes the twin's present behaviour for a later comparison (another machine, another version of torch).
It is no golden bundle of the original: its manifest says who computed it.
"""
from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from alignment import recipe, worker
from engine.files import atomic_write

GRADIENT_VALUES = 64  # kept of a gradient, recipe.SAMPLE_LIMIT of anything else


def record(manifest: dict[str, Any], folder: Path, stages: list[str] | None = None) -> Path:
    """Run the torch twin on a manifest in both precisions and write ``manifest.json`` and ``values.npz``.

    Args:
        manifest: as a case's ``manifests()`` makes it.
        folder: of the new bundle.
        stages: these only; None: all.

    Raises:
        RuntimeError: if the twin fails in a stage.
    """
    names = [name for name in manifest["stages"] if stages is None or name in stages]
    dtypes = {"": "float32"} if manifest.get("state") == [] else {"": "float32", "64": "float64"}
    requests = [{"label": f"{name}{suffix}", "name": name, "dtype": dtype, "wanted": None, "limits": None}
                for name in names for suffix, dtype in dtypes.items()]
    answer = worker.ask("torch", manifest, requests, fill_state="state" not in manifest)
    if answer.errors:
        raise RuntimeError("\n".join(f"stage {stage} stopped:\n{error}" for stage, error in answer.errors.items()))
    state = manifest.get("state", answer.state)
    twins = {request["label"]: manifest["stages"][request["name"]] for request in requests}
    described = {**manifest, "state": state, "stages": twins,
                 "upstream": {"repository": "torch twin", "torch": answer.revision.get("torch", "")}, "arrays": {}}
    values = {}
    for key, array in answer.arrays.items():
        described["arrays"][key] = {"shape": answer.shapes[key], "dtype": str(array.dtype),
                                    "summary": answer.summaries[key]}
        values[key] = recipe.sample(array, GRADIENT_VALUES if "/grad:" in key else recipe.SAMPLE_LIMIT)
    with atomic_write(folder / "values.npz", "wb") as file:
        np.savez_compressed(file, **values)
    with atomic_write(folder / "manifest.json") as file:
        json.dump(described, file, indent=1)
    return folder


def record_command(arguments: list[str]) -> int:
    """Run the command; the exit status is 2 for unusable arguments."""
    parser = argparse.ArgumentParser(prog="python -m alignment record",
                                     description="write what the torch twin computes as a bundle")
    parser.add_argument("system")
    parser.add_argument("case", help="a built-in case of the system")
    parser.add_argument("folder", metavar="DIR", type=Path, help="of the new bundle")
    options = parser.parse_args(arguments)
    try:
        manifests = importlib.import_module(f"alignment.cases.{options.system}").manifests()
    except ModuleNotFoundError:
        parser.error(f"{options.system} has no alignment cases")
    manifests = [manifest for manifest in manifests if "prepare" not in manifest]  # a bundle holds no data set
    found = [manifest for manifest in manifests if manifest["case"] == options.case]
    if not found:
        parser.error(f"{options.system} has no case {options.case}; "
                     f"it has {', '.join(manifest['case'] for manifest in manifests)}")
    record(found[0], options.folder)
    return 0
