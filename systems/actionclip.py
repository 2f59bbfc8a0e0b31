"""ActionCLIP: videos matched with sentences; Kinetics-400, UCF-101, HMDB-51, or any classes a user types."""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import paddle
from paddle import nn

from datasets.actionclip_transforms import DEVIATION, MEAN
from datasets.labels import TEMPLATES, read_templates
from datasets.video_text_clips import ActionClipRecipe, VideoTextDataset
from datasets.video_text_lists import read_list
from engine import distributed
from engine.config import RunConfig, option
from engine.optimization import Group, Optimizer
from losses.contrastive import video_text_loss
from metrics.video_text import TEST_SCALE, prompt_probabilities
from models import conversion, weights
from models.actionclip import FUSIONS, ActionCLIP, canonical, upstream_name
from models.backbones.clip import TextTower, unit
from systems.clip_schedules import actionclip_cosine, actionclip_multistep
from systems.video_text import ARCHITECTURES, TowerSizes, VideoTextSystem, all_rows, gradient_times


@dataclass(frozen=True)
class DataConfig:
    root: str = option("data/kinetics400", "folder that the lists' paths start from, or a .tar of videos")
    split: int = option(1, "split number: it fills {split} in the names of the lists", low=1)
    train_list: str = option("lists/train_frames.txt", "training list, relative to root unless absolute")
    val_list: str = option("lists/val_frames.txt", "validation and test list")
    layout: str = option("frames", "a line is FOLDER FRAMES LABEL, or PATH LABEL", choices=("frames", "videos"))
    template: str = option("img_{:05d}.jpg", "name of a frame by number")
    index_bias: int = option(1, "number of the first frame", low=0)
    labels: str = option("kinetics_400", "label file (id,name) or the name of a built-in list")
    templates: str | None = option(None, "file with sentence templates; none: the paper's 16")
    vocabulary: str | None = option(None, "CLIP's vocabulary file; none: the tokenizer package")
    truncate: bool = option(False, "cut sentences of more tokens than CLIP reads; False refuses them")
    frames: int = option(8, "frames of a clip (num_segments)", low=1)
    size: int = option(224, "side of a frame, pixels", low=8)
    random_shift: bool = option(True, "training frames at random places of their parts, not in the middle")
    randaug_n: int = option(2, "RandAugment operations a frame (0: none)", low=0)
    randaug_m: float = option(9.0, "their strength, of 30", low=0.0, high=30.0)
    flip: bool = option(True, "mirror half of the clips; not where left and right are classes")
    jitter: float = option(0.8, "probability of colour jitter", low=0.0, high=1.0)
    gray: float = option(0.2, "probability of a gray clip", low=0.0, high=1.0)
    blur: float = option(0.0, "probability of a blur", low=0.0, high=1.0)
    solarize: float = option(0.0, "probability of solarising", low=0.0, high=1.0)
    per_frame: bool = option(True, "RandAugment and colours anew for every frame (upstream), or once a clip")
    test_clips: int = option(1, "clips of a test video", low=1)
    test_crops: int = option(1, "crops of a test clip", choices=(1, 3))


@dataclass(frozen=True)
class NetworkConfig:
    arch: str = option("ViT-B/32", "sizes of CLIP; auto reads them from pretrained, custom takes network.custom",
                       choices=(*ARCHITECTURES, "auto", "custom"))
    custom: TowerSizes = option(TowerSizes, "sizes for arch custom")
    fusion: str = option("Transf", "how frames become a video (sim_header)", choices=FUSIONS)
    tsm: bool = option(False, "shift channels between frames in every visual block")
    joint: bool = option(False, "all patches of a video attend to one another")
    fix_text: bool = option(False, "the text tower gets no gradient")
    init: bool = option(True, "start both towers from a CLIP file (False: the image tower only)")
    drop_out: float = option(0.0, "highest rate of stochastic depth and attention dropout", low=0.0, high=0.9)
    emb_dropout: float = option(0.0, "dropout behind the embeddings", low=0.0, high=0.9)
    drop_path_per: str = option("sample", "what stochastic depth drops: samples, or tokens of all samples (upstream)",
                                choices=("sample", "token"))


