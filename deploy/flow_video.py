"""Steps of a video scheduler by exported graphs: a key frame, another frame, and a frame's flow half.

The folder holds the graphs ``key``, ``current`` and ``half``; what they hand on to each other is named in its
``deploy.yaml``.
"""
from __future__ import annotations

from pathlib import Path

import numpy as np

from deploy.inference import Predictor


class ExportedSteps:
    """One frame's work by Paddle's inference engine.

    Args:
        folder: of the exported graphs.
        onednn, threads: as in :class:`deploy.inference.Predictor`.

    Raises:
        FileNotFoundError, ValueError: as the predictor does.
    """

    def __init__(self, folder: str | Path, *, onednn: bool = True, threads: int = 1):
        self._key, self._current, self._half = (Predictor(folder, graph=name, onednn=onednn, threads=threads)
                                                for name in ("key", "current", "half"))

    def key(self, seg: np.ndarray, flow: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(labels int64 ``[N, H, W]``, score map, flow half) of a key frame; inputs float32 ``[N, 3, H, W]``."""
        made = self._key.run({"seg": seg, "flow": flow})
        return made["labels"], made["scores"], made["half"]

    def current(self, flow: np.ndarray, scores: np.ndarray, half: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """(labels, moved score map, largest mean flow of the batch in pixels of the image) of another frame."""
        made = self._current.run({"flow": flow, "scores": scores, "half": half})
        return made["labels"], made["moved"], float(made["motion"].max())

    def half(self, flow: np.ndarray) -> np.ndarray:
        """Flow half of a frame, for chained propagation."""
        return self._half.run({"flow": flow})["half"]
