"""The benchmark report of Paddle's continuous integration (AutoLog 1.2's lines), without its faults.

AutoLog is not on the package index. ``open_logger`` uses it where it is installed; otherwise ``BenchmarkLogger``
prints the same lines, and differs where AutoLog is wrong: the memory is the peak, not the sample taken at start;
``data_num`` does not count warm-up calls; ``enable_memory_optim`` tells the truth; ``report`` does not end the process.
"""
from __future__ import annotations

import logging
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from deploy.memory import peak_memory

STAGES = ("preprocess_time", "inference_time", "postprocess_time")
API_VERSION = "1.0"


class Times:
    """Seconds spent in each stage of each call.

    ``start()`` begins a call, ``stamp()`` ends one of its stages, ``end(stamp=True)`` ends the last stage and the call.
    """

    def __init__(self, warmup: int = 0):
        self.warmup = warmup
        self.calls: list[list[float]] = []
        self._stamps: list[float] = []

    def start(self) -> None:
        self._stamps = [time.perf_counter()]

    def stamp(self) -> None:
        if not self._stamps:
            raise ValueError("times.stamp() without times.start()")
        self._stamps.append(time.perf_counter())

    def end(self, stamp: bool = True) -> None:
        if stamp:
            self.stamp()
        stages = np.diff(self._stamps).tolist()
        if len(stages) != len(STAGES):
            raise ValueError(f"a call has the stages {', '.join(STAGES)}, but {len(stages)} were stamped")
        self.calls.append(stages)
        self._stamps = []

    @property
    def counted(self) -> np.ndarray:
        """Calls after the warm-up, ``[calls, 3]`` seconds; empty before the first."""
        return np.asarray(self.calls[self.warmup:], dtype=np.float64).reshape(-1, len(STAGES))


class BenchmarkLogger:
    """Measures calls and prints AutoLog's report.

    Args:
        model_name, model_precision, batch_size, data_shape: printed as given.
        settings: what is in force, e.g. ``Predictor.settings``.
        warmup: calls that are not counted.
        save_path: the report also goes to this file.
    """

    def __init__(self, model_name: str, model_precision: str = "fp32", batch_size: int = 1,
                 data_shape: str = "dynamic", *, settings: Mapping[str, Any], warmup: int = 0,
                 save_path: str | Path | None = None):
        self.model_name, self.precision = model_name, model_precision
        self.batch_size, self.data_shape = batch_size, data_shape
        self.settings, self.save_path = settings, save_path
        self.times = Times(warmup)

    def report(self, identifier: str | None = None) -> list[str]:
        """Write the report to standard output and ``save_path``.

        Returns:
            The lines without their time stamps.

        Raises:
            ValueError: no call after the warm-up was measured.
        """
        lines = self.lines(f"[{identifier}] " if identifier else " ")
        logger = logging.Logger("root")  # AutoLog's prefix says root; the real root logger is left alone
        form = logging.Formatter("[%(asctime)s] %(name)s %(levelname)s: %(message)s", "%Y/%m/%d %H:%M:%S")
        handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)]
        if self.save_path is not None:
            Path(self.save_path).parent.mkdir(parents=True, exist_ok=True)
            handlers.append(logging.FileHandler(self.save_path, "w", "utf-8"))
        for handler in handlers:
            handler.setFormatter(form)
            logger.addHandler(handler)
        for line in lines:
            logger.info(line)
        for handler in handlers:
            handler.flush()
            if isinstance(handler, logging.FileHandler):
                handler.close()
        return lines

    def lines(self, prefix: str = " ") -> list[str]:
        """The report's lines; ``prefix`` stands before all but the section titles."""
        calls = self.times.counted
        if not len(calls):
            raise ValueError(f"nothing to report: {len(self.times.calls)} calls measured, {self.times.warmup} of "
                             f"them warm-up")
        stages = ", ".join(f"{stage}(ms): {seconds * 1000:.4f}"
                           for stage, seconds in zip(STAGES, calls.mean(0), strict=True))
        conf = {key: self.settings.get(key) for key in (
            "runtime_device", "ir_optim", "enable_memory_optim", "enable_tensorrt", "enable_mkldnn",
            "cpu_math_library_num_threads")}
        sections = [
            ("---------------------- Env info ----------------------", environment()),
            ("---------------------- Paddle info ----------------------", {
                "paddle_version": paddle.__version__, "paddle_commit": paddle.__git_commit__,
                "log_api_version": API_VERSION}),
            ("----------------------- Conf info -----------------------", conf),
            ("----------------------- Model info ----------------------", {
                "model_name": self.model_name, "precision": self.precision}),
            ("----------------------- Data info -----------------------", {
                "batch_size": self.batch_size, "input_shape": self.data_shape, "data_num": len(calls)}),
        ]
        lines = []
        for title, values in sections:
            lines += [title, *(f"{prefix}{key}: {value}" for key, value in values.items())]
        return [*lines, "----------------------- Perf info -----------------------",
                f"{prefix}cpu_rss(MB): {peak_memory():.4f}, gpu_rss(MB): None, gpu_util: None%",
                f"{prefix}total time spent(s): {calls.sum():.4f}", f"{prefix}{stages}"]


class PackageLogger:
    """The installed AutoLog, whose ``report`` must not end the process."""

    def __init__(self, package, model_name: str, model_precision: str, batch_size: int, data_shape: str, *,
                 config, warmup: int, save_path: str | Path | None):
        self._logger = package.AutoLogger(
            model_name=model_name, model_precision=model_precision, batch_size=batch_size, data_shape=data_shape,
            save_path=None if save_path is None else str(save_path), inference_config=config, time_keys=list(STAGES),
            warmup=warmup)
        self.times = self._logger.times

    def report(self, identifier: str | None = None) -> None:
        try:
            self._logger.report(identifier)
        except SystemExit as end:  # AutoLog 1.2 ends every report with sys.exit(0)
            if end.code:
                raise


def open_logger(model_name: str, *, predictor, precision: str, batch_size: int, data_shape: str, warmup: int,
                save_path: str | Path | None = None) -> BenchmarkLogger | PackageLogger:
    """A logger with ``times`` and ``report()``: AutoLog's own where it is installed, else ours.

    ``predictor`` is a ``deploy.inference.Predictor``: its settings and its engine's configuration are reported.
    """
    try:
        import auto_log
    except ImportError:
        return BenchmarkLogger(model_name, precision, batch_size, data_shape, settings=predictor.settings,
                               warmup=warmup, save_path=save_path)
    return PackageLogger(auto_log, model_name, precision, batch_size, data_shape, config=predictor.config,
                         warmup=warmup, save_path=save_path)


def environment() -> dict[str, Any]:
    """Operating system and, with a GPU build, its libraries. AutoLog spells ``drivier_version`` so."""
    cuda = paddle.version.cuda() if paddle.is_compiled_with_cuda() else None
    cudnn = paddle.version.cudnn() if paddle.is_compiled_with_cuda() else None
    return {"OS_version": operating_system(), "CUDA_version": cuda, "CUDNN_version": cudnn, "drivier_version": None}


def operating_system() -> str:
    try:
        release = platform.freedesktop_os_release()
    except OSError:  # not Linux, or a Linux without /etc/os-release
        return f"{platform.system()} {platform.release()}"
    return f"{release.get('NAME', 'Linux')} {release.get('VERSION_ID', '')}".strip()


def shape_text(shape: Sequence[int]) -> str:
    """``[1, 16, 3, 224, 224]`` as ``1,16,3,224,224``, the form AutoLog's readers expect."""
    return ",".join(str(size) for size in shape)
