"""Options of the ``dff`` system. Defaults are the article's training of Deep Feature Flow."""
from __future__ import annotations

from dataclasses import dataclass

from engine.config import ConfigError, RunConfig, option


@dataclass(frozen=True)
class DataConfig:
    root: str = option("data/cityscapes", "folder of the data set")
    split: str = option("1-1", "fraction of the training list: it fills {split} in data.train_list")
    images: str = option("leftImg8bit_sequence_down_2x", "folder of the sequences below root")
    labels: str = option("gtFine_down_2x", "folder of the labels below root (trainIds, or else labelIds)")
    train_list: str = option("", "training list below root, e.g. train_sup_{split}.txt (empty: every labelled frame)")
    val_list: str = option("", "validation list below root (empty: every labelled frame)")
    difference: int = option(4, "frames from key to labelled frame (the article calls 4 a distance of 5)", low=0)
    difference_range: list[int] = option([], "in training draw the difference from these bounds, inclusive", low=0)
    crop: list[int] = option([256, 512], "height and width of the training crop (empty: whole pictures)", low=8)
    compatible_crop: bool = option(True, "as the article, whose crops never reach the last row and column")
    flip: float = option(0.0, "probability that a training sample is mirrored", low=0.0, high=1.0)
    scales: list[float] = option([1.0, 1.0], "range of the factor by which training pictures are resized", low=0.1)
    max_share: float = option(1.0, "draw a crop again while one class fills this share of it (mmsegmentation: 0.75; "
                              "1: never)", low=0.0, high=1.0)
    jitter: bool = option(False, "change brightness, contrast, saturation and hue in training, as mmsegmentation")
    flow_style: str = option("article", "normalization of the flow network's images, as its weights expect it",
                             choices=("article", "flownet_pytorch", "official"))
    repeat: int = option(1, "times an epoch goes through the training list", low=1)
    flow_pairs: str = option("flow", "folder below root of pairs with known flow, train/ and val/ (part flownets)")
    flow_vertical_flip: float = option(0.0, "probability that a pair with known flow is turned upside down", low=0.0,
                                       high=1.0)
    flow_translate: int = option(0, "pixels by which the second image of such a pair is moved at most", low=0)

    def __post_init__(self):
        for name, value in (("difference_range", self.difference_range), ("crop", self.crop)):
            if len(value) not in (0, 2):
                raise ConfigError(f"data.{name}: {value} must have two entries or none")
        if len(self.scales) != 2:
            raise ConfigError(f"data.scales: {self.scales} must have two entries")
        if any(side % 8 for side in self.crop):
            raise ConfigError(f"data.crop: {self.crop} must be multiples of 8")


@dataclass(frozen=True)
class NetworkConfig:
    backbone: str = option("csail", "stem and names of the feature network: the article's or mmsegmentation's",
                           choices=("csail", "mmseg_v1c"))
    depth: int = option(101, "layers of its ResNet", choices=(18, 34, 50, 101, 152))
    blocks: list[int] = option([], "blocks of each stage, where not those of the depth", low=1)
    base: int = option(64, "channels of the first stage's blocks", low=4)
    stem: list[int] = option([], "widths of the stem's three convolutions, where not the published", low=4)
    head_width: int = option(512, "channels of the pyramid head", low=4)
    num_classes: int = option(19, "classes", low=2)
    auxiliary: int = option(0, "channels of the auxiliary head on layer3 (mmsegmentation: 256; 0: none)", low=0)
    dropout: float = option(0.1, "before each classifier, when PSPNet is trained", low=0.0, high=0.99)
    closed_form: bool = option(True, "pyramid half of the bottleneck convolution in closed form (same result, faster)")
    flownet: str = option("slim", "flow network: the article's, or FlowNetPytorch's without or with batch norm",
                          choices=("slim", "full", "full_bn"))
    flow_channels: list[int] = option([], "widths of its six levels, where not the published", low=2)
    scale_map: bool = option(False, "multiply the moved map by a learned one (official)")
    warp_padding: str = option("border", "what lies outside the key map: its border or zeros",
                               choices=("border", "zeros"))
    flow_input_scale: float = option(1.0, "1, or 0.5 for flow on half-size images", choices=(1.0, 0.5))
    task_start: str = option("xavier", "task layer before training: random (article), or one that changes nothing",
                             choices=("xavier", "identity"))
    backbone_weights: str | None = option(None, "ImageNet ResNet file to train PSPNet from")
    pspnet_weights: str | None = option(None, "PSPNet file to train DFF from")
    flow_weights: str | None = option(None, "flow network file to train DFF from")

    def __post_init__(self):
        for name, count in (("blocks", 4), ("stem", 3), ("flow_channels", 6)):
            if len(getattr(self, name)) not in (0, count):
                raise ConfigError(f"network.{name}: {getattr(self, name)} must have {count} entries or none")


@dataclass(frozen=True)
class OptimizerConfig:
    kind: str = option("sgd", "optimizer", choices=("sgd", "adam"))
    lr: float = option(5e-4, "learning rate", low=0.0)
    momentum: float = option(0.9, "of SGD", low=0.0, high=1.0)
    weight_decay: float = option(5e-4, "added to the gradient", low=0.0)
    decay_biases: bool = option(True, "biases decay too (FlowNetPytorch: no)")
    head_lr_mult: float = option(1.0, "factor on the rate of decode_head (part pspnet)", low=0.0)
    schedule: str = option("warmup", "constant after a warm-up (article), polynomial by update, or constant",
                           choices=("warmup", "polynomial", "constant"))
    warmup_lr: float = option(5e-5, "rate of the warm-up", low=0.0)
    warmup_steps: int = option(1000, "updates of the warm-up", low=0)
    compat_warmup: bool = option(True, "as the article: the very first update uses the full rate already")
    power: float = option(0.9, "of the polynomial", low=0.0)
    min_lr: float = option(1e-4, "end of the polynomial", low=0.0)
    average: str = option("valid", "cross entropy over labelled pixels (article) or all (mmsegmentation)",
                          choices=("valid", "all"))
    auxiliary_weight: float = option(0.4, "of the auxiliary head's loss", low=0.0)


@dataclass(frozen=True)
class TestConfig:
    distances: list[int] = option([1, 5, 9], "frame differences to report mIoU for", low=0)
    key_interval: int = option(5, "also the average over the offsets 0 ... l-1 of this key interval", low=1)
    propagation: str = option("direct", "move the key map to each frame, or frame by frame (prediction)",
                              choices=("direct", "chained"))
    adaptive: str = option("off", "further key frames in prediction: by mean flow or by changed labels",
                           choices=("off", "flow", "scores"))
    threshold: float = option(0.0, "of adaptive: pixels, or share of pixels", low=0.0)


@dataclass(frozen=True)
class DFFConfig(RunConfig):
    system: str = option("dff", "name of the system")
    output_dir: str = option("output/dff", "folder for checkpoints, logs and results")
    part: str = option("dff", "what is trained, evaluated, converted and exported: the whole, or one of its networks",
                       choices=("dff", "pspnet", "flownets"))
    data: DataConfig = option(DataConfig, "which frames, and how they are prepared")
    network: NetworkConfig = option(NetworkConfig, "the networks' sizes")
    optimizer: OptimizerConfig = option(OptimizerConfig, "how they are trained")
    test: TestConfig = option(TestConfig, "what test.py and predict.py do")
