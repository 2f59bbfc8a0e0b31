"""Cases: manifests in the form of ``alignment/golden/README.md``, with or without recorded values."""
from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from alignment import recipe

# Which step of the reproduction guide a stage belongs to; a case may add names of its own (``STEPS``).
STEPS = {
    "data": ("sampling", "transform", "tokens", "mel", "decode", "mask", "scribble", "pairs"),
    "forward": ("forward", "views", "forward_full", "evaluate", "postprocess"),
    "metric": ("metric",),
    "loss": ("loss",),
    "backward": ("backward", "backward_train", "bn_stats"),
    "train": ("train", "short_training", "schedule"),
}


@dataclass(frozen=True)
class Run:
    """One stage of one case in one dtype: all that a side needs to compute its arrays."""

    manifest: dict[str, Any]
    name: str  # of the stage, without a trailing 64
    dtype: str  # float32 or float64: the precision of the network
    wanted: list[str] | None = None  # names to produce (without ``stage/``); None: everything the stage has
    jitter: int | None = None  # seed of a shift of inputs and weights by at most half a unit in the last place
    store: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)  # shared by the runs of a process
    networks: dict[tuple, Any] = field(default_factory=dict, repr=False, compare=False)  # of the runs of one request

    @property
    def config(self) -> dict[str, Any]:
        """Architecture arguments under upstream's names."""
        return self.manifest["config"]

    @property
    def stage(self) -> dict[str, Any]:
        """The manifest's entry of this stage; the float64 twin's entry repeats only what differs."""
        stages = self.manifest["stages"]
        twin = stages.get(f"{self.name}64", {}) if self.dtype == "float64" else {}
        return {**stages.get(self.name, {}), **twin}

    @property
    def network(self) -> str:
        return self.manifest.get("network") or self.manifest["system"]

    @cached_property
    def inputs(self) -> dict[str, np.ndarray]:
        """The recipe's inputs. Floats are made as float32 values and, for a float64 run, upcast."""
        made = recipe.inputs(self.manifest)
        floats = [name for name, array in made.items() if array.dtype == np.float32]
        if self.jitter is not None:
            made.update(jittered({name: made[name] for name in floats}, self.jitter))
        return {name: array.astype(self.dtype) if name in floats else array for name, array in made.items()}

    @cached_property
    def state(self) -> Mapping[str, np.ndarray]:
        """The recipe's weights by upstream name, floats in the run's dtype; each a copy, made when asked for."""
        if "state" not in self.store:
            self.store["state"] = recipe.state_dict(self.manifest)
        state = self.store["state"] if self.jitter is None else jittered(self.store["state"], self.jitter)
        return Cast(state, self.dtype)

    def companion(self, name: str) -> dict[str, np.ndarray]:
        """The recipe's weights of a further network of the same run."""
        return cast(recipe.state_dict(self.manifest["companions"][name]), self.dtype)

    def reading(self, build: Callable[[Run], Any]) -> Any:
        """The network in eval mode, for a stage that leaves it as it is; built once for such stages of a request."""
        if (self.dtype, build) not in self.networks:
            self.networks.clear()
            self.networks[self.dtype, build] = build(self)
        return self.networks[self.dtype, build]

    def taking(self, build: Callable[[Run], Any]) -> Any:
        """The network for a stage that changes it, if only by gradients: nobody gets it afterwards."""
        return self.networks.pop((self.dtype, build)) if (self.dtype, build) in self.networks else build(self)

    def wants(self, name: str) -> bool:
        """Whether the key ``name`` (without the stage) is asked for."""
        return self.wanted is None or name in self.wanted


