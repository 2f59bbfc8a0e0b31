"""How X-CLIP is filled without a file (microsoft/VideoX: ``xclip.py``, ``cct.py``, ``mit.py``, ``prompt.py``)."""
from alignment.cases.actionclip.initial import IMAGE, NORMS, SIZES, TEXT
from alignment.initialization import Network, Rule, xavier_bound

OWN = (
    Rule(r"prompts_visual_proj$", "normal", 1.0),  # not divided by the width
    Rule(r"prompts_generator\.alpha$", "constant", 0.1),
    Rule(r"mit\.positional_embedding$", "normal", 0.02),
    Rule(r"mit\..*in_proj_weight$", "uniform", xavier_bound),
    Rule(r"(mit|prompts_generator)\..*weight$", "normal", 0.02),
    Rule(r"(mit|prompts_generator)\..*bias$", "constant", 0.0),
)
NETWORKS = (Network("small", "configs/xclip/mini.yaml", NORMS + OWN + IMAGE + TEXT, SIZES),)
