"""Proof that each network equals its PyTorch original; and, as a library, that your own port equals its reference.

The functions below are explained in ``docs/alignment_your_own.md``. Neither framework is imported before one is used.
"""
from __future__ import annotations

import importlib
from typing import Any

_LIBRARY = {"copy_weights": "weights", "capture": "captures", "compare_captures": "comparison",
            "compare_forward": "comparison", "compare_backward": "comparison", "compare_training": "comparison",
            "write_report": "reporting", "Capture": "captures", "Findings": "comparison"}

__all__ = ["Allowance", *_LIBRARY]


def __getattr__(name: str) -> Any:
    if name == "Allowance":
        return importlib.import_module("alignment.compare").Allowance
    if name in _LIBRARY:
        return getattr(importlib.import_module(f"alignment.own.{_LIBRARY[name]}"), name)
    raise AttributeError(f"module 'alignment' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
