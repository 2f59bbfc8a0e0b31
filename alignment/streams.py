"""The originals' random streams behind the method names of ``numpy.random.Generator``.

Our samplers and transforms take a generator and call ``random uniform integers permutation normal choice``. Handing
them one of these instead replays what the original drew after ``random.seed(s)`` or ``numpy.random.seed(s)``.
"""
from __future__ import annotations

import random

import numpy as np


class LegacyNumpy:
    """``numpy.random.seed(seed)`` and the module-level functions of the legacy generator."""

    def __init__(self, seed: int | np.random.RandomState):
        self.state = seed if isinstance(seed, np.random.RandomState) else np.random.RandomState(seed)

    def random(self, size=None):
        return self.state.random_sample(size)

    def uniform(self, low=0.0, high=1.0, size=None):
        return self.state.uniform(low, high, size)

    def integers(self, low, high=None, size=None):
        """``randint``: high is exclusive."""
        return self.state.randint(low, high, size=size)

    def permutation(self, x):
        return self.state.permutation(x)

    def normal(self, loc=0.0, scale=1.0, size=None):
        return self.state.normal(loc, scale, size)

    def choice(self, a, size=None, replace=True, p=None):
        return self.state.choice(a, size, replace, p)


class PythonRandom:
    """``random.seed(seed)`` and the functions of the module ``random``; one value per call."""

    def __init__(self, seed: int | random.Random):
        self.state = seed if isinstance(seed, random.Random) else random.Random(seed)

    def random(self) -> float:
        return self.state.random()

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        return self.state.uniform(low, high)

    def integers(self, low: int, high: int | None = None) -> int:
        """``randint(low, high - 1)``: high is exclusive here, inclusive in Python's ``randint``."""
        return self.state.randrange(low) if high is None else self.state.randrange(low, high)

    def normal(self, loc: float = 0.0, scale: float = 1.0) -> float:
        return self.state.gauss(loc, scale)

    def choice(self, a):
        return self.state.choice(range(a) if isinstance(a, int) else a)


class Streams:
    """Two streams of one original that mixes both modules: ``python`` serves the names listed, NumPy the rest."""

    def __init__(self, python: PythonRandom, numpy: LegacyNumpy, python_names: tuple[str, ...]):
        self._python, self._numpy, self._python_names = python, numpy, python_names

    def __getattr__(self, name: str):
        return getattr(self._python if name in self._python_names else self._numpy, name)
