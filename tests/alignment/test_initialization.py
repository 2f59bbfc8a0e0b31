import math

import numpy as np
import pytest

from alignment import initialization
from alignment.align import available_systems
from alignment.initialization import Rule, fan_in, judge, kaiming_out, torch_bound, xavier_bound

SHAPE, LEVEL = (64, 32, 3, 3), 1e-6
RULES = (Rule(r"bn\.weight$", "constant", 1.0), Rule(r"conv\.weight$", "normal", kaiming_out),
         Rule(r"fc\.", "uniform", torch_bound), Rule(r"mix\.weight$", "orthogonal"))


@pytest.fixture
def draws():
    return np.random.default_rng(5)


def test_right_values_pass(draws):
    assert judge("conv.weight", draws.normal(0, math.sqrt(2 / 576), SHAPE), RULES, LEVEL).passed
    assert judge("fc.weight", draws.uniform(-0.1, 0.1, (40, 100)), RULES, LEVEL).passed
    assert judge("fc.bias", draws.uniform(-0.1, 0.1, 40), RULES, LEVEL, weight=(40, 100)).passed
    assert judge("bn.weight", np.ones(8), RULES, LEVEL).passed
    assert judge("mix.weight", np.linalg.qr(draws.normal(size=(27, 8)))[0].T.reshape(8, 3, 3, 3), RULES, LEVEL).passed


@pytest.mark.parametrize(("name", "values"), [
    ("conv.weight", lambda draws: draws.normal(0, math.sqrt(2 / 288), SHAPE)),  # fan_in for fan_out
    ("conv.weight", lambda draws: draws.normal(0.01, math.sqrt(2 / 576), SHAPE)),  # another mean
    ("conv.weight", lambda draws: draws.uniform(-1, 1, SHAPE) * math.sqrt(6 / 576)),  # uniform of the same deviation
    ("fc.weight", lambda draws: draws.uniform(-0.11, 0.11, (40, 100))),  # beyond the bound
    ("fc.weight", lambda draws: draws.uniform(-0.09, 0.09, (40, 100))),  # within it, but narrower
    ("fc.bias", lambda draws: np.zeros(40)),
    ("bn.weight", lambda draws: np.array([1.0, 1.0, 0.0])),
    ("mix.weight", lambda draws: draws.normal(0, 0.2, (8, 3, 3, 3))),
])
def test_another_rule_fails(draws, name, values):
    verdict = judge(name, values(draws), RULES, LEVEL, weight=(40, 100) if name == "fc.bias" else None)
    assert not verdict.passed
    assert verdict.finding == "values"
    assert verdict.relative > verdict.allowed


def test_an_entry_without_a_rule_or_not_finite_fails():
    assert judge("extra.weight", np.ones(3), RULES, LEVEL).finding == "missing"
    assert judge("bn.weight", np.array([1.0, np.nan]), RULES, LEVEL).finding == "finite"


def test_fans_are_torchs():
    torch = pytest.importorskip("torch")
    for shape in (SHAPE, (40, 100)):
        assert (fan_in(shape), initialization.fan_out(shape)) == torch.nn.init._calculate_fan_in_and_fan_out(
            torch.empty(shape))
    layer = torch.nn.Linear(50, 30)
    assert layer.weight.abs().max() <= torch_bound((30, 50))
    assert torch.nn.init.xavier_uniform_(torch.empty(300, 500)).abs().max() <= xavier_bound((300, 500))


def test_every_system_has_rules():
    assert [system for system in available_systems() if not initialization.has_rules(system)] == []


def test_a_fresh_network_is_judged_whole():
    outcome = initialization.run_system("mvf")
    assert outcome.passed
    assert {line.step for line in outcome.lines} == {"init"}
    names = [line.name for line in outcome.lines]
    assert len(names) == len(set(names)) == 488
