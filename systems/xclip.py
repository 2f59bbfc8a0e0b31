"""X-CLIP: video recognition with a video-aware CLIP: fully supervised, few-shot, zero-shot, or typed class names."""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import paddle
from paddle import nn

from datasets.blending import blend
from datasets.video_text_clips import VideoTextDataset, XClipRecipe
from datasets.video_text_lists import few_shot, read_list, zero_shot
from datasets.xclip_transforms import DEVIATION, MEAN
from engine.config import ConfigError, RunConfig, option
from engine.optimization import Group, Optimizer
from losses.classification import smoothed_cross_entropy
from losses.soft_target import soft_target_cross_entropy
from metrics.video_text import summed_views
from models import conversion, weights
from models.backbones.clip import TextTower
from models.backbones.clip_names import from_hugging_face, is_hugging_face
from models.xclip import XCLIP, frozen_with_text, upstream_name
from systems.clip_schedules import xclip_by_update, xclip_cosine
from systems.video_text import ARCHITECTURES, TowerSizes, VideoTextSystem
from systems.xclip_groups import GROUPS, group_index

NEW_PARTS = ("message_", "mit.", "prompts_")  # what a CLIP file does not hold


@dataclass(frozen=True)
class DataConfig:
    root: str = option("data/kinetics400", "folder that the lists' paths start from, or a .tar of videos")
    split: int = option(1, "split number: it fills {split} in the names of the lists", low=1)
    train_list: str = option("train.txt", "training list (.txt or .json), relative to root unless absolute")
    val_list: str = option("val.txt", "validation and test list")
    labels: str = option("kinetics_400", "label file (id,name) or the name of a built-in list")
    seen_labels: str | None = option(None, "zero-shot test: classes of this label file are left out of the test")
    unseen_classes: int = option(0, "zero-shot test: draw so many of the unseen classes (0: all); split is the seed",
                                 low=0)
    shots: int = option(0, "few-shot: videos of each class to train on, drawn by seed (0: the whole list)", low=0)
    vocabulary: str | None = option(None, "CLIP's vocabulary file; none: the tokenizer package")
    truncate: bool = option(False, "cut sentences of more tokens than CLIP reads; False refuses them")
    frames: int = option(8, "frames of a clip (NUM_FRAMES)", low=1)
    size: int = option(224, "side of a frame, pixels (INPUT_SIZE)", low=8)
    jitter: float = option(0.8, "probability of colour jitter", low=0.0, high=1.0)
    gray: float = option(0.2, "probability of a gray clip", low=0.0, high=1.0)
    flip: float = option(0.5, "probability of a mirrored clip", low=0.0, high=1.0)
    per_frame: bool = option(True, "colours anew for every frame (upstream), or once a clip")
    mixup: float = option(0.8, "Beta parameter of Mixup (0: no blending at all)", low=0.0)
    cutmix: float = option(1.0, "Beta parameter of CutMix (0: Mixup only)", low=0.0)
    switch: float = option(0.5, "probability of CutMix instead of Mixup", low=0.0, high=1.0)
    test_clips: int = option(4, "clips of a test video (NUM_CLIP)", low=1)
    test_crops: int = option(3, "crops of a test clip (NUM_CROP)", choices=(1, 3))
    random_views: bool = option(True, "several test clips are random draws (upstream); False spreads them evenly")


@dataclass(frozen=True)
class NetworkConfig:
    arch: str = option("ViT-B/32", "sizes of CLIP; auto reads them from pretrained, custom takes network.custom",
                       choices=(*ARCHITECTURES, "auto", "custom"))
    custom: TowerSizes = option(TowerSizes, "sizes for arch custom")
    mit_layers: int = option(1, "blocks of the multi-frame integration", low=1)
    prompts_layers: int = option(2, "layers of the prompt generator", low=1)
    prompts_alpha: float = option(0.1, "first weight of the prompts")
    fix_text: bool = option(True, "the text side and logit_scale are frozen")
    drop_path: float = option(0.0, "highest rate of stochastic depth", low=0.0, high=0.9)
    drop_path_per: str = option("sample", "what it drops: samples, or tokens of all samples (upstream)",
                                choices=("sample", "token"))
    recompute: bool = option(False, "recompute the image blocks in backward: slower, far less memory")


