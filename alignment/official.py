"""The reproduction guide's own artefacts: ``forward_paddle.npy``, ``forward_ref.npy``, ``forward_diff.log`` and so on.

They let a reader repeat the customary acceptance with reprod_log itself. Its rule (mean absolute difference below
1e-6, shapes and dtypes unseen, NaN passing) is not ours: no verdict of this project rests on it.

``python -m alignment.official DIR [DIR ...]`` writes the logs of result folders, in a process of its own.
"""
from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from alignment import compare, processes
from alignment.results import GOLDEN, Outcome
from engine.files import atomic_write

THRESHOLD = 1e-6  # the guide's
PASSED, FAILED = "diff check passed", "diff check failed"
# File name of the arrays -> file name of the log; the guide calls the losses over iterations "backward".
POINTS = {"forward": "forward", "metric": "metric", "loss": "loss", "losses": "backward", "data": "data",
          "train_align": "train_align"}


def write(folder: Path, outcomes: list[Outcome]) -> dict[str, str]:
    """Write the arrays and logs of one system into ``folder`` (``DIR/SYSTEM/result``).

    Returns:
        By point: ``passed``, ``failed``, or ``error: ...`` where reprod_log itself gave up.

    Raises:
        RuntimeError: if the process that runs reprod_log fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for point in POINTS:
        ref, paddle = collect(point, outcomes)
        if ref or paddle:
            save(folder / f"{point}_ref.npy", ref)
            save(folder / f"{point}_paddle.npy", paddle)
    done = subprocess.run([sys.executable, "-m", "alignment.official", str(folder.resolve())], cwd=processes.ROOT,
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"reprod_log failed on {folder}:\n{done.stderr[-2000:]}")
    return {point: verdict(folder / "log" / f"{log}_diff.log") for point, log in POINTS.items()
            if (folder / f"{point}_ref.npy").exists()}


def collect(point: str, outcomes: list[Outcome]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(reference, Paddle) arrays of an acceptance point: float32 runs of the built-in cases, small tensors."""
    pick = {"losses": _iterations, "train_align": _after_training}.get(point, _plain(point))
    sides = []
    for side in ("ref", "paddle"):
        made: dict[str, np.ndarray] = {}
        for outcome in outcomes:
            if outcome.unit.source != GOLDEN:
                steps = {line.stage: line.step for line in outcome.lines}
                for key, array in outcome.kept.get(side, {}).items():
                    stage, name = key.split("/", 1)
                    if not stage.endswith("64"):
                        entries = pick(steps.get(stage, ""), name, array).items()
                        made.update({f"{outcome.unit.case}/{entry}": value for entry, value in entries})
        sides.append({name: comparable(array) for name, array in made.items()
                      if array.size and array.dtype.kind in "fiub"})
    return sides[0], sides[1]


def _plain(point: str) -> Callable[[str, str, np.ndarray], dict[str, np.ndarray]]:
    return lambda step, name, array: {name: array} if step == point else {}


def _iterations(step: str, name: str, array: np.ndarray) -> dict[str, np.ndarray]:
    series, _, group = name.partition(":")
    prefix = {"losses": "loss", "rates": f"lr:{group}" if group else "lr"}.get(series)
    if step != "train" or prefix is None or array.ndim != 1:
        return {}
    return {f"{prefix}_{index}": value for index, value in enumerate(np.split(array, array.size))}


def _after_training(step: str, name: str, array: np.ndarray) -> dict[str, np.ndarray]:
    if step != "train" or name.startswith("rates") or compare.group(f"train/{name}") is not None:
        return {}
    return {"final_loss": array[-1:]} if name == "losses" else {name: array}


def comparable(array: np.ndarray) -> np.ndarray:
    """Integers and booleans as int64: reprod_log subtracts as they are, so that uint8 wraps and booleans raise."""
    return array.astype(np.int64) if array.dtype.kind in "iub" else np.array(array)


def save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """A dictionary of arrays in reprod_log's own file form."""
    with atomic_write(path, "wb") as file:
        np.save(file, arrays, allow_pickle=True)


def verdict(log: Path) -> str:
    """The last word of a log: ``passed``, ``failed`` or ``error: ...``."""
    lines = log.read_text().strip().splitlines()
    last = lines[-1] if lines else "error: the log is empty"
    return "passed" if last.endswith(PASSED) else "failed" if last.endswith(FAILED) else last


def write_logs(folder: Path) -> None:
    """Let reprod_log compare the arrays of a result folder; one log file for each point."""
    from reprod_log import ReprodDiffHelper

    for point, log in POINTS.items():
        files = [folder / f"{point}_{side}.npy" for side in ("ref", "paddle")]
        if not all(file.exists() for file in files):
            continue
        path = folder / "log" / f"{log}_diff.log"
        path.parent.mkdir(exist_ok=True)
        _drop_handlers()  # else every earlier log receives this report too
        helper = ReprodDiffHelper()
        try:
            helper.compare_info(*(helper.load_info(str(file)) for file in files))
            helper.report(diff_method="mean", diff_threshold=THRESHOLD, path=str(path))
        except (AssertionError, TypeError, ValueError) as error:
            path.write_text(f"error: reprod_log gave no verdict: {type(error).__name__} {error}\n")
    _drop_handlers()


def _drop_handlers() -> None:
    logger = logging.getLogger("root")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        write_logs(Path(argument))
