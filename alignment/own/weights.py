"""From the reference's weights to the port's, completely or not at all."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import paddle

from alignment import torch_tools
from models import conversion

Table = Mapping[str, str] | Callable[[str], str] | None
Prepare = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] | None


def renamer(table: Table) -> Callable[[str], str]:
    """A function from the port's names to the reference's.

    Args:
        table: such a function; or a dictionary of dotted beginnings, of which the longest that fits is replaced
            (``{"head": "classifier.1"}`` turns ``head.weight`` into ``classifier.1.weight``); None: equal names.
    """
    if callable(table):
        return table
    beginnings = sorted((table or {}).items(), key=lambda pair: -len(pair[0]))

    def rename(name: str) -> str:
        for ours, theirs in beginnings:
            if name == ours or name.startswith(f"{ours}."):
                return (theirs + name[len(ours):]).lstrip(".")
        return name
    return rename


def reference_arrays(network: Any, prepare: Prepare = None) -> dict[str, np.ndarray]:
    """A torch network's parameters and buffers by name, through ``prepare``."""
    state = torch_tools.entries(network)
    return prepare(state) if prepare else state


def copy_weights(reference: Any, port: paddle.nn.Layer, table: Table = None, *, prepare: Prepare = None,
                 dropped: tuple[str, ...] = ()) -> int:
    """Give the port every parameter and buffer of the reference.

    Whether a matrix is transposed is decided by the type of the layer that owns it, never by its name or shape: a
    square matrix would load either way. Running statistics come along; ``num_batches_tracked`` does not.

    Args:
        reference: a ``torch.nn.Module``.
        port: the ``paddle.nn.Layer`` that receives; its own dtype is kept.
        table: the port's names to the reference's, see :func:`renamer`.
        prepare: turns the reference's arrays by name into those that have counterparts, e.g. splits a packed
            projection of queries, keys and values. It must be linear: gradients go through it too.
        dropped: regular expressions of the reference's entries that are left out on purpose.

    Returns:
        the number of entries copied.

    Raises:
        models.conversion.WeightMismatch: naming every missing, unexpected and misshapen entry; nothing is copied then.
    """
    converted = conversion.from_upstream(reference_arrays(reference, prepare), port, renamer(table), dropped,
                                         "the reference")
    return conversion.load(port, converted, "the reference")
