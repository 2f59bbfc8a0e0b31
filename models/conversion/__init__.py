"""Weights between upstream's names and layouts and ours, strictly and both ways.

A network's file says how our names map to upstream's (``upstream_name``, identity by default) and which upstream
entries are left out on purpose. Everything else is decided here, by the *type* of the layer that owns a tensor: a
square matrix would hide a wrong guess by name or shape.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import paddle
from paddle import nn

State = dict[str, np.ndarray]
Rename = Callable[[str], str]

_STATISTICS = {"_mean": "running_mean", "_variance": "running_var"}
_ALWAYS_DROPPED = (r"(^|\.)num_batches_tracked$",)  # a counter of PyTorch's batch norm; Paddle has none
_BATCH_NORMS = (nn.layer.norm._BatchNormBase, nn.layer.norm.BatchNorm)


class WeightMismatch(ValueError):
    """A checkpoint does not fit a network: missing, unexpected and misshapen entries, all of them."""

    def __init__(self, source: str, missing: Iterable[str], unexpected: Iterable[str], misshapen: Iterable[str]):
        self.missing, self.unexpected, self.misshapen = list(missing), list(unexpected), list(misshapen)
        parts = [f"{source} does not fit the network:"]
        for title, names in (("missing", self.missing), ("unexpected", self.unexpected),
                             ("of another shape", self.misshapen)):
            if names:
                parts.append(f"  {len(names)} {title}:")
                parts.extend(f"    {name}" for name in names)
        parts.append("Nothing was loaded. Check that the checkpoint belongs to this network and its options.")
        super().__init__("\n".join(parts))


def entries(network: nn.Layer) -> dict[str, tuple[nn.Layer, str]]:
    """Our state dict's names with the layer that owns each and the name there; aliases of one tensor come once."""
    owned: dict[str, tuple[nn.Layer, str]] = {}
    seen: set[int] = set()
    for prefix, layer in network.named_sublayers(include_self=True):
        own = list(layer._parameters.items()) + [
            (name, value) for name, value in layer._buffers.items()
            if name not in layer._non_persistable_buffer_names_set]
        for name, value in own:
            if value is None or id(value) in seen:
                continue
            seen.add(id(value))
            owned[f"{prefix}.{name}" if prefix else name] = (layer, name)
    return owned


def upstream_names(network: nn.Layer, upstream_name: Rename = str) -> dict[str, str]:
    """Our name -> upstream's name, for every entry of the network.

    Raises:
        ValueError: if two of ours map to one upstream name (a mistake in the network's table).
    """
    names: dict[str, str] = {}
    for ours, (layer, last) in entries(network).items():
        if last in _STATISTICS and isinstance(layer, _BATCH_NORMS):
            renamed = ours[: -len(last)] + _STATISTICS[last]
        else:
            renamed = ours
        names[ours] = upstream_name(renamed)
    twice = sorted({name for name in names.values() if list(names.values()).count(name) > 1}) \
        if len(set(names.values())) < len(names) else []
    if twice:
        raise ValueError(f"several of our entries map to one upstream name: {', '.join(twice)}")
    return names


def _transposed(layer: nn.Layer, name: str) -> bool:
    return isinstance(layer, nn.Linear) and name == "weight"


def _flattened(layer: nn.Layer) -> bool:
    return isinstance(layer, nn.LayerNorm)


