"""Reading weight files without executing anything in them.

``.pdparams``, ``.pdopt``: a restricted unpickler that knows arrays and plain containers.
``.pth``, ``.pt``, ``.pyth``, ``.tar``: zip archives by ``models/conversion/torch_archive.py``, without PyTorch; only
its older format needs it (``torch.load(weights_only=True)``).
"""
from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models.conversion import torch_archive

TORCH_SUFFIXES = (".pth", ".pt", ".pyth", ".tar", ".bin")
PADDLE_SUFFIXES = (".pdparams", ".pdopt", ".pkl")
# Under these keys training scripts wrap the entries; looked for in this order, more than one level deep.
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network")

_ALLOWED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "tuple"): tuple, ("builtins", "list"): list, ("builtins", "dict"): dict, ("builtins", "set"): set,
    ("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype,
    **{(module, "_reconstruct"): np._core.multiarray._reconstruct
       for module in ("numpy.core.multiarray", "numpy._core.multiarray")},
    **{(module, "scalar"): np._core.multiarray.scalar
       for module in ("numpy.core.multiarray", "numpy._core.multiarray")},
    **{(module, "_frombuffer"): np._core.numeric._frombuffer
       for module in ("numpy.core.numeric", "numpy._core.numeric")},
}


class _ArrayUnpickler(pickle.Unpickler):
    """Finds the names that arrays and containers need, and no others."""

    def find_class(self, module: str, name: str):
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is neither an array nor a plain "
                                         "container; such a file could run code and is not read") from None


def unpickle(path: str | Path) -> Any:
    """Arrays and plain containers from a pickle file (``.pdparams``, ``.pdopt``, ``.pkl``).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged or holds anything else; it names the file and what was found.
    """
    path = Path(path)
    with _open(path) as file:
        try:
            return _ArrayUnpickler(file).load()
        except (pickle.UnpicklingError, EOFError, AttributeError, IndexError, KeyError, TypeError, ValueError,
                UnicodeDecodeError, ImportError, MemoryError, OverflowError) as error:
            raise ValueError(f"{path} cannot be read as a pickle of arrays: {error}") from error


def read_raw(path: str | Path) -> Any:
    """The whole content of a weight file, tensors as NumPy arrays (bfloat16 as float32), wrappers left on.

    Raises:
        FileNotFoundError, ValueError: as :func:`unpickle`.
        ModuleNotFoundError: for PyTorch's files where PyTorch is not installed.
    """
    path = Path(path)
    if path.suffix in PADDLE_SUFFIXES:
        return unpickle(path)
    if path.suffix not in TORCH_SUFFIXES:
        raise ValueError(f"{path}: unknown kind of weight file; expected {', '.join(PADDLE_SUFFIXES + TORCH_SUFFIXES)}")
    _open(path).close()
    if torch_archive.is_archive(path):  # read without PyTorch, TorchScript and files with a pickled config included
        return torch_archive.read(path)
    try:
        import torch
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{path} is a PyTorch file: reading it needs PyTorch "
                                  "(pip install -r requirements-align.txt), or convert it on a machine that has it"
                                  ) from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as PyTorch weights: {error}") from error
    return _to_arrays(content, torch)


def unwrap(content: Any, source: str = "the file") -> dict[str, np.ndarray]:
    """The entries inside the usual wrappers (``state_dict``, ``model``, ... and a leading ``module.``).

    Raises:
        ValueError: if no mapping from names to arrays is found.
    """
    seen, beside = [], {}
    while isinstance(content, Mapping):
        if isinstance(content.get("fusion_model_state_dict"), Mapping):  # ActionCLIP keeps its fusion head apart
            beside = {str(name): np.asarray(value) for name, value in content["fusion_model_state_dict"].items()}
        entries = {str(name): np.asarray(value) for name, value in content.items()
                   if isinstance(value, np.ndarray | np.generic)}
        if len(entries) * 2 > len(content):
            break
        inner = next((key for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        seen.append(inner)
        content = content[inner]
    if not isinstance(content, Mapping) or not entries:
        found = f"keys {', '.join(map(str, list(content)[:8]))}" if isinstance(content, Mapping) else type(content)
        raise ValueError(f"{source} holds no weights: found {found}")
    if all(name.startswith("module.") for name in entries):  # nn.DataParallel
        entries = {name[len("module."):]: value for name, value in entries.items()}
    return {**entries, **{name if name.startswith("module.") else f"module.{name}": value
                          for name, value in beside.items()}}


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Name -> array of a weight file of either framework, wrappers removed.

    Raises:
        FileNotFoundError, ValueError, ModuleNotFoundError: as :func:`read_raw` and :func:`unwrap`.
    """
    return unwrap(read_raw(path), str(path))


def _open(path: Path):
    if not path.is_file():
        beside = sorted(p.name for p in path.parent.glob("*") if p.is_file())[:8] if path.parent.is_dir() else []
        there = f"; {path.parent} holds {', '.join(beside)}" if beside else f"; {path.parent} holds no files"
        raise FileNotFoundError(f"{path}: no such weight file{there}")
    return path.open("rb")


def _to_arrays(content: Any, torch) -> Any:
    if isinstance(content, torch.Tensor):
        tensor = content.detach()
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy().copy()
    if isinstance(content, Mapping):
        return {key: _to_arrays(value, torch) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_to_arrays(value, torch) for value in content]
    return content
