"""How the networks of deep feature flow are filled without a file.

PSPNet: the CSAIL and the mmsegmentation code (the latter starts every residual branch at 0). FlowNetS: ClementPinard's
FlowNetPytorch; the slim one of the article is PyTorch's own. The task layer is drawn by Xavier's rule.
"""
import math

from alignment.initialization import Network, Rule, fan_in, kaiming_out, torch_bound, xavier_std

NORMS = (
    Rule(r"(bn\d?|downsample\.1|stem\.\d|conv1\.1|conv1\.4|conv1\.7)\.(weight|running_var)$", "constant", 1.0),
    Rule(r"(bn\d?|downsample\.1|stem\.\d|conv1\.1|conv1\.4|conv1\.7)\.bias$|running_mean$", "constant", 0.0),
)
PSPNET = (
    Rule(r"conv_seg\.weight$", "normal", 0.01),
    Rule(r"conv_seg\.bias$", "constant", 0.0),
    Rule(r"(backbone|psp_modules|bottleneck|auxiliary_head).*weight$", "normal", kaiming_out),
)
ZERO_RESIDUAL = (Rule(r"layer\d\.\d+\.bn3\.weight$", "constant", 0.0),)
SLIM = (
    Rule(r"net_task\.weight$", "normal", xavier_std),
    Rule(r"net_task\.bias$", "constant", 0.0),
    Rule(r"flownet\.", "uniform", torch_bound),
)
FULL = (
    Rule(r"bias$", "constant", 0.0),
    # A transposed convolution's fan is counted along its second axis, as in torch.nn.init.
    Rule(r"weight$", "normal", lambda shape: math.sqrt(2 / (1 + 0.1**2) / fan_in(shape))),
)
SMALL = ("network.depth=50", "network.base=32", "network.head_width=64")
NETWORKS = (
    Network("csail", "configs/dff/article.yaml", NORMS + PSPNET + SLIM, SMALL),
    Network("mmseg", "configs/dff/pspnet_mmseg.yaml", ZERO_RESIDUAL + NORMS + PSPNET, SMALL),
    Network("flownets", "configs/dff/flownets_chairs.yaml", FULL),
)
