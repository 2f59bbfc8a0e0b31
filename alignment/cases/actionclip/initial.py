"""How ActionCLIP is filled without a file (sallymmx/ActionCLIP: ``clip/model.py``, ``modules/Visual_Prompt.py``)."""
import math

from alignment.initialization import Network, Rule, torch_bound, xavier_bound

TEXT_LAYERS = 3
NORMS = (
    Rule(r"(ln_\w+|norm\d?|message_ln|visual_ln)\.weight$", "constant", 1.0),
    Rule(r"(ln_\w+|norm\d?|message_ln|visual_ln)\.bias$", "constant", 0.0),
    Rule(r"in_proj_bias$|attn\.out_proj\.bias$", "constant", 0.0),
)
IMAGE = (
    Rule(r"\bvisual\.(class_embedding|(positional|time)_embedding)$", "normal", lambda shape: shape[-1] ** -0.5),
    Rule(r"\bvisual\.proj$", "normal", lambda shape: shape[0] ** -0.5),
    Rule(r"\bvisual\..*in_proj_weight$", "uniform", xavier_bound),
    Rule(r"\bvisual\.", "uniform", torch_bound),
)
TEXT = (
    Rule(r"\blogit_scale$", "constant", math.log(1 / 0.07)),
    Rule(r"\btoken_embedding\.weight$", "normal", 0.02),
    Rule(r"(?<!mit)\.positional_embedding$", "normal", 0.01),
    Rule(r"\btext_projection$", "normal", lambda shape: shape[0] ** -0.5),
    Rule(r"in_proj_weight$", "normal", lambda shape: shape[1] ** -0.5),
    Rule(r"out_proj\.weight$|c_proj\.weight$", "normal", lambda shape: (shape[0] * 2 * TEXT_LAYERS) ** -0.5),
    Rule(r"c_fc\.weight$", "normal", lambda shape: (2 * shape[1]) ** -0.5),
    Rule(r"mlp\..*bias$", "uniform", torch_bound),
)
FUSION = (
    Rule(r"fusion\..*in_proj_weight$", "uniform", xavier_bound),
    Rule(r"fusion\..*weight$", "normal", 0.02),
    Rule(r"fusion\..*bias$", "constant", 0.0),
)
SIZES = ("network.arch=custom", "network.custom.vision_width=128", f"network.custom.transformer_layers={TEXT_LAYERS}")
NETWORKS = (
    Network("transf", "configs/actionclip/mini.yaml", NORMS + FUSION + IMAGE + TEXT,
            (*SIZES, "network.joint=false", "network.fusion=Transf")),
    Network("joint", "configs/actionclip/mini.yaml", NORMS + IMAGE + TEXT, SIZES),
)