def jittered(arrays: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """Float32 arrays moved by at most half a unit in the last place: as exact as the originals to a float32 network.

    A sum of products rounded in float32 is the exact sum for weights moved by such amounts, so that moving the weights
    stands for the rounding inside every layer.
    """
    draws = np.random.default_rng(seed)
    return {name: array if array.dtype != np.float32 else
            (array * (1 + draws.uniform(-(2.0**-24), 2.0**-24, array.shape))).astype("float32")
            for name, array in arrays.items()}


def cast(state: Mapping[str, np.ndarray], dtype: str) -> dict[str, np.ndarray]:
    """Floating arrays in ``dtype``, the others as they are."""
    return {name: array.astype(dtype) if array.dtype.kind == "f" else array for name, array in state.items()}


class Cast(Mapping):
    """Arrays of ``state`` as :func:`cast` makes them, one at a time: a network's float64 weights fill gigabytes.

    A network that is loaded casts by itself, which is exact from float32 upwards; see :func:`uncast`.
    """

    def __init__(self, state: Mapping[str, np.ndarray], dtype: str):
        self.before, self._dtype = state, dtype

    def __getitem__(self, name: str) -> np.ndarray:
        array = self.before[name]
        return array.astype(self._dtype) if array.dtype.kind == "f" else array.copy()

    def __iter__(self):
        return iter(self.before)

    def __len__(self) -> int:
        return len(self.before)

    def __contains__(self, name: object) -> bool:
        return name in self.before


def uncast(state: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """The arrays before a :class:`Cast`, for whoever casts while copying; any other mapping as it is."""
    return state.before if isinstance(state, Cast) else state


def split_stage(stage: str) -> tuple[str, str]:
    """``backward64`` -> (``backward``, ``float64``); ``backward`` -> (``backward``, ``float32``)."""
    return (stage[:-2], "float64") if stage.endswith("64") else (stage, "float32")


@dataclass(frozen=True)
class Bundle:
    """A folder with ``manifest.json`` and ``values.npz``: what the original computed."""

    folder: Path
    manifest: dict[str, Any]
    values: dict[str, np.ndarray]

    @classmethod
    def read(cls, folder: str | Path) -> Bundle:
        """Read and check a bundle.

        Raises:
            FileNotFoundError, ValueError: if a file is absent or the two do not describe the same keys.
        """
        folder = Path(folder)
        for name in ("manifest.json", "values.npz"):
            if not (folder / name).is_file():
                raise FileNotFoundError(f"{folder / name} is missing: "
                                        "a golden bundle holds manifest.json and values.npz")
        manifest = json.loads((folder / "manifest.json").read_text())
        needed = ("system", "case", "config", "inputs", "stages", "state", "arrays")
        absent = [key for key in needed if key not in manifest]
        if absent:
            raise ValueError(f"{folder / 'manifest.json'} lacks {', '.join(absent)}")
        with np.load(folder / "values.npz", allow_pickle=False) as file:
            values = {key: file[key] for key in file.files}
        if not values:
            raise ValueError(f"{folder / 'values.npz'} is empty: there is nothing to compare")
        if set(values) != set(manifest["arrays"]):
            odd = sorted(set(values) ^ set(manifest["arrays"]))
            raise ValueError(f"{folder}: values.npz and manifest.json disagree about {', '.join(odd[:5])}")
        return cls(folder, manifest, values)

    @property
    def stages(self) -> list[str]:
        """Stages that hold values, in the manifest's order (float32 before its float64 twin)."""
        present = {key.split("/", 1)[0] for key in self.values}
        listed = [stage for stage in self.manifest["stages"] if stage in present]
        return listed + sorted(present - set(listed))

    def keys(self, stage: str) -> list[str]:
        """Key names of a stage, without ``stage/``."""
        return [key.split("/", 1)[1] for key in self.values if key.split("/", 1)[0] == stage]

    def wanted(self, key: str) -> np.ndarray:
        """The recorded sample of ``key``."""
        return self.values[key].reshape(-1)

    def scale(self, key: str) -> float:
        """Largest magnitude of the whole recorded array."""
        return float(self.manifest["arrays"][key]["summary"][2])


def find_bundles(*folders: str | Path) -> list[Path]:
    """Every bundle in or below the folders, sorted.

    Raises:
        FileNotFoundError: if a folder is absent or holds no bundle.
    """
    found: list[Path] = []
    for folder in map(Path, folders):
        inside = sorted(path.parent for path in folder.rglob("manifest.json")) if folder.is_dir() else []
        if not inside:
            raise FileNotFoundError(f"{folder} holds no golden bundle (a folder with manifest.json and values.npz)")
        found += inside
    return found
