"""The original in its own process: ``python -m alignment.upstream.worker REQUEST.json``; answers as our sides do."""
from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from alignment import processes, worker
from alignment.upstream import found, shims
from alignment.upstream.originals import ORIGINALS


def main(path: Path) -> None:
    """Compute a request with the original's own code. The checkout is only read: no bytecode is written."""
    sys.dont_write_bytecode = True
    content = json.loads(path.read_text())
    given = content["original"]
    original, folder = ORIGINALS[given["name"]], Path(given["checkout"])
    torch_side = original.framework == "torch"
    if torch_side:
        _set_up_torch(content["variant"])
    finder = shims.install(original.shims, shims.torch_names() if torch_side else shims.plain_names(), given["shims"])
    adapter = importlib.import_module(original.adapter)
    # Ours steps aside: from here on ``models`` or ``datasets`` is the original's. What is loaded stays loaded.
    sys.path[:] = [entry for entry in sys.path if entry and Path(entry).resolve() != processes.ROOT]
    os.chdir(path.parent)  # whatever the original writes lands in a folder that is thrown away
    try:
        adapter.enter(folder)
        worker.answer(content, path.parent, adapter, lambda: _facts(original.framework, finder))
    except (found.CannotImport, shims.NotProvided) as error:
        sys.exit(f"{original.repository}: {error}")


def _set_up_torch(variant: dict[str, Any]) -> None:
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.backends.mkldnn.enabled = variant.get("onednn", True)
    shims.stay_on_cpu()


def _facts(framework: str, finder: shims.Finder) -> dict[str, str]:
    """Versions, and the packages that a stand-in of ours served."""
    version = str(getattr(sys.modules.get(framework), "__version__", ""))
    return {framework: version, "stand-ins": ", ".join(finder.stood_in)}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
