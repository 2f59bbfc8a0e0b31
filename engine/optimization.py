"""Optimizers that follow torch.optim: groups with absolute rates, clipping, resting parameters.

float32 parameters are updated by Paddle's own kernels. Those keep momentum and decay as float32 numbers even for
float64 parameters (6e-8 after six steps), so float64 parameters are updated by the arithmetic in this file.
A parameter without a gradient rests: no decay, no momentum, as in PyTorch after ``zero_grad(set_to_none=True)``.
"""
from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import paddle
from paddle import Tensor

from engine.clipping import GlobalNorm, PaddleGlobalNorm, PerTensorNorm, Value
from engine.schedules import Schedule

__all__ = ["GlobalNorm", "Group", "Optimizer", "PaddleGlobalNorm", "PerTensorNorm", "Value"]

KINDS = ("sgd", "adam", "adamw")


@dataclass(frozen=True, eq=False)
class Group:
    """Parameters that share learning rate and decay.

    Attributes:
        name: shown in the log and used in the names of optimizer state.
        parameters: ``{name: parameter}`` or pairs (``network.named_parameters()``), or parameters alone, which are
            then called ``name.0``, ``name.1``, ... Frozen ones (``stop_gradient``) are left out.
        rate: absolute learning rate by update index (``engine.schedules``).
        weight_decay: added to the gradient (sgd, adam) or applied to the weights (adamw).
    """

    name: str
    parameters: Mapping[str, Tensor] | Iterable[Tensor] | Iterable[tuple[str, Tensor]]
    rate: Schedule
    weight_decay: float = 0.0

    def named(self) -> dict[str, Tensor]:
        """The trained parameters by name; an iterator given as ``parameters`` is used up."""
        entries = self.parameters.items() if isinstance(self.parameters, Mapping) else self.parameters
        pairs = [entry if isinstance(entry, tuple) else (f"{self.name}.{i}", entry)
                 for i, entry in enumerate(entries)]
        return {name: parameter for name, parameter in pairs if not parameter.stop_gradient}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What all groups of an optimizer share."""

    kind: str
    momentum: float
    nesterov: bool
    betas: tuple[float, float]
    eps: float


class Optimizer:
    """SGD, Adam or AdamW over groups, with torch.optim's results.

    float64: equal to about 1e-15 a step; float32: to rounding. Paddle's Adam computes 1 - beta in float32: its
    second moments differ by the factor (1 - float32(beta2)) / (1 - beta2), 1.3e-5 for 0.999, and its bias
    correction takes that back, so that the parameters agree to some 1e-6 of the way they have gone.

    Args:
        groups: disjoint groups; empty ones are allowed.
        kind: ``'sgd'`` (momentum, nesterov, coupled decay), ``'adam'`` (coupled decay) or ``'adamw'`` (decoupled).
        momentum, nesterov: for sgd; dampening is 0.
        betas, eps: for adam and adamw; eps is added outside the root.
        clip: applied to the gradients of all groups together before each update.

    Raises:
        ValueError: for an unknown kind, or a parameter (or name) that occurs twice.
    """

    def __init__(self, groups: Iterable[Group], *, kind: str = "sgd", momentum: float = 0.0, nesterov: bool = False,
                 betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, clip: Clip | None = None) -> None:
        if kind not in KINDS:
            raise ValueError(f"unknown optimizer {kind!r}; there are {', '.join(KINDS)}")
        if nesterov and not momentum:
            raise ValueError("nesterov needs a momentum above 0")
        rule = Rule(kind=kind, momentum=momentum, nesterov=nesterov, betas=tuple(betas), eps=eps)
        self.clip = clip
        self.updates = 0
        self.parameters: dict[str, Tensor] = {}
        self._updaters: list[tuple[Group, _Updater]] = []
        for group in groups:
            self._add(group, rule)
        if not self.parameters:
            raise ValueError("there is no parameter to train: every one is frozen or in no group")

    def _add(self, group: Group, rule: Rule) -> None:
        named = group.named()
        known = {id(parameter) for parameter in self.parameters.values()}
        for name, parameter in named.items():
            if name in self.parameters or id(parameter) in known:
                raise ValueError(f"parameter {name} of group {group.name} is in the optimizer twice")
        self.parameters.update(named)
        double = {name: p for name, p in named.items() if p.dtype == paddle.float64}
        single = {name: p for name, p in named.items() if p.dtype != paddle.float64}
        if double:
            self._updaters.append((group, _DoublePrecision(double, rule, group.weight_decay)))
        if single:
            self._updaters.append((group, _PaddleKernels(single, rule, group.weight_decay)))

    @paddle.no_grad()
    def step(self) -> None:
        """Clip the gradients and update every parameter that has one."""
        if self.clip is not None:
            self.clip([p for p in self.parameters.values() if p.grad is not None])
        for group, updater in self._updaters:
            updater.step(float(group.rate(self.updates)))
        self.updates += 1

    def clear_grad(self) -> None:
        """Forget the gradients (they become None, so that unused parameters rest)."""
        for parameter in self.parameters.values():
            parameter.clear_gradient(False)  # by position: Paddle 3.3 overlooks the keyword set_to_zero

    def rates(self) -> dict[str, float]:
        """Learning rate of the next update by group name."""
        return {group.name: float(group.rate(self.updates)) for group, _ in self._updaters}

    def slots(self) -> dict[str, Tensor]:
        """What the optimizer remembers, as ``'momentum_buffer:NAME'`` (sgd), ``'exp_avg:NAME'``, ``'exp_avg_sq:NAME'``.

        The names before the colon are torch.optim's. Parameters that never had a gradient have none.
        """
        return {f"{slot}:{name}": tensor for _, updater in self._updaters
                for (slot, name), tensor in updater.slots().items()}

    def state_dict(self) -> dict[str, Any]:
        """``slots()`` and ``updates``, as NumPy arrays; what a ``.pdopt`` file holds."""
        return {**{name: tensor.numpy() for name, tensor in self.slots().items()}, "updates": np.int64(self.updates)}

    def set_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state of an equally built optimizer.

        Raises:
            ValueError: if an entry is of an unknown parameter, another kind of optimizer, or another shape.
        """
        entries = {name: np.asarray(value) for name, value in state.items() if name != "updates"}
        if "updates" not in state:
            raise ValueError("this is no state of this optimizer: the entry 'updates' is missing")
        for _, updater in self._updaters:
            updater.load({tuple(key.split(":", 1)): entries.pop(key) for key in list(entries)
                          if key.split(":", 1)[-1] in updater.parameters})
        if entries:
            raise ValueError(f"optimizer state for parameters that are not trained here: {_some(entries)}")
        self.updates = int(state["updates"])


