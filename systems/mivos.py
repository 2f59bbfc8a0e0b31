"""MiVOS: interactive video object segmentation by three networks: propagation, fusion, scribble-to-mask."""
from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F

from datasets.davis import Davis, FolderVideos
from datasets.fusion_data import FusionSamples
from datasets.loader import Loader
from datasets.s2m_data import S2MSamples
from datasets.static_masks import StaticClips
from datasets.vos import VOSClips, VOSVideos
from engine import distributed
from engine.config import ConfigError, RunConfig, option
from engine.optimization import Group, Optimizer
from engine.precise_bn import update_statistics
from engine.schedules import multistep
from losses.mask import bootstrapped_by_sample, bootstrapped_cross_entropy, hard_share, iou_sums, moved_mask_loss
from models import conversion, weights
from models.layers import batch_norms
from models.mivos import fusion, initial, propagation, s2m
from models.mivos.aggregation import aggregate_wbg_channel
from systems import mivos_evaluation, mivos_export, mivos_prediction

PARTS = ("propagation", "fusion", "s2m")


@dataclass(frozen=True)
class DataConfig:
    root: str = option("data/mivos", "folder that holds all data sets")
    split: str = option("val", "list of sequences that are evaluated: train, val, test-dev")
    stage: str = option("vos", "what the propagation trains on: single images (0), BL30K (1), DAVIS + YouTubeVOS (2)",
                        choices=("static", "bl30k", "vos"))
    size: int = option(384, "side of the training crops, pixels (s2m: 480)", low=32)
    davis: str = option("DAVIS", "DAVIS 2017 below root")
    year: str = option("2017", "its lists", choices=("2016", "2017"))
    davis_repeat: int = option(5, "how often an epoch visits each DAVIS video", low=1)
    youtube: str | None = option("YouTubeVOS/train_480p", "YouTubeVOS training videos below root; null: none")
    youtube_list: str | None = option(None, "file with the names of the videos used; null: all")
    bl30k: str = option("BL30K", "BL30K below root")
    static: list[str] = option(["static/fss", "static/DUTS-TR", "static/DUTS-TE", "static/ecssd"], "image sets, once")
    static_often: list[str] = option(["static/BIG_small", "static/HRSOD_small"], "image sets visited five times")
    fusion_runs: list[str] = option(["fusion_data/sep30_m20"], "generated propagations below root")
    fusion_videos: str = option("davis", "whose annotations they belong to", choices=("davis", "bl30k"))
    fusion_repeat: int = option(100, "samples per video and epoch", low=1)
    lvis: str | None = option(None, "LVIS v1 annotations (JSON) below root, for s2m; null: none")
    lvis_images: str = option("coco/train2017", "its images below root")
    val_videos: int = option(0, "judge the first so many sequences only (0: all)", low=0)


@dataclass(frozen=True)
class NetworkConfig:
    top_k: int = option(50, "memory positions a query may use when it reads (0: all)", low=0)
    km: float = option(0.0, "width of the Gaussian of the kernelised read; 5.6 in the scripts (0: none)", low=0.0)
    depth: int = option(50, "layers of the ResNets", choices=(10, 18, 34, 50))
    base_channels: int = option(64, "width of the ResNets' first stage; published networks have 64", low=8)
    width: int = option(512, "channels of a memory value", choices=(64, 128, 256, 512))
    s2m_output_stride: int = option(16, "of scribble-to-mask", choices=(8, 16))
    backbone_weights: str | None = option(None, "ImageNet ResNet file (torchvision names) for both encoders")
    voc_weights: str | None = option(None, "Pascal VOC DeepLabV3+ file that s2m starts from")
    calibrate_batches: int = option(0, "without a file: equal encoders, norm statistics from so many batches", low=0)
    propagation_weights: str | None = option(None, "propagation network used beside the part that is trained or run")
    fusion_weights: str | None = option(None, "FusionNet used beside it; null: newer results replace older ones")
    s2m_weights: str | None = option(None, "scribble-to-mask used beside it; needed for scribbles and clicks")


@dataclass(frozen=True)
class OptimizerConfig:
    lr: float = option(1e-5, "learning rate of Adam", low=0.0)
    weight_decay: float = option(1e-7, "added to the gradient", low=0.0)
    milestones: list[int] = option([125000], "updates after which the rate falls to a tenth")
    attention_weight: float = option(0.0, "of a further loss, the memory's masks as the attention moves them against "
                                     "the annotation: matching is learned from the start (0: none, as the original)",
                                     low=0.0)
    hard_start: int = option(20000, "update from which only the hardest pixels count", low=0)
    hard_end: int = option(70000, "update from which only 15 % of the pixels count", low=1)


