"""Learning rates of the two trainings of Deep Feature Flow, by update index (0-based)."""
from __future__ import annotations


def article_rate(step: int, rate: float, warmup_rate: float, warmup_steps: int, compatible: bool = True) -> float:
    """Constant rate after a constant warm-up.

    The article sets the rate after each step, so its first update uses the full rate already and the warm-up covers
    updates 1 to ``warmup_steps``. ``compatible=False`` warms up from the first update on.
    """
    if compatible:
        return warmup_rate if 1 <= step <= warmup_steps else rate
    return warmup_rate if step < warmup_steps else rate


def polynomial_rate(step: int, rate: float, steps: int, power: float = 0.9, minimum: float = 1e-4) -> float:
    """mmsegmentation's ``poly``: from ``rate`` down to ``minimum`` over ``steps`` updates."""
    left = max(0.0, 1.0 - step / steps) ** power
    return (rate - minimum) * left + minimum
