"""Options of the AVS system. The defaults are the published S4 run with ResNet-50 (``avs_scripts/avs_s4/train.sh``)."""
from __future__ import annotations

from dataclasses import dataclass

from engine.config import ConfigError, RunConfig, TrainConfig, option


@dataclass(frozen=True)
class DataConfig:
    root: str = option("data/avsbench_data", "folder that holds Single-source and Multi-sources")
    split: str = option("test", "split that test.py judges", choices=("train", "val", "test"))
    masks: str = option("strict", "masks that are not black and white: refuse them, count every colour, or read them "
                        "as the original does", choices=("strict", "binarise", "original"))
    size: int = option(224, "side of the frames of your own videos, pixels (a multiple of 32)", low=32)
    shuffle_sound: bool = option(False, "give every clip another clip's sound: shows whether the network listens")
    val_batch_size: int = option(1, "videos of a validation batch", low=1)
    test_batch_size: int = option(1, "videos of a test batch; the published F-scores average batches of 4", low=1)

    def __post_init__(self):
        if self.size % 32:
            raise ConfigError(f"data.size: {self.size} is no multiple of 32")


@dataclass(frozen=True)
class AudioConfig:
    weights: str | None = option(None, "VGGish file (vggish-10086976.pth); none: random weights from audio.seed")
    pca: str | None = option(None, "vggish_pca_params file: PCA and quantisation of the features (never published so)")
    widths: list[int] = option([64, 128, 256, 256, 512, 512], "channels of VGGish's six convolutions", low=1)
    hidden: int = option(4096, "width of its hidden linear layers", low=1)
    seed: int = option(0, "of the random weights", low=0)

    def __post_init__(self):
        if len(self.widths) != 6:
            raise ConfigError(f"audio.widths: {self.widths} must name six widths")


@dataclass(frozen=True)
class NetworkConfig:
    backbone: str = option("resnet", "ResNet-50 or PVTv2-B5", choices=("resnet", "pvt"))
    backbone_weights: str | None = option(None, "ImageNet file: torchvision's resnet50 or pvt_v2_b5.pth")
    channel: int = option(256, "channels of the decoder", low=2)
    frames: int = option(5, "frames and seconds of a video", low=1)
    head: list[int] = option([128, 32], "channels of the two convolutions before the logits", low=1)
    tpavi_stages: list[int] = option([0, 1, 2, 3], "stages where the sound enters, 0 the finest", choices=(0, 1, 2, 3))
    tpavi_vv: bool = option(False, "attention of the frames to themselves")
    tpavi_va: bool = option(True, "attention of the frames to the sound")
    drop_path: float = option(0.1, "stochastic depth of PVTv2", low=0.0, high=0.99)
    pvt_dims: list[int] = option([64, 128, 320, 512], "PVTv2's widths by stage", low=1)
    pvt_heads: list[int] = option([1, 2, 5, 8], "its attention heads", low=1)
    pvt_depths: list[int] = option([3, 6, 40, 3], "its blocks", low=1)
    pvt_reductions: list[int] = option([8, 4, 2, 1], "its reductions of keys and values", low=1)


@dataclass(frozen=True)
class LossConfig:
    sound: bool = option(False, "add the semantic-aware loss (sa_loss_flag of S4, masked_av_flag of MS3)")
    stages: list[int] = option([0, 1, 2, 3], "stages it counts", choices=(0, 1, 2, 3))
    weight: float = option(0.5, "its weight (lambda_1)", low=0.0)
    pooling: str = option("avg", "how the predicted mask is reduced to a stage's size", choices=("avg", "max"))
    distance: str = option("kl", "MS3: between sound and map", choices=("kl", "euclidean"))
    normalise: bool = option(False, "MS3: bring both to length 1 first (norm_fea_flag)")
    threshold: bool = option(False, "MS3: weigh the map by 0 and 1 (threshold_flag)")
    closer: bool = option(False, "MS3: compare with the map of the clip of closest sound (closer_flag)")


@dataclass(frozen=True)
class OptimizerConfig:
    lr: float = option(1e-4, "learning rate of Adam, constant", low=0.0)
    beta1: float = option(0.9, "of Adam", low=0.0, high=1.0)
    beta2: float = option(0.999, "of Adam", low=0.0, high=1.0)
    eps: float = option(1e-8, "of Adam, outside the root", low=0.0)


@dataclass(frozen=True)
class UnreadConfig:
    """The original accepts these and reads none of them; so do we, with a warning."""

    wt_dec: float | None = option(None, "weight decay (the original's Adam has none)")
    weights: str | None = option(None, "--weights of the original's train.py")
    freeze_visual_extractor: bool | None = option(None, "cfg.TRAIN.FREEZE_VISUAL_EXTRACTOR")
    batch_size: int | None = option(None, "cfg.TRAIN.BATCH_SIZE")
    lambda_1: float | None = option(None, "cfg.LAMBDA_1")
    mask_num: int | None = option(None, "cfg.MASK_NUM")


@dataclass(frozen=True)
class AVSTrainConfig(TrainConfig):
    epochs: int = option(15, "epochs to train", low=1)
    batch_size: int = option(4, "videos per step and process", low=1)
    log_iters: int = option(50, "steps between two lines of the log", low=1)


@dataclass(frozen=True)
class AVSConfig(RunConfig):
    system: str = option("avs", "name of the system")
    seed: int = option(123, "of every random choice", low=0)
    output_dir: str = option("output/avs", "folder for checkpoints, logs and results")
    task: str = option("S4", "one source, masks of first frames; or several, all masks", choices=("S4", "MS3"))
    s4_weights: str | None = option(None, "MS3: start from the entries of this S4 network that fit (load_s4_params)")
    save_masks: bool = option(False, "test.py writes the predicted masks as PNGs (save_pred_mask)")
    train: AVSTrainConfig = option(AVSTrainConfig, "how training runs")
    data: DataConfig = option(DataConfig, "which videos")
    audio: AudioConfig = option(AudioConfig, "the frozen VGGish")
    network: NetworkConfig = option(NetworkConfig, "the network")
    loss: LossConfig = option(LossConfig, "what is minimised")
    optimizer: OptimizerConfig = option(OptimizerConfig, "how")
    unread: UnreadConfig = option(UnreadConfig, "accepted and without effect, as in the original")

    def __post_init__(self):
        if self.loss.sound:
            silent = set(self.loss.stages) - set(self.network.tpavi_stages if self.network.tpavi_va else [])
            if silent:
                raise ConfigError(f"loss.stages: {sorted(silent)} have no sound; the semantic-aware loss counts stages "
                                  "that are in network.tpavi_stages, with network.tpavi_va on")
        if self.network.tpavi_stages and not (self.network.tpavi_vv or self.network.tpavi_va):
            raise ConfigError("network.tpavi_stages: with stages, switch network.tpavi_va or tpavi_vv on")
        if self.s4_weights and self.task != "MS3":
            raise ConfigError("s4_weights: is for task MS3")
