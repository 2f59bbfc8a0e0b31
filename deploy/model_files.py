"""Which files make up an exported graph, and what is in its program."""
from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from deploy.export import DESCRIPTION, read_description
from deploy.files import sha256

PROGRAMS = (".json", ".pdmodel")  # Paddle 3's form, Paddle 2's form
WEIGHTS = ".pdiparams"


@dataclass(frozen=True)
class ModelFiles:
    """A program, its weights and, where ``export_model.py`` made them, their part of ``deploy.yaml``."""

    program: Path
    weights: Path
    description: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.program.stem

    @property
    def graph(self) -> dict[str, Any]:
        """This graph's inputs and outputs as ``deploy.yaml`` has them; empty without one."""
        return self.description.get("graphs", {}).get(self.name, {})

    @cached_property
    def operators(self) -> frozenset[str]:
        """Operator names of a ``.json`` program, e.g. ``1.bilinear_interp``; empty for the older binary form."""
        if self.program.suffix != ".json":
            return frozenset()
        try:
            document = json.loads(self.program.read_text("utf-8"))
            return frozenset(_operators(document["program"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.program} is not a program saved by Paddle 3 ({error}); export again") from error

    def check_sums(self) -> None:
        """Compare both files with the sums in ``deploy.yaml``.

        Raises:
            ValueError: a file is not the one that was exported together with the description.
        """
        for name, wanted in self.graph.get("files", {}).items():
            path = self.program.with_name(name)
            found = sha256(path) if path.is_file() else "no file"
            if found != wanted:
                raise ValueError(f"{path} is not the file that {DESCRIPTION} beside it describes "
                                 f"(sha256 {found[:12]}, wanted {wanted[:12]}); export again")


def find_model(where: str | Path, *, graph: str = "inference", weights: str | Path | None = None) -> ModelFiles:
    """Find an exported graph.

    Args:
        where: a folder that holds ``graph``, a stem (``output/inference``), a ``.json`` or a ``.pdmodel`` file. A
            file of one form stands for the other where only that one exists: old command lines name ``.pdmodel``.
        graph: name within a folder.
        weights: the ``.pdiparams`` file where it is not beside the program.

    Raises:
        FileNotFoundError: nothing there, or the program has no weights; says what is there instead.
    """
    where = Path(where)
    stem = where / graph if where.is_dir() else _stem(where)
    program = next((path for path in _candidates(where, stem) if path.is_file()), None)
    if program is None:
        raise FileNotFoundError(f"no exported graph at {stem}{{{','.join(PROGRAMS)}}}; {_what_is_there(stem.parent)}")
    weights = Path(weights) if weights is not None else with_suffix(stem, WEIGHTS)
    if not weights.is_file():
        raise FileNotFoundError(f"{program} has no weights: {weights} does not exist; {_what_is_there(weights.parent)}")
    description = program.with_name(DESCRIPTION)
    return ModelFiles(program, weights, read_description(description) if description.is_file() else {})


def with_suffix(stem: Path, suffix: str) -> Path:
    """Append ``suffix``; ``Path.with_suffix`` would cut ``v1.2`` in two."""
    return stem.with_name(stem.name + suffix)


def _stem(path: Path) -> Path:
    return path.with_suffix("") if path.suffix in (*PROGRAMS, WEIGHTS) else path


def _candidates(where: Path, stem: Path) -> list[Path]:
    named = [where] if where.suffix in PROGRAMS else []
    return named + [with_suffix(stem, suffix) for suffix in PROGRAMS]


def _what_is_there(folder: Path) -> str:
    if not folder.is_dir():
        return f"the folder {folder} does not exist. Write it with export_model.py --save_dir {folder}"
    stems = sorted({path.stem for path in folder.iterdir() if path.suffix in PROGRAMS})
    if stems:
        return f"the folder holds the graphs {', '.join(stems)}"
    return f"the folder holds no graph. Write one with export_model.py --save_dir {folder}"


def _operators(node: Any) -> Iterator[str]:
    """All operator names of a program, those inside loops and branches too."""
    if isinstance(node, dict):
        for operator in node.get("ops", []):
            yield operator["#"]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _operators(child)
