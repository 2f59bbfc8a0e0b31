"""What every Paddle side of a case needs: weights in, activations, gradients and training steps out."""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import paddle
from paddle import nn

from alignment import recipe
from alignment.bundle import uncast
from engine.optimization import Optimizer
from models import conversion
from models.layers import init

SLOTS = ("momentum_buffer", "exp_avg", "exp_avg_sq")  # torch.optim's names


@contextlib.contextmanager
def default_dtype(dtype: str):
    """Layers built inside have parameters of ``dtype`` (``Layer.to`` breaks recurrent layers)."""
    before = paddle.get_default_dtype()
    paddle.set_default_dtype(dtype)
    try:
        yield
    finally:
        paddle.set_default_dtype(before)


def build(make: Callable[[], nn.Layer], state: Mapping[str, np.ndarray], dtype: str,
          upstream_name: conversion.Rename = str, dropped: Iterable[str] = ()) -> nn.Layer:
    """A network in ``dtype``, holding upstream's entries through the converter; in eval mode."""
    with default_dtype(dtype), init.skipped():
        network = make()
    converted = conversion.from_upstream(uncast(state), network, upstream_name, dropped, "the recipe")
    conversion.load(network, converted, "the recipe")
    network.eval()
    for watcher in FirstUpdate.active:
        watcher.networks.append((network, upstream_name))
    return network


def tensors(inputs: dict[str, np.ndarray], *names: str, gradient: bool = False) -> list[paddle.Tensor]:
    """The named inputs as tensors."""
    return [paddle.to_tensor(inputs[name], stop_gradient=not gradient) for name in names]


class FirstUpdate:
    """What stands right after the first update inside the context, at most 4096 values of each tensor: parameters and
    statistics as ``first:NAME``, what the optimizer remembers of float64 parameters as ``first:SLOT:NAME``.

    A few updates later a fault of one group of parameters has reached all of them; here it still stands alone. Every
    network that :func:`build` makes inside the context and that the optimizer trains is read.
    """

    active: list[FirstUpdate] = []

    def __init__(self):
        self.networks: list[tuple[nn.Layer, conversion.Rename]] = []
        self.arrays: dict[str, np.ndarray] = {}

    def __enter__(self) -> FirstUpdate:
        self.active.append(self)
        self._step = Optimizer.step

        def step(optimizer: Optimizer) -> None:
            self._step(optimizer)
            if not self.arrays:
                self._read(optimizer)
        Optimizer.step = step
        return self

    def _read(self, optimizer: Optimizer) -> None:
        trained = {id(parameter) for parameter in optimizer.parameters.values()}
        for network, upstream_name in self.networks:
            if trained & {id(parameter) for parameter in network.parameters()}:
                self.arrays.update({f"first:{name}": recipe.sample(value)
                                    for name, value in entries(network, upstream_name).items()})
                self.arrays.update({f"first:{name}": recipe.sample(value)
                                    for name, value in _slots(optimizer, network, upstream_name).items()})

    def __exit__(self, *error) -> None:
        Optimizer.step = self._step
        self.active.remove(self)


def _slots(optimizer: Optimizer, network: nn.Layer, upstream_name: conversion.Rename) -> dict[str, np.ndarray]:
    """``SLOT:NAME`` of float64 parameters by upstream name; Paddle's float32 kernels keep theirs in another form."""
    ours = {id(getattr(layer, last)): name for name, (layer, last) in conversion.entries(network).items()}
    found: dict[str, dict[str, np.ndarray]] = {slot: {} for slot in SLOTS}
    for key, tensor in optimizer.slots().items():
        slot, name = key.split(":", 1)
        parameter = optimizer.parameters[name]
        if slot in found and parameter.dtype == paddle.float64 and id(parameter) in ours:
            found[slot][ours[id(parameter)]] = tensor.numpy()
    return {f"{slot}:{name}": value for slot, arrays in found.items()
            for name, value in conversion.to_upstream(arrays, network, upstream_name).items()}


class Recorder:
    """Records the outputs of sublayers in order of execution.

    Args:
        network: its sublayers are observed.
        upstream_name: our layer name -> upstream's module name (default: the same).
        names: only these (upstream) names; None: every sublayer that returns a tensor.
    """

    def __init__(self, network: nn.Layer, upstream_name: Callable[[str], str] = str,
                 names: Iterable[str] | None = None):
        self.network, self.upstream_name = network, upstream_name
        self.names = None if names is None else set(names)
        self.arrays: dict[str, np.ndarray] = {}

    def __enter__(self) -> Recorder:
        self._hooks = []
        for ours, layer in self.network.named_sublayers():
            name = self.upstream_name(ours)
            if self.names is None or name in self.names:
                self._hooks.append(layer.register_forward_post_hook(self._hook(name)))
        return self

    def _hook(self, name: str):
        def record(layer, inputs, output):
            for key, tensor in flatten(name, output):
                unique, times = key, 1
                while unique in self.arrays:  # a layer that runs more than once
                    times += 1
                    unique = f"{key}#{times}"
                self.arrays[unique] = tensor.numpy()
        return record

    def __exit__(self, *error) -> None:
        for hook in self._hooks:
            hook.remove()


def flatten(name: str, output) -> list[tuple[str, paddle.Tensor]]:
    """Name the tensors of an output: ``name``, or ``name.0 name.1`` for a tuple or list."""
    if isinstance(output, paddle.Tensor):
        return [(name, output)]
    if isinstance(output, list | tuple):
        return [pair for index, part in enumerate(output) for pair in flatten(f"{name}.{index}", part)]
    return []


def gradients(network: nn.Layer, upstream_name: conversion.Rename = str) -> dict[str, np.ndarray]:
    """Gradients after ``backward`` by upstream name, in upstream's layout; parameters without one are absent. Views:
    another backward changes them."""
    parameters = {name: getattr(layer, last) for name, (layer, last) in conversion.entries(network).items()}
    found = {name: np.from_dlpack(parameter.grad.detach()) for name, parameter in parameters.items()
             if not parameter.stop_gradient and parameter.grad is not None}
    return conversion.to_upstream(found, network, upstream_name)


def clear_gradients(network: nn.Layer) -> None:
    """As PyTorch's ``zero_grad``: no gradient is left, not a zero one."""
    for parameter in network.parameters():
        parameter.clear_gradient(False)  # by position: the keyword is ignored (Paddle 3.3.1)


def entries(network: nn.Layer, upstream_name: conversion.Rename = str) -> dict[str, np.ndarray]:
    """Parameters and statistics as they are now, by upstream name, in upstream's layout."""
    tensors = {name: getattr(layer, last) for name, (layer, last) in conversion.entries(network).items()}
    return conversion.to_upstream(AsArrays(tensors), network, upstream_name)


class AsArrays(Mapping):
    """Tensors by name, read as arrays (copies) one at a time."""

    def __init__(self, tensors: Mapping[str, paddle.Tensor]):
        self._tensors = tensors

    def __getitem__(self, name: str) -> np.ndarray:
        return self._tensors[name].numpy()

    def __iter__(self):
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def array(tensor, dtype: str | None = None) -> np.ndarray:
    """A tensor as an array (a copy)."""
    made = tensor.numpy() if isinstance(tensor, paddle.Tensor) else np.asarray(tensor)
    return made if dtype is None else made.astype(dtype)
