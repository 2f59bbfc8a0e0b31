"""Static graphs of a system and the file that says how to use them.

A folder holds ``NAME.json`` (the program) and ``NAME.pdiparams`` (its weights) for every graph, and ``deploy.yaml``:
inputs, shapes, dtypes, outputs, preprocessing, labels, versions, how graphs are chained, and the files' sums.
A single graph is called ``inference``, as in Paddle's own tools.
"""
from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import yaml
from paddle.static import InputSpec

from deploy.files import atomic_files, sha256

DESCRIPTION = "deploy.yaml"
FORMAT = 1  # of deploy.yaml
RESERVED = ("format", "paddle", "exported", "graphs")


@dataclass(frozen=True)
class Graph:
    """What is saved under one name.

    Attributes:
        layer: its ``forward`` takes the inputs in order and returns a tensor, a list, a tuple or a dict of tensors.
        inputs: one named ``InputSpec`` per argument; -1 or None marks a dimension that may vary.
        outputs: names in the order in which ``forward`` returns them; of a dict: its keys, in the order wanted.
    """

    layer: paddle.nn.Layer
    inputs: Sequence[InputSpec]
    outputs: Sequence[str]

    def run(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Run the layer eagerly, in eval mode and without gradients, on arrays named as the inputs."""
        wanted = [spec.name for spec in self.inputs]
        if sorted(wanted) != sorted(inputs):
            raise ValueError(f"the graph takes the inputs {wanted}, got {sorted(inputs)}")
        training = self.layer.training
        self.layer.eval()
        try:
            with paddle.no_grad():
                values = self.in_order(self.layer(*(paddle.to_tensor(inputs[name]) for name in wanted)))
        finally:
            if training:
                self.layer.train()
        return {name: value.numpy() for name, value in zip(self.outputs, values, strict=True)}

    def in_order(self, values) -> list:
        """What ``layer`` returned as a flat list in the order of ``outputs``."""
        title = type(self.layer).__name__
        if isinstance(values, Mapping):
            if sorted(values) != sorted(self.outputs):
                raise ValueError(f"{title} returns {sorted(values)} but Graph.outputs names {list(self.outputs)}")
            return [values[name] for name in self.outputs]
        values = flatten(values)
        if len(values) != len(self.outputs):
            raise ValueError(f"{title} returns {len(values)} tensors but Graph.outputs names "
                             f"{len(self.outputs)}: {list(self.outputs)}")
        return values


class _Ordered(paddle.nn.Layer):
    """Returns a graph's outputs as a list: Paddle would save a dict's values sorted by key."""

    def __init__(self, graph: Graph):
        super().__init__()
        self.layer = graph.layer
        self.in_order = graph.in_order

    def forward(self, inputs):  # one list, as Paddle traces no *inputs
        return self.in_order(self.layer(*inputs))


def flatten(values) -> list:
    """A tensor, or a (nested) list or tuple of tensors, as one flat list."""
    if isinstance(values, list | tuple):
        return [tensor for value in values for tensor in flatten(value)]
    return [values]


def export(graphs: Mapping[str, Graph], folder: str | Path, description: Mapping[str, Any]) -> Path:
    """Write the graphs and ``deploy.yaml`` into ``folder``: all of them, or nothing if one fails.

    Args:
        graphs: name -> graph. One graph is written as ``inference`` whatever its name.
        folder: made if needed; files of an earlier export are replaced, other files stay.
        description: plain data for ``deploy.yaml``: ``system``, ``preprocessing``, ``labels``, ``chain`` ...

    Returns:
        The path of ``deploy.yaml``.

    Raises:
        ValueError: no graph, unnamed or doubled inputs, a wrong number of outputs, a description that is not
            plain data or uses a key that is ours.
    """
    folder = Path(folder)
    graphs = check_graphs(graphs)
    taken = [key for key in RESERVED if key in description]
    if taken:
        raise ValueError(f"the description holds {taken}, which export writes itself; rename them")
    document = {"format": FORMAT, "paddle": paddle.__version__,
                "exported": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                **plain(description), "graphs": {}}
    with atomic_files(folder, last=DESCRIPTION, stale=earlier_files(folder)) as work:
        for name, graph in graphs.items():
            document["graphs"][name] = save_graph(name, graph, work)
        (work / DESCRIPTION).write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), "utf-8")
    return folder / DESCRIPTION


def check_graphs(graphs: Mapping[str, Graph]) -> dict[str, Graph]:
    if not graphs:
        raise ValueError("nothing to export: the system offers no inference graph")
    for name, graph in graphs.items():
        names = [spec.name for spec in graph.inputs]
        if None in names or len(set(names)) != len(names):
            raise ValueError(f"graph {name}: every input needs a name of its own, got {names}")
        if len(set(graph.outputs)) != len(graph.outputs):
            raise ValueError(f"graph {name}: output names must differ, got {list(graph.outputs)}")
        if Path(name).name != name or name.startswith("."):
            raise ValueError(f"graph name {name!r} cannot be a file name")
    if len(graphs) == 1:
        return {"inference": next(iter(graphs.values()))}
    return dict(graphs)


def save_graph(name: str, graph: Graph, folder: Path) -> dict[str, Any]:
    """Trace one graph, save it, return its part of ``deploy.yaml``."""
    training = graph.layer.training
    graph.layer.eval()
    try:
        static = paddle.jit.to_static(_Ordered(graph), input_spec=[list(graph.inputs)], full_graph=True)
        static.eval()
        traced = flatten(static.forward.concrete_program.outputs)
        paddle.jit.save(static, str(folder / name))
    finally:
        if training:
            graph.layer.train()
    outputs = [{"name": output, "shape": [int(size) for size in value.shape], "dtype": dtype_name(value.dtype)}
               for output, value in zip(graph.outputs, traced, strict=True)]
    files = sorted(path.name for path in folder.iterdir() if path.stem == name)
    return {
        "inputs": [{"name": spec.name, "shape": [-1 if size is None else int(size) for size in spec.shape],
                    "dtype": dtype_name(spec.dtype)} for spec in graph.inputs],
        "outputs": outputs,
        "files": {file: sha256(folder / file) for file in files},
    }


def earlier_files(folder: Path) -> list[str]:
    """Files that an earlier export listed in its ``deploy.yaml``; they would outlive it under another graph name."""
    path = folder / DESCRIPTION
    if not path.is_file():
        return []
    graphs = read_description(path).get("graphs", {})
    return [name for graph in graphs.values() for name in graph.get("files", {}) if Path(name).name == name]


def read_description(path: str | Path) -> dict[str, Any]:
    """Read a ``deploy.yaml``.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is not one of ours or of a later format.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; export_model.py writes it beside the graphs")
    try:
        document = yaml.safe_load(path.read_text("utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML ({error}); export again") from error
    if not isinstance(document, dict) or "graphs" not in document:
        raise ValueError(f"{path} has no 'graphs' section, so export_model.py did not write it; export again")
    if document.get("format") != FORMAT:
        raise ValueError(f"{path} has format {document.get('format')!r}, this version reads {FORMAT}; export again")
    return document


def plain(value: Any, where: str = "description") -> Any:
    """``value`` with tuples as lists and NumPy scalars as numbers; anything that YAML cannot hold is an error."""
    if isinstance(value, Mapping):
        return {str(key): plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, np.ndarray):
        return plain(value.tolist(), where)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"{where} is a {type(value).__name__}; {DESCRIPTION} holds numbers, strings, lists and mappings")


def dtype_name(dtype) -> str:
    return str(dtype).rpartition(".")[2].lower()
