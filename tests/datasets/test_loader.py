import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from datasets.loader import Loader, LoaderError, collate, item_rng


class Numbers:
    """Item i holds i, a random number and an array; item ``broken`` cannot be read."""

    def __init__(self, count, broken=None):
        self.count, self.broken, self.read, self.scale = count, broken, [], 1

    def __len__(self):
        return self.count

    def begin_epoch(self, epoch):
        self.scale = epoch + 1

    def get(self, index, rng):
        self.read.append(index)
        if index == self.broken:
            raise FileNotFoundError(f"clips/{index}.avi is missing")
        return {"name": f"{index}.avi", "label": index, "weight": index / 2, "clip": rng.random((2, 3)),
                "scale": self.scale}


def items(loader, epoch=0, start=0):
    return [batch["label"].numpy().tolist() for batch in loader.epoch(epoch, start)]


def test_batches_are_stacked_and_the_last_is_kept():
    loader = Loader(Numbers(5), batch_size=2, seed=3)
    batches = list(loader.epoch(1))
    assert len(batches) == len(loader) == 3
    first = batches[0]
    assert first["name"] == ["0.avi", "1.avi"]
    assert str(first["label"].dtype) == "paddle.int64" and first["label"].shape == [2]
    assert str(first["weight"].dtype) == "paddle.float32"
    assert str(first["clip"].dtype) == "paddle.float64" and first["clip"].shape == [2, 2, 3]
    assert np.array_equal(first["clip"].numpy()[1], item_rng(3, 1, 1).random((2, 3)))
    assert batches[2]["label"].numpy().tolist() == [4]
    assert items(Loader(Numbers(5), batch_size=2, drop_last=True)) == [[0, 1], [2, 3]]


@pytest.mark.parametrize("workers", [1, 3])
def test_worker_count_changes_nothing(workers):
    alone, many = (Loader(Numbers(13), batch_size=3, shuffle=True, seed=5, workers=n) for n in (0, workers))
    for epoch in (0, 1):
        for one, other in zip(alone.epoch(epoch), many.epoch(epoch), strict=True):
            assert one["name"] == other["name"]
            assert np.array_equal(one["clip"].numpy(), other["clip"].numpy())
            assert other["scale"].numpy().tolist() == [epoch + 1] * len(other["name"])  # begin_epoch reached workers


def test_epochs_and_items_draw_different_numbers():
    loader = Loader(Numbers(6), batch_size=6, seed=1)
    draws = np.concatenate([batch["clip"].numpy().reshape(-1) for epoch in range(3) for batch in loader.epoch(epoch)])
    assert len(np.unique(draws)) == len(draws)
    shuffled = Loader(Numbers(50), batch_size=50, shuffle=True, seed=1)
    assert items(shuffled, 0) != items(shuffled, 1)
    assert items(shuffled, 1) == items(shuffled, 1)
    assert sorted(items(shuffled, 0)[0]) == list(range(50))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_epoch_goes_on_without_reading_what_came_before(workers):
    loader = Loader(Numbers(11), batch_size=2, shuffle=True, seed=9, workers=workers)
    whole = list(loader.epoch(4))
    loader.dataset.read.clear()
    rest = list(loader.epoch(4, start=3))
    for one, other in zip(whole[3:], rest, strict=True):
        assert one["name"] == other["name"] and np.array_equal(one["clip"].numpy(), other["clip"].numpy())
    if workers == 0:
        assert len(loader.dataset.read) == 11 - 6
    assert list(loader.epoch(4, start=len(loader))) == []
    with pytest.raises(ValueError, match="step 7 lies outside an epoch of 6 steps"):
        loader.epoch(4, start=7)