def from_upstream(state: Mapping[str, np.ndarray], network: nn.Layer, upstream_name: Rename = str,
                  dropped: Iterable[str] = (), source: str = "the checkpoint") -> State:
    """Upstream's entries under our names and layouts, complete or not at all.

    Args:
        state: upstream's ``state_dict`` as arrays, wrappers already removed.
        network: the network that will hold them; its layers decide transpositions and shapes.
        upstream_name: our name (with PyTorch's batch-norm suffixes) -> upstream's.
        dropped: regular expressions of upstream entries that are left out on purpose.
        source: what to call the checkpoint in an error.

    Returns:
        arrays by our names, in the dtype they came in.

    Raises:
        WeightMismatch: naming every missing, unexpected and misshapen entry.
    """
    names, owned = upstream_names(network, upstream_name), entries(network)
    patterns = [re.compile(pattern) for pattern in (*_ALWAYS_DROPPED, *dropped)]
    converted: State = {}
    missing, misshapen = [], []
    for ours, theirs in names.items():
        layer, last = owned[ours]
        if theirs not in state:
            missing.append(theirs if ours == theirs else f"{theirs} (our {ours})")
            continue
        array = np.asarray(state[theirs])
        if _transposed(layer, last) and array.ndim == 2:
            array = array.T
        elif _flattened(layer) and array.ndim > 1:
            array = array.reshape(-1)
        want = list(getattr(layer, last).shape)
        if list(array.shape) != want:
            misshapen.append(f"{theirs}: {list(np.shape(state[theirs]))} in the file, the network needs "
                             f"{want[::-1] if _transposed(layer, last) else want}")
            continue
        converted[ours] = np.asarray(array, order="C")  # not ascontiguousarray: it makes a scalar a vector
    known = set(names.values())
    unexpected = [name for name in state
                  if name not in known and not any(pattern.search(name) for pattern in patterns)]
    if missing or unexpected or misshapen:
        raise WeightMismatch(source, missing, unexpected, misshapen)
    return converted


def from_partial(state: Mapping[str, np.ndarray], network: nn.Layer, file_name: Callable[[str], str | None],
                 dropped: Iterable[str] = (), source: str = "the checkpoint") -> State:
    """A file that holds a declared part of the network, e.g. an ImageNet backbone.

    Args:
        file_name: our name (with PyTorch's batch-norm suffixes) -> name in the file, or None for an entry that such
            a file cannot hold: it keeps the network's present value.
        state, network, dropped, source: as :func:`from_upstream`, and as strict about all other entries.
    """
    absent = "\0"  # no file has such a name, so these entries come from the network itself
    current = {f"{absent}{name}": array for name, array in arrays(network).items()}

    def name(ours: str) -> str:
        return file_name(ours) or absent + ours

    kept = {theirs: current[absent + ours] for ours, theirs in upstream_names(network, name).items()
            if theirs.startswith(absent)}
    owned = entries(network)
    for ours, theirs in upstream_names(network, name).items():
        if theirs in kept and _transposed(*owned[ours]):
            kept[theirs] = kept[theirs].T
    return from_upstream({**state, **kept}, network, name, dropped, source)


def to_upstream(state: Mapping[str, np.ndarray], network: nn.Layer, upstream_name: Rename = str) -> State:
    """The inverse of :func:`from_upstream` for any arrays by our names: weights, gradients, optimizer slots.

    Entries of the network that ``state`` lacks are left out; names the network does not have raise KeyError. Nothing is
    copied: what is transposed is a view.
    """
    names, owned = upstream_names(network, upstream_name), entries(network)
    renamed: State = {}
    for ours, array in state.items():
        layer, last = owned[ours]
        array = np.asarray(array)
        renamed[names[ours]] = array.T if _transposed(layer, last) else array
    return renamed


def load(network: nn.Layer, state: Mapping[str, np.ndarray], source: str = "the checkpoint") -> int:
    """Put arrays under our own names into ``network``, all of them or none.

    Values are cast to each parameter's dtype (exact from float16 and float32 upwards).

    Returns:
        the number of entries loaded.

    Raises:
        WeightMismatch: as :func:`from_upstream`.
    """
    owned = entries(network)
    aliases = set(network.state_dict()) - set(owned)  # e.g. an LSTM lists its weights twice
    missing = [name for name in owned if name not in state]
    unexpected = [name for name in state if name not in owned and name not in aliases]
    misshapen = []
    for name, (layer, last) in owned.items():
        want = list(getattr(layer, last).shape)
        if name in state and list(np.shape(state[name])) != want:
            misshapen.append(f"{name}: {list(np.shape(state[name]))} in the file, the network needs {want}")
    if missing or unexpected or misshapen:
        raise WeightMismatch(source, missing, unexpected, misshapen)
    with paddle.no_grad():
        for name, (layer, last) in owned.items():
            target = getattr(layer, last)
            target.set_value(paddle.to_tensor(np.asarray(state[name])).astype(target.dtype))
    return len(owned)


def arrays(network: nn.Layer) -> State:
    """The network's entries as arrays (copies), by our names, aliases once."""
    return {name: getattr(layer, last).numpy() for name, (layer, last) in entries(network).items()}
