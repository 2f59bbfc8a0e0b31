import math

import numpy as np
import pytest
import torch

from engine import schedules
from engine.schedules import (
    by_epoch,
    constant,
    cosine,
    cosine_after_warmup,
    exponential,
    multistep,
    polynomial,
    proportional_warmup,
    ramp,
    scaled,
)

N = 40


def torch_rates(make, base=0.1, updates=N):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
    scheduler = make(optimizer)
    rates = []
    for _ in range(updates):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("ours, theirs", [
    (multistep(0.1, [5, 12, 12, 30]), lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [5, 12, 12, 30])),
    (multistep(0.1, [7], 0.5), lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [7], 0.5)),
    (cosine(0.1, N), lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, N)),
    (cosine(0.1, N, 0.01), lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, N, 0.01)),
    (polynomial(0.1, 30, 0.9), lambda o: torch.optim.lr_scheduler.PolynomialLR(o, 30, 0.9)),
    (exponential(0.1, 0.9), lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9)),
    (by_epoch(multistep(0.1, [2, 3]), 7), lambda o: torch.optim.lr_scheduler.StepLR(o, 1000)),
], ids=["multistep", "gamma", "cosine", "floor", "polynomial", "exponential", "by_epoch"])
def test_torch_schedules(ours, theirs):
    wanted = torch_rates(theirs)
    if theirs(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)).__class__.__name__ == "StepLR":
        wanted = [0.1] * 14 + [0.1 * 0.1] * 7 + [0.1 * 0.1 * 0.1] * 19
    np.testing.assert_allclose([ours(k) for k in range(N)], wanted, rtol=1e-12, atol=1e-17)


def test_constant_and_scaled():
    assert {scaled(constant(0.5), 4)(k) for k in range(5)} == {2.0}


def test_polynomial_with_floor_by_hand():
    rate = polynomial(1e-2, 100, 0.9, 1e-4)
    assert rate(0) == 1e-2
    assert rate(50) == pytest.approx((1e-2 - 1e-4) * 0.5 ** 0.9 + 1e-4, rel=1e-15)
    assert rate(100) == rate(1000) == 1e-4


def test_cosine_stays_at_its_floor():
    rate = cosine(1.0, 10, 0.25)
    assert rate(5) == pytest.approx(0.625) and rate(10) == rate(99) == 0.25


def test_mmcv_warmup_by_hand():
    """Upstream MVF: 1 % of the regular rate rising over 25070 iterations; also while the regular rate changes."""
    rate = proportional_warmup(multistep(0.015, [10]), 20, 0.01)
    assert rate(0) == pytest.approx(0.00015, rel=1e-12)
    assert rate(9) == pytest.approx(0.015 * (1 - 11 / 20 * 0.99), rel=1e-12)
    assert rate(10) == pytest.approx(0.0015 * (1 - 10 / 20 * 0.99), rel=1e-12)
    assert rate(20) == rate(21) == pytest.approx(0.0015)


def test_ramp_by_hand():
    """X-CLIP: a line from 0, then the cosine at the true index, so the rate jumps down."""
    rate = ramp(cosine(8e-6, 3000, 8e-8), 500, 0.0, 8e-6)
    assert rate(0) == 0 and rate(499) == pytest.approx(7.984e-6, rel=1e-3)
    assert rate(500) == pytest.approx(7.47e-6, rel=1e-3)
    assert ramp(constant(1.0), 0, 5.0, 5.0)(0) == 1.0


@pytest.mark.parametrize("case", ["0.00125:0:5:50:20", "0.00125:0:5:10:3"])
def test_paddle_mvf_golden(golden, case):
    base, start, warmup, epochs, steps = case.split(":")
    rate = cosine_after_warmup(float(base), warmup_start=float(start), warmup_epochs=int(warmup),
                               max_epochs=int(epochs), steps_per_epoch=int(steps))
    with np.load(golden / "mvf" / "ucf101_pipeline" / "values.npz") as values:
        wanted = values[f"schedule/{case}"]
    ours = np.array([rate(k) for k in range(len(wanted))])
    assert np.abs(ours - wanted).max() <= 1e-12 * np.abs(wanted).max()
    inner = wanted[:-1]
    np.testing.assert_allclose(ours[1:-1], inner[1:], rtol=1e-9)
    assert ours[0] == wanted[0] == 0


def test_paddle_mvf_without_warmup_is_the_plain_cosine():
    rate = cosine_after_warmup(0.1, warmup_start=0.0, warmup_epochs=0, max_epochs=4, steps_per_epoch=10)
    plain = cosine(0.1, 40)
    assert all(math.isclose(rate(k), plain(k), rel_tol=1e-12, abs_tol=1e-18) for k in range(41))


@pytest.mark.parametrize("make", [
    lambda: cosine(0.1, 0), lambda: polynomial(0.1, 0), lambda: by_epoch(constant(1), 0),
    lambda: cosine_after_warmup(0.1, warmup_start=0, warmup_epochs=1, max_epochs=5, steps_per_epoch=0),
    lambda: schedules.multistep(0.1, [5, 2])])
def test_impossible_lengths(make):
    with pytest.raises(ValueError, match="must"):
        make()
