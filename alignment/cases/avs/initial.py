"""How the AVS network is filled without a file.

OpenNLPLab/AVSBench: ``resnet.py``, ``pvt.py``, ``TPAVI.py`` and ``Classifier_Module``; the rest is PyTorch's own.
"""
import math

from alignment.initialization import Network, Rule, fan_out, kaiming_out, torch_bound

NETWORKS_AROUND = (
    # The last norm of an attention block starts at 0, weight too: the block hands its input on.
    Rule(r"W_z\.1\.(weight|bias|running_mean)$", "constant", 0.0),
    Rule(r"W_z\.1\.running_var$|norm_layer\.weight$", "constant", 1.0),
    Rule(r"norm_layer\.bias$", "constant", 0.0),
    Rule(r"conv2d_list\.\d\.weight$", "normal", 0.01),
    Rule(r"", "uniform", torch_bound),
)
RESNET = (
    Rule(r"\.resnet\..*(bn\d|downsample\.1)\.(weight|running_var)$", "constant", 1.0),
    Rule(r"\.resnet\..*(bn\d|downsample\.1)\.(bias|running_mean)$", "constant", 0.0),
    Rule(r"\.resnet\..*weight$", "normal", kaiming_out),
)
PVT = (
    Rule(r"encoder_backbone\..*norm\d?\.weight$", "constant", 1.0),
    Rule(r"encoder_backbone\..*bias$", "constant", 0.0),
    # timm's truncated normal is cut at +-2, a hundred deviations away.
    Rule(r"encoder_backbone\..*(attn\.(q|kv|proj)|mlp\.fc\d)\.weight$", "normal", 0.02),
    # Depthwise: the original divides the fan by the groups, which are the output channels.
    Rule(r"encoder_backbone\..*dwconv\.weight$", "normal", lambda shape: math.sqrt(2 / (fan_out(shape) / shape[0]))),
    Rule(r"encoder_backbone\..*(proj|sr)\.weight$", "normal", kaiming_out),
)
NETWORKS = (
    Network("resnet50", "configs/avs/paper_ms3_resnet50.yaml", RESNET + NETWORKS_AROUND),
    Network("pvt", "configs/avs/paper_ms3_pvt.yaml", PVT + NETWORKS_AROUND,
            ("network.pvt_dims=[32,64,80,128]", "network.pvt_depths=[1,1,2,1]")),
)
