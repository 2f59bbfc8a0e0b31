"""Videos ranked by their likeness to a sentence: to print and to save as JSON."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deploy.drawing import text_bars
from deploy.files import atomic_files
from deploy.prediction import RESULT, write_json


@dataclass(frozen=True, eq=False)
class RankingPrediction:
    """Videos of a folder by their likeness to a sentence.

    Attributes:
        source: the folder, as given by the user.
        text: the sentence.
        videos: paths of the V videos.
        cosines: ``[V]``, in [-1, 1].
        top: how many are printed; all are in the JSON file.
        order: indices of the videos, the most alike first.
    """

    source: str
    text: str
    videos: Sequence[str]
    cosines: np.ndarray
    top: int = 10
    order: np.ndarray = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "order", np.argsort(-self.cosines, kind="stable"))

    def summary(self) -> str:
        best = self.order[:self.top]
        names = [Path(self.videos[index]).name for index in best]
        shares = np.clip((self.cosines[best] + 1) / 2, 0, 1)
        lines = text_bars(names, shares)
        cosines = [f"cosine {self.cosines[index]:+.4f}" for index in best]
        return "\n".join([f"videos most like {self.text!r}:",
                          *(f"{line}  {cosine}" for line, cosine in zip(lines, cosines, strict=True))])

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "ranking", "source": self.source, "text": self.text,
                "videos": [{"video": str(self.videos[index]), "cosine": float(self.cosines[index])}
                           for index in self.order]}

    def save(self, folder: str | Path) -> Path:
        with atomic_files(folder, last=RESULT) as work:
            write_json(work / RESULT, self.to_dict())
        return Path(folder) / RESULT
