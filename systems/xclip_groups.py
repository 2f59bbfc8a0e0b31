"""X-CLIP's eight parameter groups (upstream utils/optimizer.py), in upstream's order."""
from __future__ import annotations

# name, factor on the learning rate, whether weight decay applies
GROUPS = (("rest", 1, True), ("rest_plain", 1, False), ("mit", 10, True), ("mit_plain", 10, False),
          ("prompts", 10, True), ("prompts_plain", 10, False), ("message", 10, True), ("message_plain", 10, False))
_PARTS = (("message_", 6), ("mit", 2), ("prompts", 4))


def group_index(name: str, axes: int) -> int:
    """Index into :data:`GROUPS` of a parameter by name and number of axes.

    No decay for vectors, biases and position tables. A scalar is no vector: ``logit_scale`` decays when it trains.
    """
    plain = axes == 1 or name.endswith(".bias") or "positional_embedding" in name
    return next((first for part, first in _PARTS if part in name), 0) + int(plain)
