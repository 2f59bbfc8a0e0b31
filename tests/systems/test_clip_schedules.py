"""The originals' schedules with their oddities."""
import pytest

from systems.clip_schedules import actionclip_cosine, actionclip_multistep, xclip_by_update, xclip_cosine


def test_actionclip_starts_idle_and_holds_ten_iterations():
    rate = actionclip_cosine(1.0, epochs=10, warmup=2, steps_per_epoch=40)
    assert [rate(k) for k in range(9)] == [0.0] * 9
    assert rate(9) == rate(18) == 9 / 40 / 2 and rate(19) == 19 / 40 / 2
    assert actionclip_cosine(1.0, epochs=10, warmup=2, steps_per_epoch=40, skip_idle=True)(0) == rate(9)


def test_actionclip_multistep_refuses_early_milestones():
    assert actionclip_multistep(1.0, milestones=[3], warmup=1, steps_per_epoch=10)(30) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="behind the warm-up"):
        actionclip_multistep(1.0, milestones=[1], warmup=1, steps_per_epoch=10)


def test_xclip_has_one_floor_and_jumps_down_behind_the_warm_up():
    slow, fast = (xclip_cosine(base, floor=0.01, epochs=6, warmup=1, steps_per_epoch=100) for base in (1.0, 10.0))
    assert slow(600) == fast(600) == 0.01
    assert slow(99) > slow(100)


def test_xclip_updates_use_the_index_of_the_batch_before():
    by_update = xclip_by_update(lambda index: float(index), 4, steps_per_epoch=10)
    assert [by_update(j) for j in range(5)] == [0.0, 3.0, 7.0, 13.0, 17.0]
    assert [xclip_by_update(float, 1, steps_per_epoch=10)(j) for j in range(3)] == [0.0, 0.0, 1.0]