@pytest.mark.parametrize("count", [24, 22, 17])
def test_ranks_share_the_same_global_batches(count):
    alone = items(Loader(Numbers(count), batch_size=8, shuffle=True, seed=2, drop_last=True))
    for world_size in (2, 4):
        parts = [items(Loader(Numbers(count), batch_size=8 // world_size, shuffle=True, seed=2, drop_last=True,
                              rank=rank, world_size=world_size)) for rank in range(world_size)]
        assert [[index for part in step for index in part] for step in zip(*parts, strict=True)] == alone


def test_ranks_in_order_read_every_item_once():
    parts = [items(Loader(Numbers(9), batch_size=2, rank=rank, world_size=4)) for rank in range(4)]
    assert parts == [[[0, 1], [8]], [[2, 3]], [[4, 5]], [[6, 7]]]


def test_ranks_that_train_step_together():
    loaders = [Loader(Numbers(11), batch_size=2, shuffle=True, rank=rank, world_size=4) for rank in range(4)]
    assert [len(loader) for loader in loaders] == [1] * 4  # three left over cannot be dealt to four ranks
    loaders = [Loader(Numbers(13), batch_size=2, shuffle=True, rank=rank, world_size=4) for rank in range(4)]
    assert [[len(batch) for batch in items(loader)] for loader in loaders] == [[2, 1]] * 4


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_item_is_named(workers):
    loader = Loader(Numbers(8, broken=5), batch_size=2, workers=workers)
    steps = loader.epoch(0)
    assert next(steps)["name"] == ["0.avi", "1.avi"]
    with pytest.raises(LoaderError, match=r"item 5 of Numbers: FileNotFoundError: clips/5.avi is missing"):
        list(steps)


class Dying(Numbers):
    def get(self, index, rng):
        if index == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().get(index, rng)


def test_a_killed_worker_is_reported():
    with pytest.raises(LoaderError, match="worker process of the loader was killed"):
        list(Loader(Dying(8), batch_size=2, workers=2).epoch(0))


def test_workers_end_with_their_iterator_and_with_their_parent(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent("""
        import multiprocessing, sys, time
        from datasets.loader import Loader
        class Slow:
            def __len__(self): return 100
            def get(self, index, rng):
                time.sleep(0.02)
                return {"name": str(index), "label": index}
        steps = Loader(Slow(), batch_size=2, workers=2).epoch(0)
        next(steps)
        steps.close()
        assert not multiprocessing.active_children()
        steps = Loader(Slow(), batch_size=2, workers=2).epoch(0)
        next(steps)
        print(*[child.pid for child in multiprocessing.active_children()], flush=True)
        time.sleep(60)
    """))
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True,
                          env={**os.environ, "PYTHONPATH": root}) as process:
        workers = [int(pid) for pid in process.stdout.readline().split()]
        assert len(workers) == 2
        process.kill()
    deadline = time.time() + 5
    while time.time() < deadline and any(_runs(pid) for pid in workers):
        time.sleep(0.1)
    assert not [pid for pid in workers if _runs(pid)]


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_items_that_do_not_fit_together_are_named():
    with pytest.raises(LoaderError, match=r"'clip' of one batch differs: float32\[2\] in a.avi, float32\[3\] in b.avi"):
        collate([{"name": "a.avi", "clip": np.zeros(2, "float32")}, {"name": "b.avi", "clip": np.zeros(3, "float32")}])
    with pytest.raises(LoaderError, match=r"b\.avi has"):
        collate([{"name": "a.avi", "label": 1}, {"name": "b.avi"}])


@pytest.mark.parametrize(("change", "message"), [
    ({"batch_size": 0}, "batch_size must be at least 1"), ({"rank": 2, "world_size": 2}, "rank 2 does not exist"),
    ({"seed": -1}, "seed must be at least 0"), ({"batch_size": 9, "drop_last": True}, "make no batch of 9")])
def test_impossible_numbers(change, message):
    with pytest.raises(ValueError, match=message):
        Loader(Numbers(4), **{"batch_size": 2, **change})
    with pytest.raises(ValueError, match="holds no items"):
        Loader(Numbers(0), batch_size=1)
