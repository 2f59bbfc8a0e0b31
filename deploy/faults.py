"""Faults of Paddle 3.3.1's inference engine and what is done about each; nothing here happens silently.

``apply`` is the one place that knows them. Every measure adds a note, which the predictor keeps and reports.
tests/deploy/test_faults.py shows that each fault still exists, so a repaired Paddle turns that test red and the
measure can go.
"""
from __future__ import annotations

import re
from pathlib import Path

from deploy.model_files import ModelFiles

INTERPOLATION = {"1.bilinear_interp": "1.bicubic_interp", "1.nearest_interp": "1.bicubic_interp"}


def interpolation_operators(files: ModelFiles) -> list[str]:
    """Operators of a ``.json`` program that oneDNN refuses to run (an attribute list of doubles)."""
    return sorted(set(INTERPOLATION) & files.operators)


def program_for_onednn(files: ModelFiles, folder: Path, notes: list[str]) -> Path:
    """The program that oneDNN can run: the exported one, or a copy in ``folder`` without oneDNN's broken operators.

    In the copy bilinear and nearest interpolation stand under the operator name of bicubic interpolation, which
    oneDNN does not claim. Paddle's kernels choose the method by the attribute ``interp_method``, which stays, so
    these operators run on the very kernel of a run without oneDNN; all others keep oneDNN.
    """
    broken = interpolation_operators(files)
    if not broken:
        return files.program
    text = files.program.read_text("utf-8")
    for name in broken:
        text = re.sub(rf'("#"\s*:\s*)"{re.escape(name)}"', rf'\1"{INTERPOLATION[name]}"', text)
    copy = folder / files.program.name
    copy.write_text(text, "utf-8")
    names = " and ".join(name.removeprefix("1.") for name in broken)
    notes.append(f"oneDNN of Paddle 3.3 cannot run {names} of a .json program: these operators run without oneDNN, "
                 f"all others with it (in a temporary copy of the program)")
    return copy


def enable_memory_optim(config, files: ModelFiles, notes: list[str]) -> None:
    """Reuse activation memory; a ``.json`` program needs the new executor for it (Paddle issue 75496)."""
    if files.program.suffix == ".json":
        config.enable_new_executor(True)
        notes.append("memory optimization of a .json program needs Paddle 3.3's new executor, which was switched on")
    config.enable_memory_optim()
