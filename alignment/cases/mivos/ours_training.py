"""Our side of MiVOS' short training."""
from __future__ import annotations

from unittest import mock

import numpy as np

from alignment import paddle_training
from alignment.bundle import Run
from systems import mivos_evaluation
from systems.mivos_video import Images


def mini_training(run: Run) -> dict[str, np.ndarray]:
    """The system's own steps and evaluation, whose frames are read in the precision of the run."""
    class Frames(Images):
        def __getitem__(self, frame: int) -> np.ndarray:
            return super().__getitem__(frame).astype(run.dtype)

    with mock.patch.object(mivos_evaluation, "Images", Frames):
        return paddle_training.train(run)
