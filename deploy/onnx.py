"""ONNX beside an exported graph, by paddle2onnx; checked with onnxruntime. Both packages are optional.

paddle2onnx runs in a process of its own: on an operator that it cannot convert it aborts the whole process.
"""
from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from deploy.files import atomic_write
from deploy.inference import Moved, outputs_moved
from deploy.model_files import ModelFiles, find_model

OPSET = 16  # the first with grid_sample
TIMEOUT = 600  # seconds

CONVERT = """
import sys
import paddle2onnx
program, weights, target, opset = sys.argv[1:]
paddle2onnx.export(program, weights, target, opset_version=int(opset), enable_onnx_checker=True)
"""


class MissingPackage(ValueError):
    """An optional package is not installed."""


def require(package: str, purpose: str) -> None:
    """Raise ``MissingPackage`` with the command that installs ``package``."""
    if importlib.util.find_spec(package) is None:
        raise MissingPackage(f"{purpose} needs the optional package {package}: pip install {package}")


def export_onnx(where: str | Path, *, graph: str = "inference", target: str | Path | None = None,
                opset: int = OPSET) -> Path:
    """Convert an exported graph.

    Args:
        where: folder, stem or program file; see ``find_model``.
        graph: name in a folder of several graphs.
        target: the file to write; default: the graph's name with ``.onnx`` beside it.
        opset: version of the ONNX operators.

    Returns:
        The written file.

    Raises:
        MissingPackage: paddle2onnx is not installed.
        ValueError: it could not convert the graph, or not in ``TIMEOUT``; the message ends with its last lines.
    """
    require("paddle2onnx", "ONNX export")
    files = find_model(where, graph=graph)
    target = Path(target) if target is not None else files.program.with_suffix(".onnx")
    with atomic_write(target) as temporary:
        command = [sys.executable, "-c", CONVERT, str(files.program), str(files.weights), str(temporary), str(opset)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        except subprocess.TimeoutExpired as error:
            raise ValueError(f"paddle2onnx did not convert {files.program} in {TIMEOUT} seconds") from error
        if done.returncode or not temporary.stat().st_size:
            raise ValueError(f"paddle2onnx could not convert {files.program} (status {done.returncode}):\n"
                             f"{_last_lines(done.stdout + done.stderr)}{_advice(files)}")
    return target


def export_all_onnx(where: str | Path, graphs: Iterable[str], *, opset: int = OPSET) -> Iterator[Path]:
    """Convert graphs of a folder one after the other; one that cannot be converted does not keep back the others.

    Yields:
        Each written file, as soon as it is written.

    Raises:
        MissingPackage: paddle2onnx is not installed.
        ValueError: at the end, if some could not be converted; the message names each of them with its reason.
    """
    graphs, failures = list(graphs), {}
    require("paddle2onnx", "ONNX export")
    for graph in graphs:
        try:
            yield export_onnx(where, graph=graph, opset=opset)
        except ValueError as error:
            failures[graph] = str(error)
    if failures:
        reasons = "".join(f"\n{graph}: {reason}" for graph, reason in failures.items())
        raise ValueError(f"{len(failures)} of {len(graphs)} graphs have no ONNX form ({', '.join(failures)}):{reasons}")


def run_onnx(path: str | Path, inputs: Mapping[str, np.ndarray], *, threads: int = 1) -> list[np.ndarray]:
    """Outputs of an ONNX file, in its order, by onnxruntime on the CPU.

    Raises:
        MissingPackage: onnxruntime is not installed.
    """
    require("onnxruntime", "running an ONNX file")
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(inputs))


def check_onnx(path: str | Path, inputs: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], *,
               tolerance: float = 1e-5) -> list[Moved]:
    """Compare an ONNX file's outputs with the eager network's (of the same order).

    Raises:
        ValueError: an output is further away than ``tolerance`` of its scale.
    """
    values = run_onnx(path, inputs)
    moved = outputs_moved(dict(zip(expected, values, strict=True)), expected)
    far = [str(entry) for entry in moved if entry.relative > tolerance]
    if far:
        raise ValueError(f"{path} differs from the network by more than {tolerance:g}: {'; '.join(far)}")
    return moved


def _last_lines(text: str, count: int = 12) -> str:
    return "\n".join(text.strip().splitlines()[-count:])


def _advice(files: ModelFiles) -> str:
    if {"1.bilinear_interp", "1.nearest_interp", "1.bicubic_interp"} & files.operators:
        return ("\nThe graph interpolates: paddle2onnx 2.1 aborts on interpolate(scale_factor=...); "
                "export the network with size=... instead")
    return ""
