"""Reading: every way equals the definition; the bank keeps what it should."""
from __future__ import annotations

import numpy as np
import paddle
import pytest

from models.mivos import memory


def definition(keys, values, query, top_k, km, width):
    """The table of the module's docstring, entry by entry, in NumPy."""
    affinity = query @ keys.T
    weights = np.exp(affinity - affinity.max(1, keepdims=True))
    if km:
        best = affinity.argmax(0)
        place = np.arange(len(query))
        square = (place[:, None] // width - best // width) ** 2 + (place[:, None] % width - best % width) ** 2
        weights = weights * np.exp(-square / (2 * km**2))
    if top_k:
        for row in weights:
            row[np.argsort(-row)[top_k:]] = 0
    return weights / weights.sum(1, keepdims=True) @ values


@pytest.mark.parametrize(("top_k", "km"), [(7, None), (None, None), (7, 2.0), (None, 2.0), (500, None), (500, 2.0)])
@pytest.mark.parametrize("tile", [40, 333, 10**6])
def test_read_equals_the_definition(top_k, km, tile):
    rng = np.random.default_rng(0)
    keys, values, query = rng.normal(size=(60, 8)), rng.normal(size=(60, 5)), rng.normal(size=(20, 8))
    found = memory.read(*map(paddle.to_tensor, (keys, values, query)), top_k=top_k, km=km, width=5, tile=tile)
    np.testing.assert_allclose(found.numpy(), definition(keys, values, query, top_k, km, 5), rtol=0, atol=1e-12)


def test_largest_equals_topk_and_takes_the_fast_way():
    table = paddle.to_tensor(np.random.default_rng(1).normal(size=(3, 64 * 50)).astype("float32"))
    values, index = memory.largest(table, 10)
    expected, where = paddle.topk(table, 10, axis=-1)
    np.testing.assert_array_equal(values.numpy(), expected.numpy())
    np.testing.assert_array_equal(index.numpy(), where.numpy())


def test_batched_read_equals_the_chunked_one():
    rng = np.random.default_rng(2)
    keys, values = (paddle.to_tensor(rng.normal(size=(2, 30, c))) for c in (8, 5))
    query = paddle.to_tensor(rng.normal(size=(12, 8)))
    for top_k in (4, 100, None):
        both = memory.read_batched(keys, values, query, top_k).numpy()
        for i in range(2):
            one = memory.read(keys[i], values[i], query, top_k=top_k)
            np.testing.assert_allclose(both[i], one.numpy(), rtol=0, atol=1e-12)


def entry(number):
    return paddle.full([1, 4, 2, 3], float(number)), paddle.full([1, 2, 2, 3], float(number))


def test_bank_orders_certain_permanent_temporary_and_forgets_a_pass():
    bank = memory.MemoryBank()
    bank.add_certain(*entry(1), 0)
    bank.set_temporary(*entry(2))
    bank.set_temporary(*entry(3))
    assert bank.contents()[1][0, ::6, 0].tolist() == [1, 3]
    bank.add_permanent(*entry(4), 5)
    for number in range(5, 12):
        bank.add_permanent(*entry(number), number)
    assert bank.contents()[1][0, ::6, 0].tolist() == [1, 4, 5, 6, 7, 8, 9, 10, 11]
    bank.add_certain(*entry(20), 9)
    assert bank.contents()[1][0, ::6, 0].tolist() == [1, 20]


def test_bounded_bank_keeps_interactions_and_the_newest_and_drops_the_least_used():
    bank = memory.MemoryBank(limit=3)
    bank.add_certain(*entry(1), 0)
    bank.add_permanent(*entry(2), 5)
    bank.add_permanent(*entry(3), 10)
    bank.slots[1].used, bank.slots[2].used = 9.0, 0.0  # the newest is least used, yet stays
    bank.add_permanent(*entry(4), 15)
    assert bank.contents()[1][0, ::6, 0].tolist() == [1, 4, 3]
    bank.slots[2].used = 5.0
    bank.add_permanent(*entry(5), 20)
    assert sorted(bank.contents()[1][0, ::6, 0].tolist()) == [1, 4, 5]
    with pytest.raises(ValueError, match="at least 2"):
        memory.MemoryBank(limit=1)


def test_bounded_read_counts_use():
    bank = memory.MemoryBank(limit=4)
    bank.add_certain(*entry(1), 0)
    bank.add_permanent(*entry(2), 5)
    bank.read(paddle.ones([1, 4, 2, 3]), top_k=4)
    assert sum(slot.used for slot in bank.slots) == pytest.approx(6.0)
    assert bank.slots[1].used > bank.slots[0].used  # its keys are larger


def test_reading_a_bank_of_several_objects_copies_nothing_and_equals_each_objects_read():
    rng, bank = np.random.default_rng(3), memory.MemoryBank()
    for number in range(6):
        key, value = (paddle.to_tensor(rng.normal(size=(3, c, 2, 3)).astype("float32")) for c in (4, 5))
        bank.add_permanent(key, value, number) if number else bank.add_certain(key, value, number)
    flags = paddle.get_flags("FLAGS_use_stride_kernel")
    pairs, query = bank._by_object(), paddle.to_tensor(rng.normal(size=(1, 4, 2, 3)).astype("float32"))
    assert paddle.get_flags("FLAGS_use_stride_kernel") == flags
    for whole, parts in zip((bank._keys, bank._values), zip(*pairs, strict=True), strict=True):
        step = whole.shape[1] * whole.shape[2] * 4  # bytes of an object
        assert [part.data_ptr() - whole.data_ptr() for part in parts] == [0, step, 2 * step]
    keys, values = bank.contents()
    found = bank.read(query, top_k=7).numpy()
    for i in range(3):
        one = memory.read(keys[i], values[i], memory.scaled_query(query), top_k=7).numpy()
        np.testing.assert_array_equal(found[i].reshape(5, -1), one.T)
