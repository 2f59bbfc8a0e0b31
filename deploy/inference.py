"""Run an exported graph with Paddle's inference engine: NumPy arrays in, NumPy arrays out."""
from __future__ import annotations

import platform
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import inference as engine

import models  # noqa: F401 - chooses the kernels of Paddle's CPU library, also for exported graphs
from deploy import faults
from deploy.model_files import ModelFiles, find_model

PRECISIONS = ("fp32", "fp16", "bf16")
BF16_FLAGS = ("avx512_bf16", "amx_bf16")


class Predictor:
    """An exported graph, ready to run at any batch size.

    Args:
        where: folder, stem, ``.json`` or ``.pdmodel`` file.
        graph: name of the graph in a folder that holds several.
        weights: the ``.pdiparams`` file where it is not beside the program.
        device: ``cpu`` or ``gpu`` (``gpu:1`` for the second card).
        onednn: use oneDNN on a CPU. Paddle has it on by default; False really switches it off.
        threads: of the CPU's mathematical library.
        precision: ``fp32``; ``bf16`` on a CPU that calculates in it; ``fp16`` on a GPU (not run by us).
        memory_optim: let activations share memory.
        ir_optim: let the engine fuse operators.
        check_sums: compare the files with ``deploy.yaml``.
        gpu_memory: MB that the engine takes on a GPU at first; it grows.

    Attributes:
        inputs, outputs: names, outputs as ``deploy.yaml`` has them (else the engine's own).
        notes: what was done about faults of the engine, in words; empty if nothing was.
        settings: what really is in force, as the engine reports it.

    Raises:
        FileNotFoundError, ValueError: see ``find_model`` and ``check_precision``.
    """

    def __init__(self, where: str | Path, *, graph: str = "inference", weights: str | Path | None = None,
                 device: str = "cpu", onednn: bool = True, threads: int = 1, precision: str = "fp32",
                 memory_optim: bool = False, ir_optim: bool = True, check_sums: bool = True, gpu_memory: int = 500):
        kind, card = parse_device(device)
        check_precision(precision, kind)
        if precision == "bf16" and not onednn:
            raise ValueError("precision bf16 on a CPU is oneDNN's; leave oneDNN on or use fp32")
        if threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        self.files = find_model(where, graph=graph, weights=weights)
        if check_sums:
            self.files.check_sums()
        self.notes: list[str] = []
        with tempfile.TemporaryDirectory(prefix="program-") as folder:
            uses_onednn = onednn and kind == "cpu"
            program = faults.program_for_onednn(self.files, Path(folder), self.notes) if uses_onednn else None
            self.config = engine.Config(str(program or self.files.program), str(self.files.weights))
            self.config.disable_glog_info()
            self.config.switch_ir_optim(ir_optim)
            if kind == "gpu":
                self._use_gpu(card, precision, gpu_memory)
            else:
                self._use_cpu(onednn, threads, precision)
            if memory_optim:
                faults.enable_memory_optim(self.config, self.files, self.notes)
            self._predictor = engine.create_predictor(self.config)
        self.settings = read_settings(self.config, kind, precision, memory_optim)
        self.inputs: list[str] = self._predictor.get_input_names()
        self._raw_outputs: list[str] = self._predictor.get_output_names()
        named = [output["name"] for output in self.files.graph.get("outputs", [])]
        self.outputs: list[str] = named if len(named) == len(self._raw_outputs) else self._raw_outputs

    def _use_cpu(self, onednn: bool, threads: int, precision: str) -> None:
        self.config.disable_gpu()
        self.config.set_cpu_math_library_num_threads(threads)
        if onednn:
            self.config.enable_mkldnn()
        else:
            self.config.disable_mkldnn()  # on by default: not calling enable_mkldnn() is not enough
        if precision == "bf16":
            self.config.enable_mkldnn_bfloat16()

    def _use_gpu(self, card: int, precision: str, memory: int) -> None:
        if not paddle.is_compiled_with_cuda():
            raise ValueError("this Paddle was built for the CPU only, so --device gpu cannot work; install "
                             "requirements-gpu.txt or use --device cpu")
        mode = engine.PrecisionType.Half if precision == "fp16" else engine.PrecisionType.Float32
        self.config.enable_use_gpu(memory, card, mode)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run one batch.

        Args:
            inputs: input name -> array; the dtype is cast where no information is lost.

        Returns:
            Output name -> array.

        Raises:
            ValueError: a missing or unknown input, a wrong number of axes, a wrong fixed side or dtype.
        """
        if sorted(inputs) != sorted(self.inputs):
            raise ValueError(f"{self.files.program} takes the inputs {self.inputs}, got {sorted(inputs)}")
        for name in self.inputs:
            handle = self._predictor.get_input_handle(name)
            handle.copy_from_cpu(self._checked(name, np.asarray(inputs[name])))
        self._run_engine()
        return {name: self._predictor.get_output_handle(raw).copy_to_cpu()
                for name, raw in zip(self.outputs, self._raw_outputs, strict=True)}

    def _run_engine(self) -> None:
        try:
            self._predictor.run()
        except RuntimeError as error:
            if self.settings["precision"] != "bf16":
                raise
            raise ValueError(f"oneDNN cannot run {self.files.program} in bf16 on this CPU ({error}); "
                             f"use fp32") from error

    def _checked(self, name: str, value: np.ndarray) -> np.ndarray:
        spec = next((item for item in self.files.graph.get("inputs", []) if item["name"] == name), None)
        if spec is None:
            return np.ascontiguousarray(value)
        shape = spec["shape"]
        if value.ndim != len(shape) or any(want not in (-1, got) for want, got in zip(shape, value.shape, strict=True)):
            raise ValueError(f"input {name} of {self.files.program} has the shape {list(value.shape)}, expected "
                             f"{shape} (-1: any)")
        if 0 in value.shape:
            raise ValueError(f"input {name} is empty: shape {list(value.shape)}")
        if not np.can_cast(value.dtype, spec["dtype"], casting="same_kind"):
            raise ValueError(f"input {name} of {self.files.program} is {value.dtype}, expected {spec['dtype']}")
        return np.ascontiguousarray(value, dtype=spec["dtype"])


def parse_device(device: str) -> tuple[str, int]:
    """``cpu``, ``gpu`` or ``gpu:1`` -> kind and card number."""
    kind, _, card = device.partition(":")
    if kind not in ("cpu", "gpu") or (card and (kind == "cpu" or not card.isdigit())):
        raise ValueError(f"device {device!r}: expected cpu, gpu or gpu:NUMBER")
    return kind, int(card or 0)


def check_precision(precision: str, kind: str, flags: frozenset[str] | None = None) -> None:
    """Refuse a precision that this device does not calculate in.

    Args:
        precision: one of ``PRECISIONS``.
        kind: ``cpu`` or ``gpu``.
        flags: the CPU's feature flags; None reads this machine's.

    Raises:
        ValueError: with the reason and what works instead.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r}: expected one of {', '.join(PRECISIONS)}")
    if precision == "fp16" and kind == "cpu":
        raise ValueError("precision fp16 needs a GPU; on a CPU use fp32, or bf16 where the CPU has AVX512-BF16 or AMX")
    if precision == "bf16" and kind == "gpu":
        raise ValueError("precision bf16 is for CPUs; on a GPU use fp32 or fp16")
    if precision == "bf16":
        flags = cpu_flags() if flags is None else flags
        if not flags.intersection(BF16_FLAGS):
            raise ValueError(f"precision bf16 needs a CPU with {' or '.join(BF16_FLAGS)}; this one "
                             f"({platform.machine()}) has neither: emulation would be slower than fp32. Use fp32")


