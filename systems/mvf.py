"""MVFNet: action recognition on UCF-101 and Kinetics."""
from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle.static import InputSpec

from datasets.labels import read_labels
from datasets.loader import Loader
from datasets.mvf_clips import ClipDataset, ClipRecipe, test_views
from datasets.video import VideoReader
from datasets.video_list import read_video_list
from deploy.export import Graph
from deploy.prediction import ClassPrediction
from engine import distributed, schedules
from engine.config import ConfigError, RunConfig, build, option, to_dict
from engine.logger import console
from engine.optimization import GlobalNorm, Group, Optimizer, PerTensorNorm
from engine.precise_bn import update_statistics
from losses.classification import smoothed_cross_entropy
from metrics.classification import mean_class_accuracy, softmax, top_k_accuracy
from models import conversion, weights
from models.layers import batch_norms
from models.mvf import UPSTREAM_DROPPED, MVFNet, average_views, upstream_name


@dataclass(frozen=True)
class DataConfig:
    root: str = option("data/ucf101", "folder of the data set")
    layout: str = option("rawframes", "what the lists name: folders of frames or video files",
                         choices=("rawframes", "videos"))
    split: int = option(1, "split of UCF-101: it fills {split} in the names of the lists", low=1)
    frames_folder: str = option("rawframes", "folder below root that the lists' paths start from")
    train_list: str = option("ucf101_train_split_{split}_rawframes.txt", "training list below root")
    val_list: str = option("ucf101_val_split_{split}_rawframes.txt", "validation and test list below root")
    template: str = option("img_{:05}.jpg", "file name of a frame; the first has number 1")
    labels: str = option("configs/mvf/ucf101_labels.txt", "file with the class names in label order")
    recipe: str = option("ucf101", "sampling and augmentation: the Paddle port's or the original's for Kinetics",
                         choices=("ucf101", "kinetics"))
    clip_len: int = option(16, "frames of a clip", low=1)
    interval: int = option(4, "frames from one frame of a clip to the next", low=1)
    short_side: int = option(256, "shorter side after resizing, pixels", low=8)
    train_size: int = option(224, "side of the training and validation crop, pixels", low=8)
    test_size: int = option(256, "side of the test crops, pixels", low=8)
    test_clips: int = option(10, "clips of a test video", low=1)
    test_crops: int = option(3, "crops of a test clip: 3 or 1 (centre)", choices=(1, 3))
    temporal_jitter: bool = option(False, "move each training frame by less than an interval")
    flip: float = option(0.5, "probability that a training clip is mirrored", low=0.0, high=1.0)
    min_area: float = option(0.08, "smallest share of the frame that a training crop takes", low=0.01, high=1.0)


@dataclass(frozen=True)
class NetworkConfig:
    num_classes: int = option(101, "classes of the classifier", low=2)
    depth: int = option(50, "layers of the ResNet", choices=(18, 34, 50, 101, 152))
    base_channels: int = option(64, "width of the first stage; published networks have 64", low=8)
    num_stages: int = option(4, "residual stages; published networks have 4", low=1, high=4)
    alpha: float = option(0.125, "share of the channels that is fused", low=0.0, high=1.0)
    mvf_freq: list[int] = option([0, 0, 1, 1], "which of the four stages are fused", choices=(0, 1))
    mode: str = option("THW", "views that are summed", choices=("THW", "TH", "T"))
    share: bool = option(False, "one kernel for all views")
    use_hs: bool = option(True, "batch norm and hard-swish after the sum")
    dropout: float = option(0.5, "on the pooled features", low=0.0, high=0.99)
    style: str = option("pytorch", "where a bottleneck has its stride", choices=("pytorch", "caffe"))
    frozen_stages: int = option(-1, "freeze the stem and so many stages (-1: nothing)", low=-1, high=4)
    norm_eval: bool = option(False, "batch norms keep their running statistics in training")
    norm_frozen: bool = option(False, "with norm_eval: they get no gradient either")
    partial_norm: bool = option(False, "freeze the batch norms of the frozen stages only")
    avg_down: bool = option(False, "downsample by average pooling")
    avd: bool = option(False, "an average pooling takes the 3x3 convolution's stride")
    avd_first: bool = option(False, "with avd: before the convolution")
    deep_stem: bool = option(False, "three 3x3 convolutions instead of the 7x7")
    stem_width: int = option(32, "width of the deep stem's first convolution", low=8)
    unbiased_variance: bool = option(True, "running variance as PyTorch's; false: as Paddle's own layer")
    backbone_weights: str | None = option(None, "ImageNet ResNet file (torchvision names) to start from")

    def __post_init__(self):
        if len(self.mvf_freq) != 4:
            raise ConfigError(f"network.mvf_freq: {self.mvf_freq} must have one entry for each of the four stages")