@dataclass(frozen=True)
class InferenceConfig:
    mem_freq: int = option(5, "every so many frames one stays in memory", low=1)
    mem_profile: int = option(2, "0 to 3: how much is kept between interactions; the results are the same",
                              choices=(0, 1, 2, 3))
    bank_limit: int = option(0, "most memory frames; least used ones are dropped (0: no limit, as the original)", low=0)
    short_side: int = option(480, "shorter side that a video is brought to, pixels (0: as it is)", low=0)
    displaced_scribbles: bool = option(False, "draw scribbles on the padded grid, as the original does")
    click_radius: float = option(3.0, "arm of the cross that a click becomes, pixels", low=0.5)
    protocol: str = option("semi", "how test.py judges", choices=("semi", "interactive", "youtube"))
    robot: str = option("auto", "who scribbles in the interactive protocol; auto: davisinteractive's where installed",
                        choices=("auto", "own", "davisinteractive"))
    save_masks: str | None = option(None, "folder for the masks that test.py computes")


@dataclass(frozen=True)
class MivosConfig(RunConfig):
    system: str = option("mivos", "name of the system")
    output_dir: str = option("output/mivos", "folder for checkpoints, logs and results")
    part: str = option("propagation", "network that is trained, converted, exported", choices=PARTS)
    data: DataConfig = option(DataConfig, "which videos and images")
    network: NetworkConfig = option(NetworkConfig, "the networks")
    optimizer: OptimizerConfig = option(OptimizerConfig, "how the part is trained")
    inference: InferenceConfig = option(InferenceConfig, "how videos are run")


