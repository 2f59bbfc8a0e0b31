"""Stand-ins for packages that an original imports and a current machine lacks, as far as a network needs them.

A stand-in is used only where the package is not installed (or where the user asks for it). Names in the tables below
do what the original's network, loss or metric needs; any other name of such a package can be imported and inherited
from, and raises :class:`NotProvided` when it is called. What was stood in for is told in every run.
"""
from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any


class NotProvided(RuntimeError):
    """The original called something of a package that only our stand-in is there for."""


class Absent(type):
    """The type of what is absent: a class to import and to inherit from; making one raises."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return absent(f"{cls.__module__}.{cls.__name__}.{name}")


def absent(name: str) -> type:
    """A class in place of ``package.module.Name``."""
    def refuse(self: Any, *args: Any, **options: Any) -> None:
        package = name.split(".", 1)[0]
        raise NotProvided(f"the original calls {name}, and {package} is not installed: install it with "
                          f"pip install {package} (our stand-in covers imports only)")
    return Absent(name.rsplit(".", 1)[-1], (), {"__init__": refuse, "__module__": name.rsplit(".", 1)[0]})


class StandIn(types.ModuleType):
    """A module whose unknown names are :func:`absent` classes, but for ``submodules``, which are imported."""

    submodules: Iterable[str] = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        full = f"{self.__name__}.{name}"
        return importlib.import_module(full) if full in self.submodules else absent(full)


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Serves stand-ins of the packages named; ``used`` collects which were really asked for."""

    def __init__(self, packages: Iterable[str], names: dict[str, dict[str, Any]]):
        self.packages, self.names = set(packages), names
        self.used: list[str] = []

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if fullname.split(".", 1)[0] not in self.packages:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        self.used.append(spec.name)
        module = StandIn(spec.name, "A stand-in: the package is not installed.")
        module.__dict__.update(self.names.get(spec.name, {}), submodules=self.names)
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing to run: the names are there already."""

    @property
    def stood_in(self) -> list[str]:
        """Packages that a stand-in served, in order of use."""
        return list(dict.fromkeys(name.split(".", 1)[0] for name in self.used))


def install(packages: Iterable[str], names: dict[str, dict[str, Any]], forced: Iterable[str] = ()) -> Finder:
    """Serve stand-ins where a package is not installed, and for ``forced`` ones in any case."""
    forced = set(forced)
    finder = Finder(set(packages) | forced, names)
    sys.meta_path.append(finder)  # behind the real finders: only what they do not find
    if forced:
        first = Finder(forced, names)
        first.used = finder.used
        sys.meta_path.insert(0, first)
    return finder


def _nothing(*args: Any, **options: Any) -> None:
    """Initial values do not matter: the recipe's weights replace them all."""


def _itself(value: Any, *args: Any, **options: Any) -> Any:
    """A decorator that registers nothing."""
    return value


class Registry:
    """Registers nothing: classes are imported by name."""

    def __init__(self, *args: Any, **options: Any):
        """Whatever it is called."""

    def register_module(self, *args: Any, **options: Any) -> Any:
        return args[0] if args and isinstance(args[0], type) else _itself


class Settings(dict):
    """A dictionary whose keys are attributes too."""

    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__


def plain_names() -> dict[str, dict[str, Any]]:
    """Names without a framework: initialisers, registries, settings."""
    return {
        "mmcv": {"is_str": lambda value: isinstance(value, str)},
        "mmcv.cnn": {"constant_init": _nothing, "kaiming_init": _nothing, "normal_init": _nothing},
        "mmcv.utils": {"Registry": Registry},
        "mmcv.runner": {"get_dist_info": lambda: (0, 1)},
        "regex": {"compile": _nothing, "IGNORECASE": 2},
        "timm.models.registry": {"register_model": _itself},
        "timm.models.vision_transformer": {"_cfg": dict},
        "yacs.config": {"CfgNode": Settings},
        "wandb": {"log": _nothing},
    }