@dataclass(frozen=True)
class OptimizerConfig:
    lr: float = option(0.00125, "base learning rate", low=0.0)
    momentum: float = option(0.9, "of SGD", low=0.0, high=1.0)
    nesterov: bool = option(True, "Nesterov's form of momentum")
    weight_decay: float = option(5e-4, "added to the gradient, of norms and biases too", low=0.0)
    schedule: str = option("cosine", "cosine by epochs (the port) or steps (the original)", choices=("cosine", "step"))
    warmup_epochs: float = option(5.0, "epochs of linear warm-up (cosine)", low=0.0)
    warmup_start: float = option(0.0, "learning rate of the first step (cosine)", low=0.0)
    milestones: list[float] = option([90.0, 130.0], "epochs after which the rate falls to a tenth (step)")
    warmup_steps: int = option(0, "updates of linear warm-up from one per cent (step)", low=0)
    clip: str = option("tensor", "limit the L2 norm of each gradient or of all together",
                       choices=("tensor", "global", "none"))
    max_norm: float = option(40.0, "that limit", low=0.0)
    smoothing: float = option(0.1, "label smoothing", low=0.0, high=0.99)
    head_lr_mult: float = option(1.0, "factor on the classifier's learning rate", low=0.0)
    bias_lr_mult: float = option(1.0, "factor on the biases' learning rate", low=0.0)
    bias_decay_mult: float = option(1.0, "factor on the biases' decay", low=0.0)
    norm_decay_mult: float = option(1.0, "factor on the norms' decay", low=0.0)


@dataclass(frozen=True)
class MVFConfig(RunConfig):
    system: str = option("mvf", "name of the system")
    output_dir: str = option("output/mvf", "folder for checkpoints, logs and results")
    data: DataConfig = option(DataConfig, "which videos, and how clips are cut from them")
    network: NetworkConfig = option(NetworkConfig, "the network's sizes")
    optimizer: OptimizerConfig = option(OptimizerConfig, "how it is trained")
    average_clips: str = option("prob", "average views after or before the softmax", choices=("prob", "score"))
    views_per_forward: int = option(5, "views computed at a time in a test; limits memory, changes nothing", low=1)