class Mivos:
    """One part is trained at a time; prediction and evaluation use them together."""

    Config = MivosConfig
    PREDICT_OPTIONS = mivos_prediction.PREDICT_OPTIONS
    add_predict_options = staticmethod(mivos_prediction.add_options)

    def __init__(self, config: MivosConfig):
        self.config = config
        self.score = {"propagation": "J&F", "fusion": "J&F", "s2m": "iou"}[config.part]
        self._optimizer: Optimizer | None = None
        self._attention = None

    # Networks and weights --------------------------------------------------------------------------------------------

    def network(self, part: str | None = None) -> paddle.nn.Layer:
        options, part = self.config.network, part or self.config.part
        if part == "propagation":
            made = propagation.PropagationNetwork(
                top_k=options.top_k or None, km=options.km or None, depth=options.depth,
                base_channels=options.base_channels, width=options.width,
                single_object=self.config.part == part and self.config.data.stage == "static")
        elif part == "fusion":
            made = fusion.FusionNet()
        else:
            made = s2m.S2M(output_stride=options.s2m_output_stride, depth=options.depth,
                           base_channels=options.base_channels)
        made.init_weights()
        return made

    def initial_weights(self, network: paddle.nn.Layer) -> None:
        """Where training starts: ``pretrained`` (of this part; an earlier stage's file is widened), ImageNet or Pascal
        VOC weights, or nothing."""
        options, rng = self.config.network, np.random.default_rng(self.config.seed)
        if self.config.pretrained:
            self.load_weights(network, self.config.pretrained, widen=True)
        elif options.backbone_weights and self.config.part == "propagation":
            base = conversion.to_upstream(conversion.arrays(network), network, propagation.upstream_name)
            state = initial.propagation_from_imagenet(weights.read(options.backbone_weights), base, rng)
            conversion.load(network, self.convert(state, network, options.backbone_weights), options.backbone_weights)
        elif options.voc_weights and self.config.part == "s2m":
            state = initial.s2m_from_voc(weights.read(options.voc_weights), 1, rng)
            conversion.load(network, self.convert(state, network, options.voc_weights), options.voc_weights)
        elif options.calibrate_batches and self.config.part == "propagation":
            self._calibrate(network)

    def _calibrate(self, network) -> None:
        """Equal encoders, as from one ImageNet file, and their running statistics from a few batches, not 0 and 1."""
        base = conversion.to_upstream(conversion.arrays(network), network, propagation.upstream_name)
        state = initial.propagation_from_nothing(base, np.random.default_rng(self.config.seed))
        conversion.load(network, self.convert(state, network, "the start"), "the start")
        network.train()
        for norm in batch_norms(network):
            norm.train()
        loader = self.loader("train")
        update_statistics(network, loader.epoch(0), lambda batch: self._propagate(network, batch),
                          count=min(self.config.network.calibrate_batches, len(loader)), unbiased=True)
        network.train()

    def load_weights(self, network, path: str, part: str | None = None, widen: bool = False) -> None:
        """A file of ours or a published one, whole; with ``widen`` a file of stage 0 fits the two-object form too."""
        state, part = weights.read(path), part or self.config.part
        name = "mask_rgb_encoder.conv1.weight"
        if widen and part == "propagation" and name in state:
            state = initial.propagation_from_stage0(state, 4 if network.single_object else 5,
                                                    np.random.default_rng(self.config.seed))
        conversion.load(network, self.convert(state, network, path, part), path)

    def convert(self, upstream: dict[str, np.ndarray], network=None, source: str = "the checkpoint",
                part: str | None = None) -> dict[str, np.ndarray]:
        if any(name.endswith("._mean") for name in upstream):
            return upstream  # ours
        part = part or self.config.part
        module = {"propagation": propagation, "fusion": fusion, "s2m": s2m}[part]
        if part == "fusion" and "conv1.0.weight" in upstream and network is None:
            return dict(upstream)  # the same names and layouts
        return conversion.from_upstream(upstream, network or self.network(part), module.upstream_name,
                                        module.UPSTREAM_DROPPED, source)

    def companions(self, network) -> dict[str, paddle.nn.Layer | None]:
        """All three networks in eval mode: the given one in its part, the others from their files (or None)."""
        found = {}
        for part in PARTS:
            path = getattr(self.config.network, f"{part}_weights")
            if part == self.config.part:
                found[part] = network
            elif path:
                found[part] = self.network(part)
                self.load_weights(found[part], path, part)
            else:
                found[part] = None
            if found[part] is not None:
                found[part].eval()
        return found

    # Data ------------------------------------------------------------------------------------------------------------

    def dataset(self, split: str) -> Any:
        data = self.config.data
        root = Path(data.root)
        if split != "train" and self.config.part != "s2m":
            if self.config.inference.protocol == "youtube":
                return VOSVideos(FolderVideos(root / data.davis), data.val_videos)
            return VOSVideos(Davis(root / data.davis, data.split, year=data.year), data.val_videos)
        if self.config.part == "s2m":
            folders = [(root / name, 2) for name in (*data.static, *data.static_often)]
            return S2MSamples(folders, size=data.size, lvis=root / data.lvis if data.lvis else None,
                              lvis_images=root / data.lvis_images)
        if self.config.part == "fusion":
            videos = FolderVideos(root / data.bl30k) if data.fusion_videos == "bl30k" else Davis(
                root / data.davis, "train")
            return FusionSamples([root / run for run in data.fusion_runs], [videos], size=data.size,
                                 repeats=data.fusion_repeat)
        return self._clips(root)

    def _clips(self, root: Path):
        data = self.config.data
        if data.stage == "static":
            return StaticClips([(root / name, 1) for name in data.static]
                               + [(root / name, 5) for name in data.static_often], size=data.size)
        if data.stage == "bl30k":
            sources = [(FolderVideos(root / data.bl30k), 1, 1)]
        else:
            sources = [(Davis(root / data.davis, "train"), data.davis_repeat, 1)]
            if data.youtube:
                names = Path(data.youtube_list).read_text().split() if data.youtube_list else None
                sources.append((FolderVideos(root / data.youtube, names), 1, 5))
        steps = max(sum(len(s) * n for s, n, _ in sources) // (self.config.train.batch_size
                                                               * distributed.world_size()), 1)
        limit = self.config.train.max_steps
        epochs = min(self.config.train.epochs, math.ceil(limit / steps)) if limit else self.config.train.epochs
        return VOSClips(sources, epochs=epochs, size=data.size, synthetic=data.stage == "bl30k")

    def loader(self, split: str) -> Loader:
        train, training = self.config.train, split == "train"
        return Loader(self.dataset(split), batch_size=train.batch_size if training or self.config.part == "s2m" else 1,
                      shuffle=training, drop_last=training, workers=train.workers if training else 0,
                      seed=self.config.seed, rank=distributed.rank(), world_size=distributed.world_size())

    # Training --------------------------------------------------------------------------------------------------------

    def optimizer(self, network, steps_per_epoch: int) -> Optimizer:
        options = self.config.optimizer
        self._optimizer = Optimizer(
            [Group("all", network.named_parameters(), multistep(options.lr, options.milestones), options.weight_decay)],
            kind="adam")
        return self._optimizer

    def training_step(self, network, batch: dict[str, Any]) -> dict[str, paddle.Tensor]:
        options, update = self.config.optimizer, self._optimizer.updates if self._optimizer else 0
        share = hard_share(update, options.hard_start, options.hard_end)
        step = {"propagation": self._propagation_step, "fusion": self._fusion_step, "s2m": self._s2m_step}
        return step[self.config.part](network, batch, share) | {"p": paddle.to_tensor(share)}

    def _propagate(self, network, batch):
        moved = self.config.optimizer.attention_weight > 0
        return network(batch["rgb"], batch["gt"], batch.get("sec_gt"), batch.get("selector"), moved=moved)

    def _propagation_step(self, network, batch, share: float):
        out = self._propagate(network, batch)
        parts = [bootstrapped_by_sample(out[f"logits_{t}"], batch["cls_gt"][:, t], batch.get("selector"), share)
                 for t in (1, 2)]
        logged = {"loss": parts[0] + parts[1]}
        if self.config.optimizer.attention_weight > 0:
            gt = paddle.concat([batch[name] for name in ("gt", "sec_gt") if name in batch], 2)  # B 3 K H W
            logged["attention"] = sum(moved_mask_loss(out[f"moved_{t}"], propagation.to_cells(gt[:, t]))
                                      for t in (1, 2))
            logged["loss"] = logged["loss"] + self.config.optimizer.attention_weight * logged["attention"]
        for name, mask, gt in (("iou", "mask", "gt"), ("sec_iou", "sec_mask", "sec_gt")):
            if gt in batch:
                sums = [iou_sums(out[f"{mask}_{t}"], batch[gt][:, t]) for t in (1, 2)]
                logged[name] = (sums[0][0] + sums[1][0] + 1) / (sums[0][1] + sums[1][1] + 1)
        return logged

    def _fusion_step(self, network, batch, share: float):
        if self._attention is None:
            self._attention = self._attention_network()
        names = ("src2_ref_im", "src2_ref", "src2_ref_gt", "src2_ref2", "src2_ref_gt2", "rgb")
        attention = self._attention(*(batch[name] for name in names))
        logits = [network(batch["rgb"], *segs, maps, batch["dist"]) for segs, maps in zip(
            ((batch["seg1"], batch["seg2"]), (batch["seg12"], batch["seg22"])), attention, strict=True)]
        aggregated, mask = fusion.aggregate_objects(logits, batch["selector"])
        logged = {"loss": bootstrapped_by_sample(aggregated, batch["cls_gt"], batch["selector"], share)}
        for name, channel, gt in (("iou", 1, "gt"), ("sec_iou", 2, "gt2")):
            i, u = iou_sums(mask[:, channel:channel + 1], batch[gt])
            logged[name] = (i + 1) / (u + 1)
        return logged

    def _attention_network(self):
        path, options = self.config.network.propagation_weights, self.config.network
        if path is None:
            raise ConfigError("training the fusion needs a trained propagation network: set "
                              "network.propagation_weights")
        whole = self.network("propagation")
        self.load_weights(whole, path, "propagation")
        frozen = propagation.AttentionReadNetwork(depth=options.depth, base_channels=options.base_channels,
                                                  width=options.width)
        kept = {name: array for name, array in conversion.arrays(whole).items() if not name.startswith("decoder.")}
        conversion.load(frozen, kept, path)
        frozen.eval()
        return frozen

    def _s2m_step(self, network, batch, share: float):
        logits, mask = aggregate_wbg_channel(F.sigmoid(network(batch["input"])))
        i, u = iou_sums(mask[:, 1], batch["cls_gt"])
        return {"loss": bootstrapped_cross_entropy(logits, batch["cls_gt"], share), "iou": (i + 1) / (u + 1)}

    # Use -------------------------------------------------------------------------------------------------------------

    def evaluate(self, network, loader: Loader, progress) -> dict[str, float]:
        """The measures of the configured protocol; see ``systems/mivos_evaluation.py``."""
        return mivos_evaluation.evaluate(self, network, loader, progress)

    def predict(self, network, path: str, **options):
        """Masks of a user's video; see ``systems/mivos_prediction.py``."""
        return mivos_prediction.predict(self, network, path, **options)

    def inference_graphs(self, network):
        return mivos_export.graphs(self.config, network)

    def description(self) -> dict[str, Any]:
        return mivos_export.description(self.config)

    @classmethod
    def inference_inputs(cls, description: dict[str, Any], path: str | Path) -> dict[str, np.ndarray]:
        """Inputs of an exported graph (fusion, s2m, the propagation's ``query``) from a video's first frame."""
        return mivos_export.inputs(description, path)