class Clip(Protocol):
    def __call__(self, parameters: list[Tensor]) -> None: ...


class _Updater(Protocol):
    parameters: dict[str, Tensor]

    def step(self, rate: float) -> None: ...
    def slots(self) -> dict[tuple[str, str], Tensor]: ...
    def load(self, slots: dict[tuple[str, str], np.ndarray]) -> None: ...


class _PaddleKernels:
    """One group of float32 (or, with float32 masters, float16) parameters."""

    # Paddle's accumulators -> the names used in slots()
    NAMES = {"velocity": "momentum_buffer", "moment1": "exp_avg", "moment2": "exp_avg_sq",
             "beta1_pow_acc": "beta1_power", "beta2_pow_acc": "beta2_power"}

    def __init__(self, parameters: dict[str, Tensor], rule: Rule, weight_decay: float) -> None:
        self.parameters = parameters
        common = {"learning_rate": 0.0, "parameters": list(parameters.values()), "multi_precision": True,
                  "weight_decay": weight_decay or None}
        beta1, beta2 = rule.betas
        if rule.kind == "adamw":
            self.optimizer = paddle.optimizer.AdamW(beta1=beta1, beta2=beta2, epsilon=rule.eps,
                                                    **{**common, "weight_decay": weight_decay})
        elif rule.kind == "adam":
            self.optimizer = paddle.optimizer.Adam(beta1=beta1, beta2=beta2, epsilon=rule.eps, **common)
        elif rule.momentum:
            self.optimizer = paddle.optimizer.Momentum(momentum=rule.momentum, use_nesterov=rule.nesterov, **common)
        else:
            self.optimizer = paddle.optimizer.SGD(**common)

    def step(self, rate: float) -> None:
        self.optimizer.set_lr(rate)
        self.optimizer.step()

    def slots(self) -> dict[tuple[str, str], Tensor]:
        masters = self.optimizer._master_weights
        found = {("master", name): masters[p.name] for name, p in self.parameters.items() if p.name in masters}
        for kind, tensors in self.optimizer._accumulators.items():
            for name, parameter in self.parameters.items():
                owner = masters.get(parameter.name, parameter).name
                if owner in tensors:
                    found[self.NAMES[kind], name] = tensors[owner]
        return found

    def load(self, slots: dict[tuple[str, str], np.ndarray]) -> None:
        touched = {name for _, name in slots}
        # Paddle makes its accumulators in the first step; make those of the parameters that had one.
        self.optimizer._create_accumulators(paddle.base.framework.default_main_program().global_block(),
                                            [p for name, p in self.parameters.items() if name in touched])
        _fill(self.slots(), slots)


