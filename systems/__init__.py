"""The six systems: the only place where parts meet."""
from __future__ import annotations

import difflib
import importlib

# The one dictionary of names; a system is imported when it is asked for.
SYSTEMS = {
    "mvf": "systems.mvf:MVF",
    "mivos": "systems.mivos:Mivos",
    "actionclip": "systems.actionclip:ActionCLIPSystem",
    "xclip": "systems.xclip:XCLIPSystem",
    "dff": "systems.dff:DFF",
    "avs": "systems.avs:AVS",
}


def find_system(name: str) -> type:
    """The class of a system by name.

    Raises:
        ValueError: for an unknown name, with the nearest one.
    """
    if name not in SYSTEMS:
        close = difflib.get_close_matches(name, SYSTEMS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(SYSTEMS)}"
        raise ValueError(f"no system {name!r}; {hint}")
    module, _, cls = SYSTEMS[name].partition(":")
    return getattr(importlib.import_module(module), cls)
