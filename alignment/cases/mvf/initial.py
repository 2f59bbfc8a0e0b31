"""How MVFNet is filled without a file (whwu95/MVFNet: the mmaction ResNet, ``MVF.init_weights``, ``TSNHead``)."""
import math

from alignment.initialization import Network, Rule, kaiming_out

RULES = (
    Rule(r"bn\d?\.weight$|downsample\.1\.weight$|running_var$", "constant", 1.0),
    Rule(r"bn\d?\.bias$|downsample\.1\.bias$|running_mean$", "constant", 0.0),
    # One kernel for each view, of 3 taps; the deviation counts output channels although the convolution is depthwise.
    Rule(r"(shift_conv|h_conv|w_conv)\.weight$", "normal", lambda shape: math.sqrt(2 / (3 * shape[0]))),
    Rule(r"^\w+\.cls_head\.new_fc\.weight$", "normal", 0.01),
    Rule(r"^\w+\.cls_head\.new_fc\.bias$", "constant", 0.0),
    Rule(r"^\w+\.backbone\..*\.weight$", "normal", kaiming_out),
)
NETWORKS = (
    Network("r50", "configs/mvf/ucf101.yaml", RULES),
    Network("r18", "configs/mvf/kinetics_r50_4x16.yaml", RULES, ("network.depth=18", "network.mvf_freq=[1,1,1,1]")),
)