class _DoublePrecision:
    """One group of float64 parameters, updated in float64 throughout, after torch.optim's single-tensor code."""

    def __init__(self, parameters: dict[str, Tensor], rule: Rule, weight_decay: float) -> None:
        self.parameters, self.rule, self.weight_decay = parameters, rule, weight_decay
        self._slots: dict[tuple[str, str], Tensor] = {}

    def step(self, rate: float) -> None:
        update = self._sgd if self.rule.kind == "sgd" else self._adam
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                update(name, parameter, parameter.grad, rate)

    def _sgd(self, name: str, parameter: Tensor, gradient: Tensor, rate: float) -> None:
        if self.weight_decay:
            gradient = gradient + self.weight_decay * parameter
        momentum = self.rule.momentum
        if momentum:
            buffer = self._slots.get(("momentum_buffer", name))
            if buffer is None:
                self._slots["momentum_buffer", name] = buffer = gradient.clone()
            else:
                buffer.scale_(momentum).add_(gradient)
            gradient = gradient + momentum * buffer if self.rule.nesterov else buffer
        parameter.subtract_(rate * gradient)

    def _adam(self, name: str, parameter: Tensor, gradient: Tensor, rate: float) -> None:
        if self.rule.kind == "adamw":
            parameter.scale_(1 - rate * self.weight_decay)
        elif self.weight_decay:
            gradient = gradient + self.weight_decay * parameter
        if ("step", name) not in self._slots:
            self._slots["exp_avg", name] = paddle.zeros_like(parameter)
            self._slots["exp_avg_sq", name] = paddle.zeros_like(parameter)
            self._slots["step", name] = paddle.zeros([], "int64")
        beta1, beta2 = self.rule.betas
        self._slots["step", name] += 1
        step, mean, square = (int(self._slots["step", name]), self._slots["exp_avg", name],
                              self._slots["exp_avg_sq", name])
        # In place: at these sizes new memory costs more than the arithmetic.
        mean.scale_(beta1).add_((1 - beta1) * gradient)
        square.scale_(beta2).add_((gradient * gradient).scale_(1 - beta2))
        root = paddle.sqrt(square).scale_(1 / math.sqrt(1 - beta2 ** step)).add_(
            paddle.full([], self.rule.eps, parameter.dtype))
        parameter.subtract_((mean / root).scale_(rate / (1 - beta1 ** step)))

    def slots(self) -> dict[tuple[str, str], Tensor]:
        return dict(self._slots)

    def load(self, slots: dict[tuple[str, str], np.ndarray]) -> None:
        wanted = {"momentum_buffer"} if self.rule.kind == "sgd" else {"exp_avg", "exp_avg_sq", "step"}
        fresh = {(slot, name): paddle.zeros([], "int64") if slot == "step" else paddle.zeros_like(self.parameters[name])
                 for name in {name for _, name in slots} for slot in wanted}
        _fill(fresh, slots)
        self._slots = fresh


def _fill(tensors: dict[tuple[str, str], Tensor], arrays: dict[tuple[str, str], np.ndarray]) -> None:
    """Copy ``arrays`` into ``tensors``, which must have the same keys and shapes."""
    if tensors.keys() != arrays.keys():
        odd = [":".join(key) for key in tensors.keys() ^ arrays.keys()]
        raise ValueError(f"optimizer state of another kind of optimizer or precision; differing entries: {_some(odd)}")
    for key, tensor in tensors.items():
        if tuple(tensor.shape) != arrays[key].shape:
            raise ValueError(f"optimizer state {':'.join(key)} has shape {arrays[key].shape}, "
                             f"the parameter needs {tuple(tensor.shape)}")
        tensor.set_value(arrays[key])


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