class MVF:
    """Clips of T frames in, class scores out; trained by SGD on one view, tested on many."""

    Config = MVFConfig
    score = "mean_class_accuracy"  # the recipe keeps the best by this

    def __init__(self, config: MVFConfig):
        self.config = config
        data = config.data
        self.recipe = ClipRecipe(
            name=data.recipe, clip_len=data.clip_len, interval=data.interval, short_side=data.short_side,
            train_size=data.train_size, test_size=data.test_size, test_clips=data.test_clips,
            test_crops=data.test_crops, temporal_jitter=data.temporal_jitter, flip=data.flip,
            min_area=data.min_area)

    def network(self) -> MVFNet:
        options = self.config.network
        width = options.stem_width
        backbone = {
            "base_channels": options.base_channels, "num_stages": options.num_stages,
            "out_stages": (options.num_stages - 1,), "style": options.style,
            "frozen_stages": options.frozen_stages, "norm_eval": options.norm_eval,
            "norm_frozen": options.norm_frozen, "partial_norm": options.partial_norm,
            "average_down": options.avg_down, "stem_widths": (width, width, 2 * width) if options.deep_stem else None,
            "average_stride": ("before" if options.avd_first else "after") if options.avd else None}
        network = MVFNet(
            num_classes=options.num_classes, num_frames=self.config.data.clip_len, depth=options.depth,
            alpha=options.alpha, fused_stages=options.mvf_freq, mode=options.mode, share=options.share,
            activate=options.use_hs, dropout=options.dropout, backbone=backbone)
        network.init_weights()
        for norm in batch_norms(network):
            norm.unbiased = options.unbiased_variance
        return network

    def initial_weights(self, network: MVFNet) -> None:
        """Where training starts: an ImageNet backbone, or a whole network. A classifier for another number of classes
        (Kinetics' 400) is left at its random start, as the published recipe does; everything else must fit."""
        path, backbone = self.config.pretrained, self.config.network.backbone_weights
        if path and backbone:
            raise ConfigError("give either pretrained or network.backbone_weights, not both")
        if backbone:
            file = weights.read(backbone)
            state = conversion.from_partial(file, network, with_imagenet_names, dropped=(r"^fc\.",), source=backbone)
            conversion.load(network, state, backbone)
        if path:
            file = weights.read(path)
            if len(file.get("cls_head.new_fc.bias", ())) != self.config.network.num_classes:
                console().info("%s classifies %d classes, this network %d: the classifier starts afresh", path,
                               len(file.get("cls_head.new_fc.bias", ())), self.config.network.num_classes)
                head = conversion.to_upstream(conversion.arrays(network.cls_head), network.cls_head)
                if is_ours(file):
                    head = conversion.arrays(network.cls_head)
                file.update({f"cls_head.{name}": array for name, array in head.items()})
            conversion.load(network, self.convert(file, network, path), path)

    def load_weights(self, network: MVFNet, path: str) -> None:
        """A trained network, whole: ours, the original's or the Paddle port's file."""
        conversion.load(network, self.convert(weights.read(path), network, path), path)

    def convert(self, upstream: dict[str, np.ndarray], network: MVFNet | None = None,
                source: str = "the checkpoint") -> dict[str, np.ndarray]:
        """The original's entries under our names; the port's file has them already."""
        if is_ours(upstream):
            return upstream
        return conversion.from_upstream(upstream, network or self.network(), upstream_name, UPSTREAM_DROPPED, source)

    def dataset(self, split: str) -> ClipDataset:
        data = self.config.data
        name = (data.train_list if split == "train" else data.val_list).format(split=data.split)
        videos = read_video_list(Path(data.root) / name, Path(data.root) / data.frames_folder, layout=data.layout,
                                 template=data.template, classes=self.config.network.num_classes)
        return ClipDataset(videos, self.recipe, split)

    def loader(self, split: str) -> Loader:
        train, training = self.config.train, split == "train"
        return Loader(self.dataset(split), batch_size=1 if split == "test" else train.batch_size, shuffle=training,
                      drop_last=training, workers=train.workers, seed=self.config.seed, rank=distributed.rank(),
                      world_size=distributed.world_size())

    def optimizer(self, network: MVFNet, steps_per_epoch: int) -> Optimizer:
        options = self.config.optimizer
        updates = max(steps_per_epoch // self.config.train.accumulate, 1)
        if options.schedule == "cosine":
            rate = schedules.cosine_after_warmup(
                options.lr, warmup_start=options.warmup_start, warmup_epochs=options.warmup_epochs,
                max_epochs=self.config.train.epochs, steps_per_epoch=updates)
        else:
            rate = schedules.by_epoch(schedules.multistep(options.lr, options.milestones), updates)
            if options.warmup_steps:
                rate = schedules.proportional_warmup(rate, options.warmup_steps, 0.01)
        clips = {"tensor": PerTensorNorm, "global": GlobalNorm}
        return Optimizer(list(self._groups(network, rate)), kind="sgd", momentum=options.momentum,
                         nesterov=options.nesterov,
                         clip=None if options.clip == "none" else clips[options.clip](options.max_norm))

    def _groups(self, network: MVFNet, rate: schedules.Schedule) -> Iterator[Group]:
        """The original's ``paramwise_options``: by the parameter's name, as it is searched there."""
        options, members = self.config.optimizer, {}
        for name, parameter in network.named_parameters():
            if parameter.stop_gradient:
                continue
            if re.search(r"(bn|gn)(\d+)?\.(weight|bias)$", name):
                kind = ("norms", 1.0, options.norm_decay_mult)
            elif name.endswith(".bias"):
                kind = ("biases", options.bias_lr_mult, options.bias_decay_mult)
            else:
                kind = ("weights", 1.0, 1.0)
            if name.startswith("cls_head."):
                kind = ("classifier " + kind[0], kind[1] * options.head_lr_mult, kind[2])
            members.setdefault(kind, []).append((name, parameter))
        for (name, lr_mult, decay_mult), parameters in sorted(members.items(), reverse=True):
            yield Group(name, parameters, schedules.scaled(rate, lr_mult), options.weight_decay * decay_mult)

    def training_step(self, network: MVFNet, batch: dict[str, Any]) -> dict[str, paddle.Tensor]:
        logits, labels = network(batch["frames"]), batch["label"]
        hits = (logits.topk(min(5, logits.shape[1]))[1] == labels.reshape([-1, 1])).astype("float32")
        return {"loss": smoothed_cross_entropy(logits, labels, self.config.optimizer.smoothing),
                "acc": hits[:, 0].mean(), "top5_acc": hits.sum(1).mean()}

    def after_epoch(self, network: MVFNet, epoch: int) -> None:
        """Batch-norm statistics averaged over many batches, every so many epochs (the port's ``precise BN``)."""
        train = self.config.train
        if train.precise_bn_every and (epoch + 1) % train.precise_bn_every == 0:
            loader = self.loader("train")
            update_statistics(network, loader.epoch(epoch), lambda batch: network(batch["frames"]),
                              count=min(train.precise_bn_batches, len(loader)))

    def evaluate(self, network: MVFNet, loader: Loader, progress) -> dict[str, float]:
        scores, labels = [], []
        for batch in progress(loader.epoch(0), "evaluate", len(loader)):
            scores.append(self.scores(network, batch["frames"]))
            labels.append(batch["label"].numpy().reshape(-1))
        gathered = distributed.gather((np.concatenate(scores), np.concatenate(labels)))
        scores, labels = (np.concatenate(part) for part in zip(*gathered, strict=True))
        top1, top5 = top_k_accuracy(scores, labels, (1, 5))
        return {"top1_acc": top1, "top5_acc": top5, "mean_class_accuracy": mean_class_accuracy(scores, labels)}

    def scores(self, network: MVFNet, frames: paddle.Tensor) -> np.ndarray:
        """``frames [B, V*T, 3, H, W]`` -> scores ``[B, K]``, averaged over the views. A few views are computed at a
        time: with running statistics they are independent."""
        step, videos = self.config.views_per_forward * network.num_frames, frames.shape[0]
        parts = [network(frames[:, start:start + step]).reshape([videos, -1, self.config.network.num_classes])
                 for start in range(0, frames.shape[1], step)]
        logits = paddle.concat(parts, axis=1).reshape([-1, self.config.network.num_classes])
        return average_views(logits, videos, self.config.average_clips).numpy()

    def predict(self, network: MVFNet, path: str) -> ClassPrediction:
        """Ten clips of three crops of a video file or a folder of frames, as in the test."""
        reader = VideoReader(path)
        network.eval()
        with paddle.no_grad():
            frames = paddle.to_tensor(test_views(reader, self.recipe)[None])
            logits_or_probabilities = self.scores(network, frames)[0]
        probabilities = logits_or_probabilities if self.config.average_clips == "prob" else softmax(
            logits_or_probabilities.astype(np.float64))
        return ClassPrediction(path, probabilities, self.labels(), frame=reader.frames([len(reader) // 2])[0])

    def labels(self) -> list[str]:
        """Class names in label order."""
        path = self.config.data.labels
        names = read_labels(path)
        if len(names) != self.config.network.num_classes:
            raise ConfigError(f"{path} names {len(names)} classes, the network has {self.config.network.num_classes}; "
                              "set data.labels or network.num_classes")
        return names

    def inference_graphs(self, network: MVFNet) -> dict[str, Graph]:
        """One view per row: logits, neither averaged nor normalised."""
        data = self.config.data
        frames = InputSpec([-1, data.clip_len, 3, -1, -1], "float32", "frames")
        return {"inference": Graph(network, [frames], ["logits"])}

    def description(self) -> dict[str, Any]:
        return {"system": "mvf", "task": "classification", "labels": self.labels(), "scores": "logits",
                "config": to_dict(self.config),
                "preprocessing": {"frames": self.recipe.describe(), "order": "view after view",
                                  "average": "softmax of each view, then the mean"}}

    @classmethod
    def inference_inputs(cls, description: dict[str, Any], path: str | Path) -> dict[str, np.ndarray]:
        """A video as inputs of the exported graph: ``frames [V, T, 3, H, W]`` float32."""
        config = build(MVFConfig, description["config"], "deploy.yaml")
        views = test_views(VideoReader(path), cls(config).recipe)
        return {"frames": views.reshape(-1, config.data.clip_len, *views.shape[1:])}


def is_ours(state: dict[str, np.ndarray]) -> bool:
    """Whether the entries have Paddle's names (ours, or the Paddle port's)."""
    return any(name.endswith("._mean") for name in state)


def with_imagenet_names(name: str) -> str | None:
    """Our entry's name in a torchvision ResNet file; None for what such a file cannot hold."""
    if not name.startswith("backbone.") or re.search(r"\.conv1\.(shift_conv|h_conv|w_conv|bn)\.", name):
        return None
    return name.removeprefix("backbone.").replace(".conv1.net.", ".conv1.")
