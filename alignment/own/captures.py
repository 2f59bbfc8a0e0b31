"""What passes through a network, in order of execution: the input of every layer, then its output."""
from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from alignment.own.weights import Table, renamer
from engine.files import atomic_write

Batch = Sequence[Any] | Mapping[str, Any]
INPUT = "input of "  # before a layer's name


@dataclass
class Capture:
    """Arrays by name in the order in which they came into being; ``layers`` in the order in which they began."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    layers: list[str] = field(default_factory=list)

    def save(self, path: str | Path) -> None:
        """Write one ``.npz``, to be compared later or elsewhere."""
        made = {f"a{index}": array for index, array in enumerate(self.arrays.values())}
        facts = json.dumps({"names": list(self.arrays), "layers": self.layers})
        with atomic_write(Path(path), "wb") as file:
            np.savez(file, facts=np.array(facts), **made)

    @classmethod
    def load(cls, path: str | Path) -> Capture:
        """Read what :meth:`save` wrote; nothing in the file is executed."""
        with np.load(path, allow_pickle=False) as file:
            facts = json.loads(str(file["facts"]))
            return cls({name: file[f"a{index}"] for index, name in enumerate(facts["names"])}, facts["layers"])


def is_torch(network: Any) -> bool:
    """Whether a network is a ``torch.nn.Module``; otherwise it must be a ``paddle.nn.Layer``.

    Raises:
        TypeError: if it is neither.
    """
    import torch
    if isinstance(network, torch.nn.Module):
        return True
    import paddle
    if isinstance(network, paddle.nn.Layer):
        return False
    raise TypeError(f"a network is a torch.nn.Module or a paddle.nn.Layer, not a {type(network).__name__}")


def duplicate(network: Any, dtype: str | None, training: bool) -> Any:
    """A copy of the network in ``dtype`` and in the mode asked for: the caller's own is never changed.

    Raises:
        ValueError: in training mode with dropout, whose draws differ between frameworks.
    """
    made = copy.deepcopy(network)
    if is_torch(made):
        import torch
        made = made if dtype is None else made.to(getattr(torch, dtype))
        modules = list(made.named_modules())
    else:
        made = made if dtype is None else made.to(dtype=dtype)
        modules = list(made.named_sublayers(include_self=True))
    drops = [name for name, module in modules if type(module).__name__.startswith("Dropout") and module.p > 0]
    if training and drops:
        raise ValueError(f"dropout in training mode draws other numbers in each framework; set p = 0 in {drops[0]}"
                         + (f" and {len(drops) - 1} more" if len(drops) > 1 else ""))
    if training:
        made.train()
    else:
        made.eval()
    return made


def tensors(batch: Batch, network: Any, dtype: str | None, gradient: bool = False) -> tuple[list, dict]:
    """Positional and named tensors of the network's framework; floating arrays in ``dtype`` (None: its parameters')."""
    dtype = dtype or next((str(p.dtype).rsplit(".", 1)[-1] for p in network.parameters()), "float32")

    def convert(value: Any) -> Any:
        array = np.asarray(value)
        floating = array.dtype.kind == "f"
        if floating:
            array = array.astype(dtype)
        if is_torch(network):
            import torch
            return torch.from_numpy(np.array(array)).requires_grad_(gradient and floating)
        import paddle
        return paddle.to_tensor(array, stop_gradient=not (gradient and floating))
    if isinstance(batch, Mapping):
        return [], {name: convert(value) for name, value in batch.items()}
    if isinstance(batch, np.ndarray):
        return [convert(batch)], {}
    return [convert(value) for value in batch], {}


def array_of(tensor: Any) -> np.ndarray:
    """A copy of a tensor of either framework."""
    return np.array(tensor.detach().numpy())


def flatten(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The floating and integer tensors in nested tuples, lists and dictionaries, by name."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from flatten(f"{name}.{key}", part)
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from flatten(f"{name}.{index}", part)
    elif hasattr(value, "detach") and hasattr(value, "shape"):
        yield name, value


@contextmanager
def recording(network: Any, rename: Callable[[str], str]) -> Iterator[Capture]:
    """Record what passes through the network's layers, under the reference's names."""
    found, hooks = Capture(), []

    def keep(name: str, value: Any) -> None:
        for key, tensor in flatten(name, value):
            unique, times = key, 1
            while unique in found.arrays:  # a layer that runs more than once
                times += 1
                unique = f"{key}#{times}"
            found.arrays[unique] = array_of(tensor)  # a copy: layers in place would change it

    def before(name: str) -> Callable:
        def hook(module: Any, inputs: Any) -> None:
            found.layers.append(name)
            keep(f"{INPUT}{name}", inputs[0] if isinstance(inputs, tuple) and len(inputs) == 1 else inputs)
        return hook

    def after(name: str) -> Callable:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            keep(name, output)
        return hook

    torch_side = is_torch(network)
    for name, module in (network.named_modules() if torch_side else network.named_sublayers()):
        if name:
            register = module.register_forward_hook if torch_side else module.register_forward_post_hook
            hooks += [module.register_forward_pre_hook(before(rename(name))), register(after(rename(name)))]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def capture(network: Any, batch: Batch, table: Table = None, *, dtype: str | None = None, training: bool = False,
            call: Callable | None = None) -> Capture:
    """Run a copy of a network once and keep what passed through it.

    Args:
        network: a ``torch.nn.Module`` or a ``paddle.nn.Layer``; it is left as it is.
        batch: arrays, given by position or (as a dictionary) by name.
        table: names of this network's layers to those of the other, for the port; see ``renamer``.
        dtype: ``float32`` or ``float64`` for weights and floating inputs; None: as they are.
        training: batch statistics instead of running ones; the statistics afterwards are ``buffer:NAME``.
        call: ``call(network, *batch)`` instead of ``network(*batch)``.

    Returns:
        The inputs and outputs of every layer in order of execution, then ``output`` of the whole.
    """
    made = duplicate(network, dtype, training)
    with no_gradient(made), recording(made, renamer(table)) as found:
        positional, named = tensors(batch, made, dtype)
        output = call(made, *positional, **named) if call else made(*positional, **named)
    found.arrays.update({name: array_of(tensor) for name, tensor in flatten("output", output)})
    return found


def no_gradient(network: Any) -> Any:
    """The framework's own context without gradients."""
    if is_torch(network):
        import torch
        return torch.no_grad()
    import paddle
    return paddle.no_grad()
