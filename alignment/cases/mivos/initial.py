"""How the networks of MiVOS are filled without a file (Mask-Propagation, MiVOS, DeepLabV3Plus-Pytorch for S2M)."""
from alignment.initialization import Network, Rule, kaiming_in, kaiming_out, torch_bound

NORM = r"(bn\d|downsample\.1|project\.1|convs\.[0-3]\.1|convs\.4\.2|classifier\.1)"
NORMS = (
    Rule(rf"{NORM}\.(weight|running_var)$", "constant", 1.0),
    Rule(rf"{NORM}\.(bias|running_mean)$", "constant", 0.0),
)
PROPAGATION = (
    Rule(r"mask_rgb_encoder\..*bias$", "constant", 0.0),
    Rule(r"rgb_encoder\..*weight$", "normal", kaiming_out),
    Rule(r"", "uniform", torch_bound),
)
S2M = (
    Rule(r"\.backbone\..*weight$", "normal", kaiming_out),
    Rule(r"\.classifier\..*weight$", "normal", kaiming_in),
    Rule(r"\.classifier\..*bias$", "uniform", torch_bound),
)
NETWORKS = (
    Network("propagation", "configs/mivos/propagation_stage2.yaml", NORMS + PROPAGATION),
    Network("fusion", "configs/mivos/fusion_stage1.yaml", (Rule(r"", "uniform", torch_bound),)),
    Network("s2m", "configs/mivos/s2m.yaml", NORMS + S2M),
)