@dataclass(frozen=True)
class OptimizerConfig:
    optim: str = option("adamw", "kind", choices=("adamw", "adam", "sgd"))
    lr: float = option(5e-6, "learning rate of the text tower", low=0.0)
    ratio: float = option(1.0, "factor for the image tower (adamw)", low=0.0)
    f_ratio: float = option(10.0, "factor for the fusion head", low=0.0)
    weight_decay: float = option(0.2, "of every parameter (adam: always 0.2)", low=0.0)
    momentum: float = option(0.9, "of sgd", low=0.0, high=1.0)
    schedule: str = option("cosine", "cosine or multistep", choices=("cosine", "multistep"))
    warmup_epochs: int = option(5, "epochs of linear warm-up from 0", low=0)
    decay_epochs: list[float] = option([15.0, 30.0, 45.0], "milestones of multistep, in epochs")
    skip_idle: bool = option(False, "don't let the first nine updates run at rate 0 (upstream does)")


@dataclass(frozen=True)
class ActionCLIPConfig(RunConfig):
    system: str = option("actionclip", "name of the system")
    output_dir: str = option("output/actionclip", "folder for checkpoints, logs and results")
    data: DataConfig = option(DataConfig, "which videos, and how clips are cut from them")
    network: NetworkConfig = option(NetworkConfig, "the network's sizes")
    optimizer: OptimizerConfig = option(OptimizerConfig, "how it is trained")
    views_per_forward: int = option(10, "clips computed at a time in a test; limits memory, changes nothing", low=1)


