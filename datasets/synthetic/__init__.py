"""Miniatures of the data sets: real files in the original layouts, seeded, learnable by the mechanism at stake.

``python -m datasets.synthetic LAYOUT DIR [--seed N]`` writes one. Each module has ``write(folder, seed)``.
"""
from __future__ import annotations

import importlib
from pathlib import Path

from datasets.files import complete_folder

# Layout -> module. One line each.
LAYOUTS = {
    "cityscapes": "datasets.synthetic.cityscapes",
    "avsbench": "datasets.synthetic.avs",
    "ucf101": "datasets.synthetic.ucf101",
    "kinetics": "datasets.synthetic.kinetics",
    "davis": "datasets.synthetic.davis",
    "colour_motion": "datasets.synthetic.colour_motion",
}


def write(layout: str, folder: str | Path, seed: int = 0) -> Path:
    """Write the miniature ``layout`` into ``folder``, which must be new or empty, and return it.

    Raises:
        ValueError: for an unknown layout.
        FileExistsError: if there is something in the folder.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"no synthetic layout {layout!r}; choose one of {', '.join(LAYOUTS)}")
    folder = Path(folder)
    if folder.exists():
        if not folder.is_dir() or any(folder.iterdir()):
            raise FileExistsError(f"{folder} exists already; name a new or empty folder, or remove it")
        folder.rmdir()
    with complete_folder(folder) as temporary:
        importlib.import_module(LAYOUTS[layout]).write(temporary, seed)
    return folder