@dataclass(frozen=True)
class OptimizerConfig:
    lr: float = option(8e-6, "learning rate; message, mit and prompts parameters have ten times this", low=0.0)
    floor: float | None = option(None, "last learning rate of every group; none: lr / 100", low=0.0)
    weight_decay: float = option(0.001, "of matrices", low=0.0)
    warmup_epochs: int = option(5, "epochs of linear warm-up from 0", low=0)
    smoothing: float = option(0.1, "label smoothing", low=0.0, high=0.99)


@dataclass(frozen=True)
class XCLIPConfig(RunConfig):
    system: str = option("xclip", "name of the system")
    output_dir: str = option("output/xclip", "folder for checkpoints, logs and results")
    data: DataConfig = option(DataConfig, "which videos, and how clips are cut from them")
    network: NetworkConfig = option(NetworkConfig, "the network's sizes")
    optimizer: OptimizerConfig = option(OptimizerConfig, "how it is trained")
    views_per_forward: int = option(12, "clips computed at a time in a test; limits memory, changes nothing", low=1)


class XCLIPSystem(VideoTextSystem):
    """Clips of T frames and class names in, logits out."""

    Config = XCLIPConfig
    NORMALIZATION: ClassVar = {"mean": list(MEAN), "std": list(DEVIATION)}
    CHAIN = ("ids (cut to the longest name) -> text -> features [K, D]; frames, text [1 or B, K, D] -> inference -> "
             "logits; a video's views: softmax of each, then the mean")

    # ---- the network

    def network(self) -> XCLIP:
        options = self.config.network
        network = XCLIP(frames=self.config.data.frames, drop_path=options.drop_path,
                        drop_path_per=options.drop_path_per, mit_layers=options.mit_layers,
                        prompts_layers=options.prompts_layers, prompts_alpha=options.prompts_alpha,
                        recompute_blocks=options.recompute, **self.sizes)
        if options.fix_text:
            for name, parameter in network.named_parameters():
                parameter.stop_gradient = frozen_with_text(name)
        return network

    def text_tower(self, network: XCLIP) -> TextTower:
        return network

    def initial_weights(self, network: XCLIP) -> None:
        """CLIP's file gives both towers, X-CLIP's own parts start at random; an X-CLIP file gives everything."""
        path = self.config.pretrained
        if path is None:
            return
        state = weights.read(path)
        if any(".message_attn." in name for name in state):
            conversion.load(network, self.convert(state, network, path), path)
            return
        state = from_hugging_face(state) if is_hugging_face(state) else dict(state)
        fresh = conversion.to_upstream(conversion.arrays(network), network, upstream_name)
        state.update({name: array for name, array in fresh.items() if any(part in name for part in NEW_PARTS)})
        conversion.load(network, self.from_upstream(state, network, upstream_name, path), path)

    def convert(self, upstream: dict[str, np.ndarray], network: XCLIP | None = None,
                source: str = "the checkpoint") -> dict[str, np.ndarray]:
        """A published X-CLIP file (upstream's or Hugging Face's names) or ours, under our names.

        Raises:
            ConfigError: for a checkpoint of another number of frames.
        """
        network = network or self.network()
        if is_hugging_face(upstream):
            upstream = from_hugging_face(upstream)
        frames = np.shape(upstream.get("mit.positional_embedding", np.zeros((1, self.config.data.frames))))[1]
        if frames != self.config.data.frames:
            raise ConfigError(f"{source} was trained on clips of {frames} frames, this run has data.frames="
                              f"{self.config.data.frames}: a checkpoint fits one number; set data.frames={frames}")
        if _is_ours(upstream, network):
            return upstream
        return self.from_upstream(upstream, network, upstream_name, source)

    # ---- data

    def clip_recipe(self) -> XClipRecipe:
        data = self.config.data
        return XClipRecipe(frames=data.frames, size=data.size, jitter=data.jitter, gray=data.gray, flip=data.flip,
                           per_frame=data.per_frame, clips=data.test_clips, crops=data.test_crops,
                           random_views=data.random_views)

    def own_labels(self) -> list[str]:
        """Names of the classes to tell apart; in a zero-shot test the unseen ones."""
        return self._entries("val")[1] if self.config.data.seen_labels else self._train_labels

    def _entries(self, split: str):
        data, names = self.config.data, self.read_labels(self.config.data.labels)
        entries = read_list(self.list_file(split), classes=len(names))
        if split == "train" and data.shots:
            entries = few_shot(entries, data.shots, self.config.seed)
        if split != "train" and data.seen_labels:
            entries, names = zero_shot(entries, names, self.read_labels(data.seen_labels), seed=data.split,
                                       count=data.unseen_classes or None)
        return entries, names

    def dataset(self, split: str) -> VideoTextDataset:
        return VideoTextDataset(self._entries(split)[0], self.config.data.root, self.recipe, split)

    # ---- training

    def optimizer(self, network: XCLIP, steps_per_epoch: int) -> Optimizer:
        options, train = self.config.optimizer, self.config.train
        batches = steps_per_epoch if train.accumulate == 1 else len(self.loader("train"))  # the schedule counts them
        floor = options.lr / 100 if options.floor is None else options.floor
        members: list[list] = [[] for _ in GROUPS]
        for name, parameter in network.named_parameters():
            if not parameter.stop_gradient:
                members[group_index(name, parameter.ndim)].append((name, parameter))
        groups = []
        for (name, factor, decays), parameters in zip(GROUPS, members, strict=True):
            by_batch = xclip_cosine(options.lr * factor, floor=floor, epochs=train.epochs,
                                    warmup=options.warmup_epochs, steps_per_epoch=batches)
            rate = xclip_by_update(by_batch, train.accumulate, steps_per_epoch=batches)
            groups.append(Group(name, parameters, rate, options.weight_decay if decays else 0.0))
        return Optimizer(groups, kind="adamw", betas=(0.9, 0.98), eps=1e-8)

    def training_step(self, network: XCLIP, batch: dict[str, Any]) -> dict[str, paddle.Tensor]:
        data, frames, labels = self.config.data, batch["frames"], batch["label"].reshape([-1])
        smoothing = self.config.optimizer.smoothing
        if data.mixup:
            # Drawn from NumPy's global state, which checkpoints keep: a resumed run blends the same way.
            rng = np.random.default_rng(np.random.randint(2**31))
            images, target = blend(frames.numpy(), labels.numpy(), len(self._train_labels), rng,
                                   mixup_alpha=data.mixup, cutmix_alpha=data.cutmix, switch=data.switch,
                                   smoothing=smoothing)
            logits = network(paddle.to_tensor(images), self._train_text(network))
            return {"loss": soft_target_cross_entropy(logits, paddle.to_tensor(target))}
        logits = network(frames, self._train_text(network))
        hits = (logits.argmax(-1) == labels).astype("float32").mean()
        return {"loss": smoothed_cross_entropy(logits, labels, smoothing), "acc": hits}

    @cached_property
    def _train_labels(self) -> list[str]:
        return self.read_labels(self.config.data.labels)

    def _train_text(self, network: XCLIP) -> paddle.Tensor:
        """Features of the training classes: computed once if the text side is frozen."""
        ids = self.ids(self._train_labels)
        if not self.config.network.fix_text:
            return network.encode_text(paddle.to_tensor(ids))
        if getattr(self, "_frozen", None) is None:
            self._frozen = paddle.to_tensor(self.label_features.of(network, ids))
        return self._frozen

    # ---- from clips to probabilities

    def video_features(self, network: XCLIP, clips: paddle.Tensor) -> np.ndarray:
        return self.in_parts(lambda part: network.encode_video(part)[0], clips).numpy()

    def probabilities(self, network: XCLIP, frames: paddle.Tensor, text: np.ndarray, templates: int) -> np.ndarray:
        """The mean over templates and views of each view's softmax. All views of a batch's videos are one batch."""
        clips = frames.flatten(0, 1)
        found = []
        for names in text.reshape(templates, -1, text.shape[-1]):
            row = paddle.to_tensor(names)
            logits = self.in_parts(lambda part, row=row: network(part, row), clips).numpy()
            found.append(summed_views(logits.reshape(*frames.shape[:2], -1).swapaxes(0, 1)))
        return np.mean(found, axis=0) / frames.shape[1]

    def score_graph(self, network: XCLIP) -> ScoreGraph:
        return ScoreGraph(network)


class ScoreGraph(nn.Layer):
    """For export: ``frames [B, T, 3, S, S]``, ``text [1 or B, K, D]`` -> ``logits [B, K]``."""

    def __init__(self, network: XCLIP):
        super().__init__()
        self.network = network

    def forward(self, frames, text):
        video, patches = self.network.encode_video(frames)
        return self.network.similarity(video, text + self.network.prompts_generator(text, patches))


def _is_ours(state: dict[str, np.ndarray], network: XCLIP) -> bool:
    """Names are the same on both sides; a Linear that is not square tells the layout."""
    name = "visual.transformer.resblocks.0.mlp.c_fc.weight"
    own = network.visual.transformer.resblocks[0].mlp.c_fc.weight.shape
    return name in state and list(np.shape(state[name])) == own
