"""Deep Feature Flow: segmentation of videos that computes one frame in five, on Cityscapes."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle.static import InputSpec

from datasets import cityscapes
from datasets.cityscapes_labels import CLASSES, COLOURS, to_label_ids
from datasets.cityscapes_transforms import SEG_MEAN, SEG_STD, flow_input, seg_input
from datasets.flow_pairs import FlowPairs
from datasets.loader import Loader
from datasets.video import VideoReader
from deploy.export import Graph
from deploy.flow_video import ExportedSteps
from deploy.label_video import LabelVideoPrediction
from engine import distributed, schedules
from engine.config import ConfigError, build, to_dict
from engine.optimization import Group, Optimizer
from engine.progress import progress
from losses.flow import multiscale_endpoint_error
from losses.segmentation import cross_entropy
from models import conversion, weights
from models import dff as models
from models.dff_video import CurrentGraph, HalfGraph, KeyGraph, NetworkSteps, VideoScheduler
from models.layers import resize
from systems import dff_evaluation as evaluation
from systems.dff_config import DFFConfig
from systems.dff_schedules import article_rate


class DFF:
    """Three networks, one of which (``part``) is trained at a time; prediction uses the whole."""

    Config = DFFConfig
    PREDICT_OPTIONS = ("key_interval", "exported")

    def __init__(self, config: DFFConfig):
        self.config = config
        self.score = {"dff": "miou", "pspnet": "miou", "flownets": "minus_epe"}[config.part]

    @staticmethod
    def add_predict_options(parser) -> None:
        parser.add_argument("--key_interval", type=int, metavar="L", help="every L-th frame is a key frame "
                            "(default: test.key_interval)")
        parser.add_argument("--exported", metavar="DIR", help="run the graphs exported to this folder instead of the "
                            "network")

    # ---- networks and weights

    def network(self) -> paddle.nn.Layer:
        part = self.config.part
        if part == "pspnet":
            return self._pspnet()
        if part == "flownets":
            return self._flownet()
        options = self.config.network
        network = models.DFF(pspnet=self._pspnet(), flownet=self._flownet(), num_classes=options.num_classes,
                             scale_map=options.scale_map, warp_padding=options.warp_padding,
                             flow_input_scale=options.flow_input_scale)
        network.init_task(options.task_start)
        network.set_train()
        return network

    def _pspnet(self) -> models.PSPNet:
        options = self.config.network
        network = models.PSPNet(
            backbone=options.backbone, depth=options.depth, blocks=options.blocks or None, base=options.base,
            stem=options.stem or None, width=options.head_width, num_classes=options.num_classes,
            auxiliary=options.auxiliary, dropout=options.dropout, closed_form=options.closed_form)
        network.init_weights()
        return network

    def _flownet(self) -> models.FlowNetS:
        options = self.config.network
        form = dict(models.FLOWNETS[options.flownet])
        if options.flow_channels:
            form["channels"] = options.flow_channels
        network = models.FlowNetS(**form)
        network.init_weights("slim" if options.flownet == "slim" else "full")
        return network

    def initial_weights(self, network: paddle.nn.Layer) -> None:
        """The article's order: the parts' files, then a fresh task layer, then (``pretrained``) a whole network."""
        options = self.config.network
        if self.config.part == "pspnet" and options.backbone_weights:
            self._load_imagenet(network.backbone, options.backbone_weights)
        if self.config.part == "dff":
            for path, inner in ((options.pspnet_weights, network.net_feat), (options.flow_weights, network.flownet)):
                if path:
                    self.load_weights(inner, path)
            network.init_task(options.task_start)
        if self.config.pretrained:
            self.load_weights(network, self.config.pretrained)

    def load_weights(self, network: paddle.nn.Layer, path: str) -> None:
        """A trained network, whole and strictly: ours, the article's, mmsegmentation's or FlowNetPytorch's."""
        conversion.load(network, self.convert(weights.read(path), network, path), path)

    def convert(self, upstream: dict[str, np.ndarray], network: paddle.nn.Layer | None = None,
                source: str = "the checkpoint") -> dict[str, np.ndarray]:
        """A published checkpoint's entries under our names. An auxiliary head that ours lacks is dropped."""
        network = self.network() if network is None else network
        state = models.unwrap(upstream)
        has_auxiliary = any("auxiliary_head." in name for name in network.state_dict())
        dropped = models.UPSTREAM_DROPPED if has_auxiliary else (*models.UPSTREAM_DROPPED, models.AUXILIARY_DROPPED)
        if any(name.endswith("._mean") for name in state) or set(state) == set(network.state_dict()):
            return {name: array for name, array in state.items()
                    if has_auxiliary or "auxiliary_head." not in name}
        return conversion.from_upstream(state, network, self._upstream_name(), dropped, source)

    def to_upstream(self, network: paddle.nn.Layer) -> dict[str, np.ndarray]:
        """The network's entries under upstream's names: the way back."""
        return conversion.to_upstream(conversion.arrays(network), network, self._upstream_name())

    def _upstream_name(self):
        options = self.config.network
        return models.upstream_names(options.backbone, "slim" if options.flownet == "slim" else "full")

    def _load_imagenet(self, backbone: paddle.nn.Layer, path: str) -> None:
        state = models.unwrap(weights.read(path))
        state = {name.removeprefix("backbone."): array for name, array in state.items()}
        name = models.csail_imagenet_name if self.config.network.backbone == "csail" else models.mmseg_backbone_name
        converted = conversion.from_upstream(state, backbone, name, models.UPSTREAM_DROPPED, path)
        conversion.load(backbone, converted, path)

    # ---- data

    def dataset(self, split: str):
        data, training = self.config.data, split == "train"
        folder = "train" if training else "val"
        crop = tuple(data.crop) if training and data.crop else None
        repeat = data.repeat if training else 1
        if self.config.part == "flownets":
            flips = (data.flip, data.flow_vertical_flip) if training else (0.0, 0.0)
            return FlowPairs(Path(data.root) / data.flow_pairs / folder, crop_size=crop, flips=flips,
                             translate=data.flow_translate if training else 0, flow_style=data.flow_style,
                             unit=models.FLOW_UNIT, repeat=repeat)
        folders = cityscapes.Folders(Path(data.root), folder, data.images, data.labels)
        name = data.train_list if training else data.val_list
        snippets = (cityscapes.read_list(Path(data.root) / name.format(split=data.split)) if name
                    else cityscapes.find_snippets(folders))
        augmentation = cityscapes.Augmentation(crop, data.flip, tuple(data.scales), data.compatible_crop,
                                               data.max_share, data.jitter) if training else None
        random_range = tuple(data.difference_range) if training and data.difference_range else None
        return cityscapes.CityscapesPairs(
            folders, snippets, differences=self.differences(split), repeat=repeat, flow_style=data.flow_style,
            random_range=random_range if self.config.part == "dff" else None, augmentation=augmentation)

    def differences(self, split: str) -> tuple[int, ...]:
        """Frame differences that a split's items hold; 0, the labelled frame as its own key, comes first in tests."""
        if self.config.part == "pspnet":
            return (0,)
        if split != "test":
            return (self.config.data.difference,)
        test = self.config.test
        return tuple(sorted({0, *test.distances, *range(test.key_interval)}))

    def loader(self, split: str) -> Loader:
        train, training = self.config.train, split == "train"
        return Loader(self.dataset(split), batch_size=train.batch_size if training else 1, shuffle=training,
                      drop_last=training, workers=train.workers, seed=self.config.seed, rank=distributed.rank(),
                      world_size=distributed.world_size())

    # ---- training

    def optimizer(self, network: paddle.nn.Layer, steps_per_epoch: int) -> Optimizer:
        options, members = self.config.optimizer, {}
        rate = self._rate(max(steps_per_epoch // self.config.train.accumulate, 1) * self.config.train.epochs)
        for name, parameter in network.named_parameters():
            if parameter.stop_gradient:
                continue
            bias = name.endswith("bias") and not options.decay_biases
            head = self.config.part == "pspnet" and name.startswith("decode_head.")
            members.setdefault((head, bias), []).append((name, parameter))
        groups = [Group(("decode_head" if head else "network") + (" biases" if bias else ""), parameters,
                        schedules.scaled(rate, options.head_lr_mult if head else 1.0),
                        0.0 if bias else options.weight_decay) for (head, bias), parameters in sorted(
                            members.items(), key=lambda item: item[0])]
        if options.kind == "sgd":
            return Optimizer(groups, kind="sgd", momentum=options.momentum)
        return Optimizer(groups, kind="adam")

    def _rate(self, updates: int) -> schedules.Schedule:
        options = self.config.optimizer
        if options.schedule == "polynomial":
            return schedules.polynomial(options.lr, updates, options.power, options.min_lr)
        if options.schedule == "constant":
            return schedules.constant(options.lr)
        return lambda update: article_rate(update, options.lr, options.warmup_lr, options.warmup_steps,
                                           options.compat_warmup)

    def training_step(self, network: paddle.nn.Layer, batch: dict[str, Any]) -> dict[str, paddle.Tensor]:
        options = self.config.optimizer
        if self.config.part == "flownets":
            return {"loss": multiscale_endpoint_error(network(batch["pair"]), batch["target"])}
        labels = batch["label"]
        if self.config.part == "dff":
            clips = (batch[name].transpose([0, 2, 1, 3, 4]) for name in ("seg", "flow"))  # N T C H W → N C T H W
            return {"loss": cross_entropy(network(*clips), labels, average=options.average)}
        scores, auxiliary = network(batch["seg"][:, 0])
        size = labels.shape[1:]
        decode = cross_entropy(resize(scores, size), labels, average=options.average)
        if auxiliary is None:
            return {"loss": decode}
        aside = options.auxiliary_weight * cross_entropy(resize(auxiliary, size), labels, average=options.average)
        return {"loss": decode + aside, "decode": decode, "aux": aside}

    # ---- evaluation and prediction

    def evaluate(self, network: paddle.nn.Layer, loader: Loader, progress) -> dict[str, float]:
        if self.config.part == "flownets":
            return evaluation.endpoint_errors(network, loader, progress)
        classes = self.config.network.num_classes
        names = self.class_names()
        if self.config.part == "pspnet":
            return evaluation.per_frame(network, loader, progress, classes, names)
        return evaluation.propagated(network, loader, progress, classes, names,
                                     main=self.config.data.difference, interval=self.config.test.key_interval)

    def class_names(self) -> list[str]:
        count = self.config.network.num_classes
        return list(CLASSES) if count == len(CLASSES) else [f"class {index}" for index in range(count)]

    def scheduler(self, steps, key_interval: int | None = None) -> VideoScheduler:
        """Whole videos as ``test`` says; ``steps`` are the network's or an exported folder's."""
        test, data = self.config.test, self.config.data
        return VideoScheduler(
            steps, seg_input, lambda image: flow_input(image, data.flow_style),
            key_interval=test.key_interval if key_interval is None else key_interval,
            propagation=test.propagation, adaptive=test.adaptive, threshold=test.threshold,
            multiple=8 if self.config.network.flow_input_scale == 1 else 16)

    def predict(self, network: paddle.nn.Layer, path: str, key_interval: int | None = None,
                exported: str | None = None) -> LabelVideoPrediction:
        """Every frame of a video file or folder of frames, at its own size; by exported graphs if a folder is named."""
        if self.config.part != "dff":
            raise ConfigError(f"part: prediction needs the whole network (dff), not {self.config.part}")
        steps = ExportedSteps(exported) if exported else NetworkSteps(network)
        reader, scheduler = VideoReader(path), self.scheduler(steps, key_interval)
        results = [scheduler.step(reader.frames([index])) for index in progress(range(len(reader)), "predict")]
        seconds = {kind: [r.seconds for r in results if r.key == (kind == "key")] for kind in ("key", "other")}
        total = sum(result.seconds for result in results)
        facts = {"key_interval": scheduler.key_interval,
                 "key_frames": [index for index, result in enumerate(results) if result.key],
                 "frames_per_second": len(results) / total,
                 **{f"seconds_per_{kind}_frame": float(np.median(values))
                    for kind, values in seconds.items() if values}}
        count = self.config.network.num_classes
        colours = COLOURS if count == len(COLOURS) else np.random.default_rng(0).integers(
            40, 256, (count, 3)).astype(np.uint8)
        return LabelVideoPrediction(
            str(path), lambda index: reader.frames([index])[0],
            np.concatenate([result.labels for result in results]).astype(np.uint8), self.class_names(), colours,
            reader.fps, recode={"label_ids": to_label_ids} if count == len(COLOURS) else {}, facts=facts)

    # ---- export

    def inference_graphs(self, network: paddle.nn.Layer) -> dict[str, Graph]:
        """dff: key frame, other frame, and the flow half that chained propagation needs; else the one network."""
        image = InputSpec([-1, 3, -1, -1], "float32", "image")
        if self.config.part == "pspnet":
            return {"inference": Graph(ScoresOnly(network), [image], ["scores"])}
        if self.config.part == "flownets":
            pair = InputSpec([-1, 6, -1, -1], "float32", "pair")
            return {"inference": Graph(FinestFlow(network), [pair], ["flow"])}
        classes = self.config.network.num_classes
        half = network.flownet.conv1[0].weight.shape[0]
        seg, flow = (InputSpec([-1, 3, -1, -1], "float32", name) for name in ("seg", "flow"))
        state = [InputSpec([-1, classes, -1, -1], "float32", "scores"),
                 InputSpec([-1, half, -1, -1], "float32", "half")]
        return {"key": Graph(KeyGraph(network), [seg, flow], ["labels", "scores", "half"]),
                "current": Graph(CurrentGraph(network), [flow, *state], ["labels", "moved", "motion"]),
                "half": Graph(HalfGraph(network), [flow], ["half"])}

    def description(self) -> dict[str, Any]:
        data = self.config.data
        return {"system": "dff", "task": "segmentation", "part": self.config.part, "labels": self.class_names(),
                "config": to_dict(self.config),
                "preprocessing": {
                    "sides": "extended by the border to multiples of 8 (16 with flow_input_scale 0.5)",
                    "seg": {"order": "RGB", "mean": list(SEG_MEAN), "std": list(SEG_STD)},
                    "flow": {"style": data.flow_style}},
                "chain": "key on frames 0, l, 2l ...: keep scores and half; current on the others with what is kept. "
                         "Chained: after each of those keep moved as scores, and half(flow)"}

    @classmethod
    def inference_inputs(cls, description: dict[str, Any], path: str | Path) -> dict[str, np.ndarray]:
        """The first frame of a video as inputs of the key graph (or of PSPNet alone)."""
        config = build(DFFConfig, description["config"], "deploy.yaml")
        reader = VideoReader(path)
        frames = evaluation.pad(reader.frames([0]), 8 if config.network.flow_input_scale == 1 else 16)
        if config.part == "pspnet":
            return {"image": seg_input(frames[0])[None]}
        flow = flow_input(frames[0], config.data.flow_style)[None]
        if config.part == "flownets":
            follower = evaluation.pad(reader.frames([min(1, len(reader) - 1)]), 8)
            return {"pair": np.concatenate([flow_input(follower[0], config.data.flow_style)[None], flow], 1)}
        return {"seg": seg_input(frames[0])[None], "flow": flow}


class ScoresOnly(paddle.nn.Layer):
    """PSPNet without its auxiliary head."""

    def __init__(self, network: models.PSPNet):
        super().__init__()
        self.network = network

    def forward(self, image):
        return self.network.decode_head(self.network.backbone(image)[-1])


class FinestFlow(paddle.nn.Layer):
    """FlowNetS's finest flow, in pixels of its map."""

    def __init__(self, network: models.FlowNetS):
        super().__init__()
        self.network = network

    def forward(self, pair):
        return self.network(pair)[0] * (models.FLOW_UNIT / 4)