def torch_names() -> dict[str, dict[str, Any]]:
    """Names that need torch: :func:`plain_names` and a few layers and losses of timm."""
    import torch
    from torch import nn
    from torch.nn import functional

    from alignment.reference.resnet import ResNet

    class DropPath(nn.Module):
        """The identity; the cases drop nothing, because draws differ between frameworks."""

        def __init__(self, drop_prob: float = 0.0):
            super().__init__()
            self.drop_prob = drop_prob

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training and self.drop_prob:
                raise NotProvided("our stand-in of timm's DropPath drops nothing: install timm")
            return x

    class SoftTargetCrossEntropy(nn.Module):
        def forward(self, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return -(target * functional.log_softmax(x, -1)).sum(-1).mean()

    class LabelSmoothingCrossEntropy(nn.Module):
        def __init__(self, smoothing: float = 0.1):
            super().__init__()
            self.smoothing = smoothing

        def forward(self, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return functional.cross_entropy(x, target, label_smoothing=self.smoothing)

    return {**plain_names(),
            "torchvision.models": {"resnet50": lambda *args, **options: ResNet(depth=50)},
            "timm.models.layers": {"DropPath": DropPath, "trunc_normal_": _nothing,
                                   "to_2tuple": lambda x: x if isinstance(x, tuple) else (x, x)},
            "timm.loss": {"SoftTargetCrossEntropy": SoftTargetCrossEntropy,
                          "LabelSmoothingCrossEntropy": LabelSmoothingCrossEntropy}}


def stay_on_cpu() -> None:
    """``x.cuda()`` gives ``x``: originals move tensors inside networks and losses."""
    import torch

    torch.Tensor.cuda = lambda self, *args, **options: self
    torch.nn.Module.cuda = lambda self, *args, **options: self


@contextlib.contextmanager
def precision(dtype: str) -> Iterator[None]:
    """In a float64 run: new tensors are float64 where they would be float32, declared or not, ``float()`` or
    ``type(float32)`` does not round one, and integers (places, say) become float64 as well.

    CLIP's layer norm and two metrics go through float32 on purpose (they were written for half precision), MiVOS keeps
    its memory in it; rounding there would hide in float64 what the run is for. A float32 run is left as it is.
    """
    import torch

    if dtype != "float64":
        yield
        return
    before, to_float, to_type = torch.get_default_dtype(), torch.Tensor.float, torch.Tensor.type

    def keep_float(self: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        whole = self.dtype in (torch.int64, torch.int32)
        return self.double() if whole or self.dtype == torch.float64 else to_float(self, *args, **options)

    def keep_type(self: torch.Tensor, dtype: Any = None, *args: Any, **options: Any) -> Any:
        if dtype == torch.float32 and self.dtype == torch.float64:
            return self
        return to_type(self, *args, **options) if dtype is None else to_type(self, dtype, *args, **options)

    def wide(make: Callable) -> Callable:
        def made(*args: Any, dtype: Any = None, **options: Any) -> torch.Tensor:
            return make(*args, dtype=torch.float64 if dtype == torch.float32 else dtype, **options)
        return made

    makers = {name: getattr(torch, name) for name in ("zeros", "ones", "empty")}
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float, torch.Tensor.type = keep_float, keep_type
    for name, make in makers.items():
        setattr(torch, name, wide(make))
    try:
        yield
    finally:
        torch.set_default_dtype(before)
        torch.Tensor.float, torch.Tensor.type = to_float, to_type
        for name, make in makers.items():
            setattr(torch, name, make)


def each_in_its_precision(stages: dict[str, Callable]) -> dict[str, Callable]:
    """Stage functions that run inside :func:`precision`."""
    def wrapped(stage: Callable) -> Callable:
        def run_stage(run: Any) -> dict[str, Any]:
            with precision(run.dtype):
                return stage(run)
        return run_stage
    return {name: wrapped(stage) for name, stage in stages.items()}
