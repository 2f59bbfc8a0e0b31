"""Randomness that can be set, written down and taken up again: Python's, NumPy's and Paddle's generators."""
from __future__ import annotations

import random
from typing import Any

import numpy as np
import paddle


def seed_everything(seed: int) -> None:
    """Seed the global generators of ``random``, ``numpy.random`` and Paddle (all its devices).

    Args:
        seed: 0 .. 2**32 - 1; give every rank another one.

    Raises:
        ValueError: if the seed is outside that range.
    """
    if not 0 <= seed < 2 ** 32:
        raise ValueError(f"seed must lie in 0 .. 2**32 - 1, got {seed}")
    random.seed(seed)
    np.random.seed(seed)
    paddle.seed(seed)


def random_states() -> dict[str, Any]:
    """The state of all three generators as plain numbers and strings, ready for JSON."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": [version, list(words), gauss],
        "numpy": [name, keys.tolist(), position, has_gauss, cached],
        "paddle": [_generator_to_json(state) for state in paddle.get_rng_state()],
    }


def restore_random_states(states: dict[str, Any]) -> None:
    """The opposite of :func:`random_states`.

    Raises:
        ValueError: if the number of Paddle's generators differs (another kind or number of devices).
    """
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, np.array(keys, np.uint32), position, has_gauss, cached))
    now = paddle.get_rng_state()
    if len(now) != len(states["paddle"]):
        raise ValueError(f"the checkpoint holds {len(states['paddle'])} Paddle random states, this machine has "
                         f"{len(now)}; resume on as many devices of the same kind as the run began with")
    paddle.set_rng_state([_generator_from_json(type(old), saved)
                          for old, saved in zip(now, states["paddle"], strict=True)])


def _generator_to_json(state) -> list:
    """Paddle's generator state: numbers, and the Mersenne twister as the character codes of a text."""
    return [part if isinstance(part, int) else bytes(part).decode("ascii") for part in state.__getstate__()]


def _generator_from_json(kind: type, parts: list):
    state = kind.__new__(kind)
    state.__setstate__(tuple(list(part.encode("ascii")) if isinstance(part, str) else part for part in parts))
    return state
