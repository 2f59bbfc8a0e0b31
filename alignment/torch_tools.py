"""What every torch side of a case needs; the mirror image of ``paddle_tools``."""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from alignment import recipe
from alignment.bundle import uncast

SLOTS = ("momentum_buffer", "exp_avg", "exp_avg_sq")


def build(make: Callable[[], nn.Module], state: Mapping[str, np.ndarray], dtype: str) -> nn.Module:
    """A reference network in ``dtype`` holding the recipe's entries, strictly; in eval mode."""
    with unfilled():
        network = make()
    network.to(getattr(torch, dtype))
    given = {name: torch.from_numpy(np.asarray(array)) for name, array in uncast(state).items()}
    network.load_state_dict(given, strict=True)
    for watcher in FirstUpdate.active:
        watcher.networks.append(network)
    return network.eval()


@contextlib.contextmanager
def unfilled() -> Iterator[None]:
    """Modules made inside do not fill their parameters: the drawing takes seconds, and every entry is loaded after it.
    """
    fillers = {name: function for name, function in vars(nn.init).items()
               if name.endswith("_") and not name.startswith("_")}
    try:
        for name in fillers:
            setattr(nn.init, name, lambda tensor, *about, **more: tensor)
        yield
    finally:
        for name, function in fillers.items():
            setattr(nn.init, name, function)


def state_entries(network: nn.Module) -> list[list]:
    """``[name, shape, dtype]`` of every entry, as a manifest lists them."""
    return [[name, list(tensor.shape), str(tensor.dtype).removeprefix("torch.")]
            for name, tensor in network.state_dict().items()]


def tensors(inputs: dict[str, np.ndarray], *names: str, gradient: bool = False) -> list[torch.Tensor]:
    """The named inputs as tensors."""
    return [torch.from_numpy(np.array(inputs[name])).requires_grad_(gradient) for name in names]


class FirstUpdate:
    """Parameters and statistics right after the first update inside the context; see ``paddle_tools.FirstUpdate``."""

    active: list[FirstUpdate] = []

    def __init__(self):
        self.networks: list[nn.Module] = []
        self.arrays: dict[str, np.ndarray] = {}

    def __enter__(self) -> FirstUpdate:
        self.active.append(self)
        self._hook = register_optimizer_step_post_hook(self._stepped)
        return self

    def _stepped(self, optimizer, args, kwargs) -> None:
        if self.arrays:
            return
        trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        for network in self.networks:
            if trained & {id(parameter) for parameter in network.parameters()}:
                self.arrays.update({f"first:{name}": recipe.sample(value) for name, value in entries(network).items()
                                    if not name.endswith("num_batches_tracked")})
                self.arrays.update({f"first:{slot}:{name}": recipe.sample(array(value[slot])) for slot in SLOTS
                                    for name, value in _remembered(optimizer, network).items() if slot in value})

    def __exit__(self, *error) -> None:
        self._hook.remove()
        self.active.remove(self)


def _remembered(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, dict]:
    """What the optimizer keeps of each float64 parameter, by name."""
    return {name: optimizer.state[parameter] for name, parameter in network.named_parameters()
            if parameter in optimizer.state and parameter.dtype == torch.float64}


class Recorder:
    """Records the outputs of modules in order of execution; see ``paddle_tools.Recorder``."""

    def __init__(self, network: nn.Module, names: Iterable[str] | None = None):
        self.network, self.names = network, None if names is None else set(names)
        self.arrays: dict[str, np.ndarray] = {}

    def __enter__(self) -> Recorder:
        self._hooks = [module.register_forward_hook(self._hook(name))
                       for name, module in self.network.named_modules()
                       if name and (self.names is None or name in self.names)]
        return self

    def _hook(self, name: str):
        def record(module, inputs, output):
            for key, tensor in flatten(name, output):
                unique, times = key, 1
                while unique in self.arrays:
                    times += 1
                    unique = f"{key}#{times}"
                self.arrays[unique] = array(tensor)  # a copy: in-place layers and optimizers change the tensor
        return record

    def __exit__(self, *error) -> None:
        for hook in self._hooks:
            hook.remove()


def flatten(name: str, output) -> list[tuple[str, torch.Tensor]]:
    """Name the tensors of an output: ``name``, or ``name.0 name.1`` for a tuple or list."""
    if isinstance(output, torch.Tensor):
        return [(name, output)]
    if isinstance(output, list | tuple):
        return [pair for index, part in enumerate(output) for pair in flatten(f"{name}.{index}", part)]
    return []


def gradients(network: nn.Module) -> dict[str, np.ndarray]:
    """Gradients after ``backward`` by name; parameters without one are absent. Views: another backward changes them."""
    return {name: parameter.grad.numpy() for name, parameter in network.named_parameters()
            if parameter.grad is not None}


def entries(network: nn.Module) -> dict[str, np.ndarray]:
    """Parameters and buffers as they are now."""
    return {name: array(tensor) for name, tensor in network.state_dict().items()}


def array(tensor: torch.Tensor) -> np.ndarray:
    """A tensor as an array (a copy)."""
    return tensor.detach().numpy().copy()
