"""A system made up for these tests: its sides answer from a table, without processes or networks."""
from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from alignment import recipe, worker
from alignment.compare import Allowance

STATE = [["first.weight", [3, 2], "float32"], ["second.weight", [2, 3], "float32"]]


class Arrays(dict):
    """Arrays in memory with the interface of those on disk."""

    def close(self) -> None:
        pass


def make_answer(arrays, errors=None, state=None):
    """An answer as a side would have given it."""
    return worker.Answer(
        Arrays(arrays), {key: list(array.shape) for key, array in arrays.items()},
        {key: recipe.summary(array) if array.dtype.kind in "fiub" and array.size else [0.0] * 3
         for key, array in arrays.items()},
        {key: bool(np.isfinite(array).all()) if array.dtype.kind == "f" else True for key, array in arrays.items()},
        {}, state, errors or {}, {})


class MadeUp:
    """Values by stage and name in float64; ``change`` alters what the Paddle side gives."""

    def __init__(self):
        draw = np.random.default_rng(0)
        self.values = {
            "forward": {"a": draw.normal(size=(2, 3)), "b": draw.normal(size=(2, 3)), "head": draw.normal(size=5)},
            "backward": {"loss": np.array(0.7), "grad:first.weight": draw.normal(size=(3, 2)),
                         "grad:second.weight": draw.normal(size=(2, 3)), "grad:input": draw.normal(size=(2, 2))},
            "train": {"losses": np.array([0.9, 0.8, 0.7, 0.6]), "rates": np.array([0.1, 0.1, 0.05, 0.05])},
            "metric": {"hits": np.array([3, 1], np.int64)},
        }
        self.change = lambda side, dtype, stage, arrays: arrays
        self.errors: dict[tuple[str, str], str] = {}
        self.asked: list[tuple[str, dict]] = []

    def manifest(self, **changes):
        return {"system": "madeup", "case": "small", "network": "madeup", "config": {}, "salt": "s", "inputs": {},
                "stages": {name: {"mode": "eval"} for name in self.values}, **changes}

    def ask(self, side, manifest, stages, *, fill_state=False, variant=None, folder=None):
        self.asked.append((side, {"variant": variant, "stages": [stage["label"] for stage in stages]}))
        arrays, errors = {}, {}
        for stage in stages:
            if (side, stage["name"]) in self.errors:
                errors[stage["label"]] = self.errors[side, stage["name"]]
                continue
            made = {name: value.astype(stage["dtype"]) if value.dtype.kind == "f" and name != "rates" else value.copy()
                    for name, value in self.values[stage["name"]].items()}
            made = self.change(side, stage["dtype"], stage["name"], made)
            arrays.update({f"{stage['label']}/{name}": value for name, value in made.items()})
        return make_answer(arrays, errors, STATE if fill_state else None)


@pytest.fixture
def madeup(monkeypatch):
    """The made-up system in place of real sides."""
    system = MadeUp()
    case = SimpleNamespace(SYSTEM="madeup", STEPS={}, ONLY_IN_TWIN=(), manifests=lambda: [system.manifest()],
                           allowances=lambda manifest: system.allowances)
    system.case, system.allowances = case, []
    system.allow = lambda *args, **kwargs: system.allowances.append(Allowance(*args, **kwargs))
    monkeypatch.setitem(sys.modules, "alignment.cases.madeup", case)
    monkeypatch.setattr(worker, "ask", system.ask)
    return system