def cpu_flags() -> frozenset[str]:
    """Feature flags of the first CPU; empty where the system does not list them (then bf16 is refused)."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return frozenset()
    for line in path.read_text("utf-8", "replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def read_settings(config, kind: str, precision: str, memory_optim: bool) -> dict[str, Any]:
    """What the engine says is in force, under the names of auto_log's report."""
    return {"runtime_device": kind, "ir_optim": config.ir_optim(), "enable_memory_optim": memory_optim,
            "enable_tensorrt": config.tensorrt_engine_enabled(), "enable_mkldnn": config.mkldnn_enabled(),
            "cpu_math_library_num_threads": config.cpu_math_library_num_threads(), "precision": precision}


@dataclass(frozen=True)
class Moved:
    """How far one output lies from its reference.

    Attributes:
        largest: maximum of |value - reference|.
        relative: ``largest`` over the maximum of |reference| (or ``largest`` itself where that is 0).
        same_top1: share of rows whose largest entry stayed in place; None for outputs of fewer than 2 axes.
    """

    name: str
    largest: float
    relative: float
    same_top1: float | None

    def __str__(self) -> str:
        rows = "" if self.same_top1 is None else f", same top-1 in {100 * self.same_top1:.1f} %"
        return f"{self.name}: moved by {self.largest:.3e} at most, {self.relative:.3e} of its scale{rows}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def outputs_moved(values: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> list[Moved]:
    """Compare outputs with those of another run (fp32 for bf16, eager for exported), name by name.

    Raises:
        ValueError: other names, other shapes, or a value that is not finite: no distance describes those.
    """
    if sorted(values) != sorted(reference):
        raise ValueError(f"outputs {sorted(values)} cannot be compared with {sorted(reference)}")
    return [_moved(name, np.asarray(values[name]), np.asarray(reference[name])) for name in reference]


def _moved(name: str, value: np.ndarray, reference: np.ndarray) -> Moved:
    if value.shape != reference.shape:
        raise ValueError(f"output {name} has the shape {list(value.shape)}, the reference {list(reference.shape)}")
    if not (np.isfinite(value).all() and np.isfinite(reference).all()):
        raise ValueError(f"output {name} or its reference holds values that are not finite")
    value, reference = value.astype(np.float64), reference.astype(np.float64)
    largest = float(np.abs(value - reference).max(initial=0.0))
    scale = float(np.abs(reference).max(initial=0.0))
    same = None
    if value.ndim >= 2 and value.size:
        same = float((value.argmax(-1) == reference.argmax(-1)).mean())
    return Moved(name, largest, largest / scale if scale else largest, same)


__all__ = ["ModelFiles", "Moved", "Predictor", "check_precision", "cpu_flags", "find_model", "outputs_moved"]