class TemplatedDataset(VideoTextDataset):
    """Training clips with a sentence template drawn for each."""

    templates = len(TEMPLATES)

    def get(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        item = super().get(index, rng)
        return {**item, "template": np.int64(rng.integers(0, self.templates))} if self.split == "train" else item


class ActionCLIPSystem(VideoTextSystem):
    """Clips of T frames and class names in, probabilities out; trained by matching both ways within the batch."""

    Config = ActionCLIPConfig
    NORMALIZATION: ClassVar = {"mean": list(MEAN), "std": list(DEVIATION)}
    CHAIN = ("ids (cut to the longest sentence) -> text -> features [A*C, D]; frames, text [1 or B, A*C, D] -> "
             "inference -> logits, whose softmax is the mean over the A templates")

    # ---- the network

    def network(self) -> ActionCLIP:
        options = self.config.network
        return ActionCLIP(fusion=options.fusion, segments=self.config.data.frames, temporal_shift=options.tsm,
                          joint=options.joint, drop_path=options.drop_out, emb_dropout=options.emb_dropout,
                          drop_path_per=options.drop_path_per, **self.sizes)

    def text_tower(self, network: ActionCLIP) -> TextTower:
        return network.clip

    def initial_weights(self, network: ActionCLIP) -> None:
        """CLIP's file gives the towers, the fusion head starts at random; an ActionCLIP file gives everything."""
        path = self.config.pretrained
        if path is None:
            return
        state = weights.read(path)
        if any(name.startswith("clip.") for name in state):
            conversion.load(network, state, path)
            return
        state = canonical(state)
        fresh = conversion.to_upstream(conversion.arrays(network), network, upstream_name)
        if not any(name.startswith("module.") for name in state):  # a CLIP: no fusion head, no time embedding in it
            if not self.config.network.init:
                state = {name: array for name, array in state.items() if name.startswith("visual")}
                state.update({name: array for name, array in fresh.items() if not name.startswith("visual")})
            if self.config.network.tsm:
                state = {_with_net(name): array for name, array in state.items()}
            state.update({name: array for name, array in fresh.items()
                          if name.startswith("module.") or name == "visual.time_embedding"})
        conversion.load(network, self.from_upstream(state, network, upstream_name, path), path)

    def convert(self, upstream: dict[str, np.ndarray], network: ActionCLIP | None = None,
                source: str = "the checkpoint") -> dict[str, np.ndarray]:
        """Both dictionaries of a published checkpoint, as :func:`models.weights.read` joins them, under our names."""
        if any(name.startswith("clip.") for name in upstream):
            return upstream
        return self.from_upstream(canonical(upstream), network or self.network(), upstream_name, source)

    # ---- data

    def clip_recipe(self) -> ActionClipRecipe:
        data = self.config.data
        return ActionClipRecipe(
            frames=data.frames, size=data.size, random_shift=data.random_shift, augment=data.randaug_n,
            strength=data.randaug_m, flip=data.flip, jitter=data.jitter, gray=data.gray, blur=data.blur,
            solarize=data.solarize, per_frame=data.per_frame, clips=data.test_clips, crops=data.test_crops)

    def own_labels(self) -> list[str]:
        return self.read_labels(self.config.data.labels)

    @cached_property
    def templates(self) -> list[str]:
        file = self.config.data.templates
        return list(TEMPLATES) if file is None else read_templates(file)

    def dataset(self, split: str) -> TemplatedDataset:
        data = self.config.data
        entries = read_list(self.list_file(split), counted=data.layout == "frames", classes=len(self.labels))
        made = TemplatedDataset(entries, data.root, self.recipe, split, template=data.template, first=data.index_bias)
        made.templates = len(self.templates)
        return made

    # ---- training

    def optimizer(self, network: ActionCLIP, steps_per_epoch: int) -> Optimizer:
        options, epochs = self.config.optimizer, self.config.train.epochs
        parts: dict[str, list] = {"text": [], "image": [], "fusion": []}
        for name, parameter in network.named_parameters():
            part = "fusion" if name.startswith("fusion.") else "image" if name.startswith("clip.visual.") else "text"
            parts[part].append((name, parameter))
        common = {"warmup": options.warmup_epochs, "steps_per_epoch": steps_per_epoch, "skip_idle": options.skip_idle}
        factors = {"text": 1.0, "image": options.ratio if options.optim == "adamw" else 1.0, "fusion": options.f_ratio}

        def rate(base: float):
            if options.schedule == "cosine":
                return actionclip_cosine(base, epochs=epochs, **common)
            return actionclip_multistep(base, milestones=options.decay_epochs, **common)
        decay = 0.2 if options.optim == "adam" else options.weight_decay  # adam ignores the option, as upstream
        groups = [Group(part, parts[part], rate(options.lr * factors[part]), decay) for part in parts]
        if options.optim == "sgd":
            return Optimizer(groups, kind="sgd", momentum=options.momentum)
        return Optimizer(groups, kind=options.optim, betas=(0.9, 0.98), eps=1e-8)

    def training_step(self, network: ActionCLIP, batch: dict[str, Any]) -> dict[str, paddle.Tensor]:
        labels = batch["label"].reshape([-1])
        rows = (batch["template"].reshape([-1]) * len(self.labels) + labels).numpy()
        video = network(batch["frames"])
        if self.config.network.fix_text:
            text = paddle.to_tensor(self._fixed_text(network)[rows])
        else:
            text = network.encode_text(paddle.to_tensor(self._sentence_ids[rows]))
        # Every process has the whole gradient of the scale, but that of its own features only.
        scale = gradient_times(network.clip.logit_scale.exp(), 1 / distributed.world_size())
        found = video_text_loss(all_rows(video), all_rows(text), all_rows(labels), scale)
        return {"loss": gradient_times(found["total"], distributed.world_size()), "loss_images": found["images"],
                "loss_texts": found["texts"]}

    @cached_property
    def _sentence_ids(self) -> np.ndarray:
        return self.ids(self.labels, self.templates)

    def _fixed_text(self, network: ActionCLIP) -> np.ndarray:
        """Features of every sentence; a fixed text tower never changes, so they are computed once."""
        if getattr(self, "_fixed", None) is None:
            self._fixed = self.label_features.of(network.clip, self._sentence_ids)
        return self._fixed

    # ---- from clips to probabilities

    def video_features(self, network: ActionCLIP, clips: paddle.Tensor) -> np.ndarray:
        return self.in_parts(network, clips).numpy()

    def probabilities(self, network: ActionCLIP, frames: paddle.Tensor, text: np.ndarray, templates: int) -> np.ndarray:
        """The mean over views of each view's probabilities."""
        features = self.video_features(network, frames.flatten(0, 1))
        return prompt_probabilities(features, text, templates).reshape(*frames.shape[:2], -1).mean(1)

    def score_graph(self, network: ActionCLIP) -> ScoreGraph:
        return ScoreGraph(network, len(self.templates))


class ScoreGraph(nn.Layer):
    """For export: ``frames [B, T, 3, S, S]``, ``text [1 or B, A*C, D]`` -> ``logits [B, C]``.

    The softmax of the logits is the mean over the A templates of each template's softmax.
    """

    def __init__(self, network: ActionCLIP, templates: int):
        super().__init__()
        self.network, self.templates = network, templates

    def forward(self, frames, text):
        video = self.network(frames)
        cosine = TEST_SCALE * paddle.matmul(unit(text), unit(video).unsqueeze(-1)).squeeze(-1)  # B A*C
        share = nn.functional.softmax(cosine.reshape([0, self.templates, -1]), axis=-1).mean(1)
        return share.clip(min=1e-30).log()


def _with_net(name: str) -> str:
    """An entry's name where the temporal shift wraps the visual blocks."""
    if not name.startswith("visual.transformer."):
        return name
    head, _, rest = name.partition(".resblocks.")
    number, _, last = rest.partition(".")
    return f"{head}.resblocks.{number}.net.{last}"
