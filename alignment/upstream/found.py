"""Imports from a checkout, with errors that say what is missing where."""
from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from alignment.processes import ROOT


class CannotImport(RuntimeError):
    """The original, or something that it needs, could not be imported."""


FOLDERS: list[Path] = []  # of the checkout whose modules are imported now


def original(module: str, name: str | None = None) -> Any:
    """A module of the checkout, or a name in it.

    Raises:
        CannotImport: saying which package to install or which file the checkout lacks.
    """
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise CannotImport(explain(module, error)) from error
    if name is None:
        return found
    if not hasattr(found, name):
        raise CannotImport(f"{found.__file__} has no {name}: is the checkout at the commit that ours follows?")
    return getattr(found, name)


def explain(module: str, error: ImportError) -> str:
    """Which package or file to provide for a failed import."""
    place = _place(error)
    missing = error.name or module
    if not isinstance(error, ModuleNotFoundError):
        return (f"cannot import {module}: {error} ({place}). The installed {missing.split('.')[0]} is not the version "
                f"that the original was written for; --shim {missing.split('.')[0]} uses our stand-in instead")
    if _belongs(missing, module):
        return (f"cannot import {module}: the checkout has no module {missing} ({place}); expected "
                f"{missing.replace('.', '/')}.py below one of {', '.join(map(str, FOLDERS))}")
    package = missing.split(".", 1)[0]
    return (f"cannot import {module}: it needs the package {package} ({place}), which is not installed and for which "
            f"there is no stand-in: pip install {package}")


def _belongs(missing: str, module: str) -> bool:
    """Whether the missing module should have been in the checkout."""
    first = missing.split(".", 1)[0]
    return first == module.split(".", 1)[0] or any(
        (folder / first).exists() or (folder / f"{first}.py").exists() for folder in FOLDERS)


def _place(error: ImportError) -> str:
    """File and line of the checkout where the import stands."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)
              if any(Path(frame.filename).is_relative_to(folder) for folder in FOLDERS)]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else "named by our adapter"


def enter(*folders: Path) -> None:
    """Make the top-level modules of these folders of the checkout importable, before anything else.

    Modules of the same top-level names that were loaded from elsewhere (ours, or another folder of the checkout) step
    aside; whoever imported them keeps them.
    """
    before = [ROOT, *FOLDERS]
    FOLDERS[:] = list(folders)
    tops = {path.stem for folder in folders for path in folder.iterdir()
            if path.suffix == ".py" or path.is_dir()} - {"alignment"}
    for name, module in list(sys.modules.items()):
        if name.split(".", 1)[0] in tops and any(_of(module).is_relative_to(folder) for folder in before):
            del sys.modules[name]
    sys.path[:] = [str(folder) for folder in folders] + [path for path in sys.path if path not in map(str, folders)]
    importlib.invalidate_caches()


def _of(module: ModuleType) -> Path:
    """Where a module was loaded from; a folder without an ``__init__.py`` is one too."""
    file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)
    return Path(file or "/nowhere")
