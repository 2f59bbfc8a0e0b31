"""The learning rate of the article's training of Deep Feature Flow, by update index (0-based)."""
from __future__ import annotations


def article_rate(step: int, rate: float, warmup_rate: float, warmup_steps: int, compatible: bool = True) -> float:
    """Constant rate after a constant warm-up.

    The article sets the rate after each step, so its first update uses the full rate already and the warm-up covers
    updates 1 to ``warmup_steps``. ``compatible=False`` warms up from the first update on.
    """
    if compatible:
        return warmup_rate if 1 <= step <= warmup_steps else rate
    return warmup_rate if step < warmup_steps else rate
