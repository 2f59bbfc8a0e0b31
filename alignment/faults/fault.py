"""What a planted fault is, and the ways to plant one while a case runs.

A fault lives inside a context manager: it changes a module's function, a method of a class, or the layers of a network
right after its weights are loaded, and takes the change back at the end. Nothing on disk is touched.
"""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from paddle import nn

from models import conversion

Plant = Callable[[], contextlib.AbstractContextManager]


@dataclass(frozen=True)
class Place:
    """Where a fault is planted and where it must be found.

    Args:
        system, case: a built-in case, or one of ``alignment/faults/manifests.py``.
        stages: the stages of the case that it must turn red, in the order of the guide's steps; the first locates it.
        plant: gives the context manager that plants it.
        found: regular expression that must match all of the first red name of the first stage.
        beside: why ``found`` is not the faulty thing itself but the first compared tensor behind it; empty if it is.
        detail: regular expression that the verdict's text must contain as well (an index or a step); empty: any.
    """

    system: str
    case: str
    stages: tuple[str, ...]
    plant: Plant = field(repr=False)
    found: str
    beside: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Fault:
    """A mistake that ports make, and every place where it is planted."""

    name: str
    about: str  # one sentence: what is wrong
    places: tuple[Place, ...]


class NotPlanted(RuntimeError):
    """A fault found nothing to change: its place does not exist, or the stage does not run through it."""


@contextlib.contextmanager
def replaced(owner: Any, **values: Any) -> Iterator[None]:
    """Attributes of a module, class or object set to other values for a while.

    Raises:
        NotPlanted: if ``owner`` has no such attribute.
    """
    before = {}
    for name, value in values.items():
        if not hasattr(owner, name):
            raise NotPlanted(f"{owner!r} has no attribute {name}")
        before[name] = vars(owner).get(name, _INHERITED)
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is _INHERITED:
                delattr(owner, name)
            else:
                setattr(owner, name, value)


_INHERITED = object()


@contextlib.contextmanager
def wrapped(owner: Any, name: str, around: Callable) -> Iterator[None]:
    """Calls of ``owner.name(...)`` go to ``around(original, ...)`` instead; at least one must happen.

    Raises:
        NotPlanted: if the function is absent or was never called.
    """
    if not hasattr(owner, name):
        raise NotPlanted(f"{owner!r} has no function {name}")
    original, calls = getattr(owner, name), []

    def function(*arguments, **options):
        calls.append(name)
        return around(original, *arguments, **options)
    with replaced(owner, **{name: function}):
        yield
    if not calls:
        raise NotPlanted(f"{name} of {getattr(owner, '__name__', owner)} was never called")


@contextlib.contextmanager
def in_network(path: str, change: Callable[[nn.Layer], object]) -> Iterator[None]:
    """``change`` is called on the layer ``path`` (empty: the network) of every network that has it, right after its
    weights are loaded.

    Raises:
        NotPlanted: at the end, if no network had such a layer or ``change`` refused one. Not earlier: a stage that
            stops is a red stage, and a fault that was not planted must not pass for one that was caught.
    """
    original, changed, refused = conversion.load, [], []

    def load(network: nn.Layer, *arguments):
        count = original(network, *arguments)
        layer = find(network, path)
        if layer is not None:
            try:
                change(layer)
            except NotPlanted as reason:
                refused.append(str(reason))
            changed.append(path)
        return count
    with replaced(conversion, load=load):
        yield
    if refused or not changed:
        raise NotPlanted("; ".join(refused) or f"no network has a layer {path!r}")


def find(network: nn.Layer, path: str) -> Any:
    """The layer (or layer's attribute) at a dotted path, or None."""
    found: Any = network
    for part in path.split(".") if path else ():
        if isinstance(found, nn.LayerList | nn.Sequential) and part.isdigit():
            found = found[int(part)] if int(part) < len(found) else None
        else:
            found = getattr(found, part, None)
        if found is None:
            return None
    return found
