"""MiVOS: what its cases check and where they depart from the rule."""
from __future__ import annotations

from alignment.compare import Allowance

LEAD = "Three networks, the state over a video that joins them, the interactive protocol and its measures."


def allowances(manifest: dict) -> list[Allowance]:
    """Named exceptions for a case."""
    return [
        Allowance(r"backward\w*/grad:kv_m_f16\.key_proj\.bias$",
                  "mathematically zero: it shifts all affinities of a query alike and softmax does not see it; what is "
                  "left is rounding, judged by the stage's largest gradient", stage_scale=True),
        Allowance(r"^metric/(sec_)?[iu]$",
                  "pixel counts of float32 probabilities above 0.5: a few lie within rounding of it", float32=5e-4),
        Allowance(r"sequence/round\d+/masks$",
                  "the argmax of nearly tied float32 probabilities: the bundle says that a few pixels may differ",
                  exact_share=0.999),
        Allowance(r"sequence/round\d+/areas$",
                  "pixel counts of these maps: each pixel that falls to the other side changes two of them",
                  exact_share=0.75),
    ]
