"""The recipe's numbers are the same whatever the size of the blocks they are made in."""
from __future__ import annotations

import math
import zlib

import numpy as np
import pytest

from alignment import recipe


def splitmix64(key, index):
    """One value in [0, 1), by Python's own integers."""
    mask = 2**64 - 1
    z = ((zlib.crc32(key.encode()) << 32) + (index + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return ((z ^ (z >> 31)) >> 11) * 2.0**-53


@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (2, recipe.BLOCK), (2 * recipe.BLOCK + 3,)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_every_value_is_a_function_of_key_and_index(shape, dtype):
    made = recipe.uniform("salt:weight", shape, 3.0, 250.0, dtype)
    assert made.shape == shape and made.dtype == dtype
    flat = made.reshape(-1)
    near = {index for edge in (0, recipe.BLOCK, 2 * recipe.BLOCK, flat.size) for index in range(edge - 3, edge + 3)}
    for index in sorted(near & set(range(flat.size))):
        wanted = np.asarray(3.0 + 247.0 * splitmix64("salt:weight", index)).astype(dtype)
        assert flat[index] == wanted, index


def test_values_lie_in_their_range_and_fill_it():
    made = recipe.uniform("x", (100, 1000), -2.0, 3.0)
    assert -2.0 <= made.min() < -1.99 and 2.99 < made.max() < 3.0
    assert math.isclose(made.mean(), 0.5, abs_tol=0.02)
