"""PyTorch's zip archives read with NumPy alone: nothing in them is executed, PyTorch is not needed.

Two kinds: what ``torch.save`` writes, also where it holds objects of unknown classes (X-CLIP's files carry a yacs
configuration), and TorchScript modules (OpenAI's CLIP). Unknown classes become inert records of their attributes.
"""
from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

_DTYPES = {
    "FloatStorage": np.float32, "DoubleStorage": np.float64, "HalfStorage": np.float16, "LongStorage": np.int64,
    "IntStorage": np.int32, "ShortStorage": np.int16, "CharStorage": np.int8, "ByteStorage": np.uint8,
    "BoolStorage": np.bool_, "BFloat16Storage": "bfloat16",
}
_CONTAINERS = {("collections", "OrderedDict"): OrderedDict, ("builtins", "set"): set, ("builtins", "dict"): dict,
               ("builtins", "list"): list, ("builtins", "tuple"): tuple}


class Record(dict):
    """What an object of an unknown class consisted of; its class is a name, its code is never looked for."""

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__()
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.update(state if isinstance(state, dict) else {"state": state})

    def append(self, value: Any) -> None:
        self.setdefault("items", []).append(value)

    def extend(self, values: Any) -> None:
        self.setdefault("items", []).extend(values)


def is_archive(path: str | Path) -> bool:
    """Whether the file is a zip archive with a pickle, as PyTorch writes since 1.6."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/data.pkl") for name in archive.namelist())


def read(path: str | Path) -> Any:
    """The content of an archive: containers of arrays; of a TorchScript module, its entries by name.

    float16 stays float16, bfloat16 becomes float32.

    Raises:
        ValueError: for a damaged archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            script = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            content = _Unpickler(archive, script.removesuffix("data.pkl")).load()
    except (zipfile.BadZipFile, StopIteration, pickle.UnpicklingError, EOFError, KeyError, TypeError, AttributeError,
            IndexError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a PyTorch archive: {error}") from error
    if isinstance(content, Record):
        return dict(_entries(content, ""))
    return content


class _Unpickler(pickle.Unpickler):
    """Tensors become arrays, plain containers themselves, everything else a :class:`Record`."""

    def __init__(self, archive: zipfile.ZipFile, folder: str):
        super().__init__(archive.open(f"{folder}data.pkl"))
        self.archive, self.folder = archive, folder

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_tensor"):
            return _rebuild
        if module == "torch._utils" and name == "_rebuild_parameter":
            return lambda array, *rest: array
        if module == "torch" and name in _DTYPES:
            return name
        if (module, name) in _CONTAINERS:
            return _CONTAINERS[module, name]
        return type(name, (Record,), {"__module__": module})

    def persistent_load(self, key: tuple) -> np.ndarray:
        _, kind, place, *_ = key
        kind = kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
        content = self.archive.read(f"{self.folder}data/{place}") if \
            f"{self.folder}data/{place}" in self.archive.NameToInfo else self.archive.read(f"{self.folder}{place}")
        dtype = _DTYPES[kind]
        if dtype == "bfloat16":
            return (np.frombuffer(content, np.uint16).astype(np.uint32) << 16).view(np.float32)
        return np.frombuffer(content, dtype)


def _rebuild(storage: np.ndarray, offset: int, shape: tuple, strides: tuple, *rest: Any) -> np.ndarray:
    """A tensor's values from its storage.

    Raises:
        ValueError: if the tensor would reach beyond its storage.
    """
    steps = sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    last = -1 if 0 in shape else offset + steps
    if last >= storage.size or offset < 0 or any(stride < 0 for stride in strides):
        raise ValueError(f"a tensor of shape {list(shape)} reaches beyond its storage of {storage.size} values")
    strides = tuple(stride * storage.itemsize for stride in strides)
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, strides, writeable=False).copy()


def _entries(module: Record, prefix: str):
    """State dict of a TorchScript module: tensors by attribute, submodules with a dot."""
    for name, value in module.items():
        if isinstance(value, np.ndarray):
            yield prefix + name, value
        elif isinstance(value, Record):
            yield from _entries(value, f"{prefix}{name}.")
