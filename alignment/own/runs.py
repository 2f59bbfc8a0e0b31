"""One side of a comparison: forward, backward and training of a copy of a network, as arrays by name."""
from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from paddle.nn.layer.rnn import RNNBase

from alignment import recipe
from alignment.bundle import jittered
from alignment.own import captures
from alignment.own.captures import Batch
from alignment.own.weights import Prepare, Table, renamer
from models import conversion


@dataclass
class Side:
    """A network with what is needed to run it and to name its parts as the reference does."""

    network: Any
    batch: Batch
    call: Callable | None = None
    loss: Callable | None = None
    optimizer: Callable | None = None
    table: Table = None  # of the port
    prepare: Prepare = None  # of the reference
    training: bool = False
    layers: list[str] = field(default_factory=list)  # in order of execution, known after a run

    @property
    def torch(self) -> bool:
        return captures.is_torch(self.network)

    def jittered(self, seed: int) -> Side:
        """The same with weights and inputs moved by at most half a unit in float32's last place (torch only)."""
        import torch
        moved = copy.deepcopy(self)
        entries = {name: tensor for name, tensor in moved.network.state_dict().items() if tensor.is_floating_point()}
        arrays = jittered({name: tensor.numpy() for name, tensor in entries.items()}, seed)
        with torch.no_grad():
            for name, tensor in entries.items():
                tensor.copy_(torch.from_numpy(arrays[name]))
        names = list(self.batch) if isinstance(self.batch, dict) else range(len(self.batch))
        inputs = jittered({str(name): np.asarray(self.batch[name]) for name in names}, seed)
        moved.batch = ({name: inputs[str(name)] for name in names} if isinstance(self.batch, dict)
                       else [inputs[str(name)] for name in names])
        return moved

    def entries(self, network: Any, arrays: dict[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
        """Arrays by the network's names (default: its entries) under the reference's names and in its layout."""
        if self.torch:
            made = arrays if arrays is not None else captures_of(network)
            return self.prepare(made) if self.prepare else made
        given = conversion.arrays(network) if arrays is None else arrays
        return conversion.to_upstream(given, network, renamer(self.table))

    def forward(self, dtype: str) -> dict[str, np.ndarray]:
        """Inputs and outputs of every layer; in training mode also the statistics afterwards."""
        network = captures.duplicate(self.network, dtype, self.training)
        with captures.no_gradient(network), captures.recording(network, renamer(self.table)) as found:
            output = self._output(network, dtype)[0]
        self.layers = found.layers
        made = {**found.arrays, **{name: captures.array_of(t) for name, t in captures.flatten("output", output)}}
        if self.training:
            made.update({f"buffer:{name}": value for name, value in self.entries(network).items()
                         if name.endswith(("running_mean", "running_var"))})
        return made

    def _for_gradients(self, dtype: str) -> Any:
        """A copy to differentiate. In eval mode Paddle's recurrent layers keep nothing to go back by and fail."""
        network = captures.duplicate(self.network, dtype, self.training)
        if not self.torch:
            for layer in network.sublayers(include_self=True):
                if isinstance(layer, RNNBase) and not layer.dropout:
                    layer.training = True
        return network

    def _output(self, network: Any, dtype: str, gradient: bool = False) -> tuple[Any, list, dict]:
        positional, named = captures.tensors(self.batch, network, dtype, gradient)
        return ((self.call(network, *positional, **named) if self.call else network(*positional, **named)),
                positional, named)

    def _loss(self, output: Any) -> Any:
        """The caller's loss, or the sum of all outputs times fixed numbers, which leaves nothing out."""
        if self.loss is not None:
            return self.loss(output)
        total = 0.0
        for name, tensor in captures.flatten("output", output):
            weight = recipe.uniform(name, tuple(tensor.shape), dtype="float64")
            total = total + (tensor * _like(weight, tensor)).sum()
        return total

    def backward(self, dtype: str) -> dict[str, np.ndarray]:
        """The loss; gradients of parameters, from the layer that ran last to the first, and of inputs."""
        network = self._for_gradients(dtype)
        with captures.recording(network, renamer(self.table)) as found:
            output, positional, named = self._output(network, dtype, gradient=True)
        self.layers = found.layers
        value = self._loss(output)
        value.backward()
        gradients = self.entries(network, _gradients(network))
        inputs = {**{str(i): tensor for i, tensor in enumerate(positional)}, **named}
        return {"loss": captures.array_of(value),
                **{f"grad:{name}": gradients[name] for name in self._backwards(gradients)},
                **{f"grad:input {name}": captures.array_of(tensor.grad) for name, tensor in inputs.items()
                   if tensor.grad is not None}}

    def _backwards(self, names: dict[str, np.ndarray]) -> list[str]:
        """Parameters in the order in which their gradients come into being."""
        began = {layer: index for index, layer in enumerate(self.layers)}

        def place(name: str) -> int:
            parts = name.split(".")
            return max((began[".".join(parts[:n])] for n in range(1, len(parts)) if ".".join(parts[:n]) in began),
                       default=-1)
        order = {name: index for index, name in enumerate(names)}
        return sorted(names, key=lambda name: (-place(name), -order[name]))

    def train(self, dtype: str, steps: int) -> dict[str, np.ndarray]:
        """Loss and rate of every step; parameters and statistics after the last."""
        network = self._for_gradients(dtype)
        made = self.optimizer(network)
        optimizer, schedule = made if isinstance(made, tuple) else (made, None)
        losses, rates = [], []
        for _ in range(steps):
            value = self._loss(self._output(network, dtype)[0])
            value.backward()
            rates.append(optimizer.param_groups[0]["lr"] if self.torch else optimizer.get_lr())
            optimizer.step()
            _clear(network)
            if schedule is not None:
                schedule.step()
            losses.append(float(captures.array_of(value).reshape(())))
        return {"losses": np.asarray(losses, dtype), "rates": np.asarray(rates, np.float64),
                **{f"{'buffer' if 'running_' in name else 'param'}:{name}": value
                   for name, value in self.entries(network).items() if not name.endswith("num_batches_tracked")}}


def captures_of(network: Any) -> dict[str, np.ndarray]:
    """A torch network's entries."""
    return {name: captures.array_of(tensor) for name, tensor in network.state_dict().items()}


def _gradients(network: Any) -> dict[str, np.ndarray]:
    if captures.is_torch(network):
        return {name: captures.array_of(p.grad) for name, p in network.named_parameters() if p.grad is not None}
    found = {}
    for name, (layer, last) in conversion.entries(network).items():
        parameter = getattr(layer, last)
        if not parameter.stop_gradient and parameter.grad is not None:
            found[name] = parameter.grad.numpy()
    return found


def _clear(network: Any) -> None:
    """No gradient is left, not a zero one: Paddle's default would let decay and momentum move unused parameters."""
    for parameter in network.parameters():
        if captures.is_torch(network):
            parameter.grad = None
        else:
            parameter.clear_gradient(False)  # by position: the keyword is ignored (Paddle 3.3.1)


def _like(array: np.ndarray, tensor: Any) -> Any:
    """An array as a tensor of the other's framework and dtype."""
    if type(tensor).__module__.startswith("torch"):
        import torch
        return torch.from_numpy(array).to(tensor.dtype)
    import paddle
    return paddle.to_tensor(array).astype(tensor.dtype)
