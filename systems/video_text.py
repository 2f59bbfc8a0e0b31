"""What ActionCLIP and X-CLIP share: videos and sentences meet in one space, the nearest sentence names the class."""
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import paddle
import paddle.distributed as dist
from paddle import nn
from paddle.static import InputSpec

from datasets.labels import NAME_ONLY, read_labels, read_templates, typed_labels
from datasets.loader import Loader
from datasets.video import VideoReader
from deploy.export import Graph
from deploy.prediction import ClassPrediction, Prediction
from deploy.ranking import RankingPrediction
from engine import distributed
from engine.config import ConfigError, RunConfig, build, option, to_dict
from engine.progress import progress
from metrics.video_text import top_k_percent, unit
from models import conversion, weights
from models.backbones.clip import UPSTREAM_DROPPED, TextTower, sizes
from systems.label_features import LabelFeatures, exported_label_features, sentence_ids
from systems.system import Progress

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts")
_TEXT = {"context_length": 77, "vocab_size": 49408}
_BASE = {"embed_dim": 512, "image_resolution": 224, "vision_layers": 12, "vision_width": 768,
         "transformer_width": 512, "transformer_layers": 12, **_TEXT}
_LARGE = {"embed_dim": 768, "image_resolution": 224, "vision_layers": 24, "vision_width": 1024,
          "transformer_width": 768, "transformer_layers": 12, **_TEXT}
ARCHITECTURES = {
    "ViT-B/32": {**_BASE, "vision_patch_size": 32}, "ViT-B/16": {**_BASE, "vision_patch_size": 16},
    "ViT-L/14": {**_LARGE, "vision_patch_size": 14},
    "ViT-L/14@336px": {**_LARGE, "vision_patch_size": 14, "image_resolution": 336},
}


@dataclass(frozen=True)
class TowerSizes:
    """Sizes of a CLIP that is none of the published ones."""

    embed_dim: int = option(64, "width of the joint space", low=1)
    image_resolution: int = option(32, "side of a frame, pixels", low=1)
    vision_patch_size: int = option(8, "side of a patch, pixels", low=1)
    vision_width: int = option(128, "width of the image tower, a multiple of 64", low=64)
    vision_layers: int = option(3, "blocks of the image tower", low=1)
    transformer_width: int = option(64, "width of the text tower, a multiple of 64", low=64)
    transformer_layers: int = option(2, "blocks of the text tower", low=1)
    context_length: int = option(77, "most tokens of a sentence", low=3)
    vocab_size: int = option(49408, "token ids", low=3)

    def as_arguments(self) -> dict[str, int]:
        return dict(vars(self))


def tower_sizes(arch: str, custom: TowerSizes, pretrained: str | None) -> dict[str, int]:
    """Constructor arguments of the towers by name, by the options of ``custom``, or (``auto``) from a weight file.

    Raises:
        ConfigError: for ``auto`` without a file.
    """
    if arch == "custom":
        return custom.as_arguments()
    if arch == "auto":
        if not pretrained:
            raise ConfigError("network.arch auto reads the sizes from a weight file: name it in pretrained")
        return sizes({name.removeprefix("clip.").replace(".net.", "."): array
                      for name, array in weights.read(pretrained).items()})
    return ARCHITECTURES[arch]


def add_text_options(parser) -> None:
    """The options of ``predict.py`` that both systems have."""
    parser.add_argument("--labels", metavar="TEXT|FILE", help="class names separated by commas, or a label file "
                        "(.csv, .txt, or kinetics_400, kinetics_600, ucf_101, hmdb_51)")
    parser.add_argument("--templates", metavar="FILE", help="sentences with {} for the class name, one a line")
    parser.add_argument("--text", metavar="SENTENCE", help="rank the videos of the folder --video by this sentence")


class VideoTextSystem(ABC):
    """Everything but the network, its training and the data's recipe: these are a system's own (below the line).

    A system says how clips and label features become probabilities; from that follow test, prediction and export.
    """

    Config: ClassVar[type[RunConfig]]
    PREDICT_OPTIONS = ("labels", "templates", "text")
    add_predict_options = staticmethod(add_text_options)
    score = "top1"
    NORMALIZATION: ClassVar[dict[str, list[float]]]  # mean and deviation of the frames
    CHAIN: ClassVar[str]  # how an exported folder's graphs follow one another

    def __init__(self, config: Any):
        self.config = config
        self.recipe = self.clip_recipe()
        self.label_features = LabelFeatures(Path(config.output_dir) / "label_features")

    # ---- a system's own

    @abstractmethod
    def clip_recipe(self) -> Any:
        """Sampling and transforms, with ``train`` and ``views``."""

    @abstractmethod
    def text_tower(self, network: nn.Layer) -> TextTower:
        """The part of the network that encodes sentences."""

    @abstractmethod
    def video_features(self, network: nn.Layer, clips: paddle.Tensor) -> np.ndarray:
        """``[V, T, 3, S, S]`` -> ``[V, D]``, not normalized."""

    @abstractmethod
    def probabilities(self, network: nn.Layer, frames: paddle.Tensor, text: np.ndarray, templates: int) -> np.ndarray:
        """``frames [B, V, T, 3, S, S]`` and sentences ``[A*K, D]``, template-major -> ``[B, K]``."""

    @abstractmethod
    def score_graph(self, network: nn.Layer) -> nn.Layer:
        """For export: ``frames [B, T, 3, S, S]``, ``text [1 or B, A*K, D]`` -> ``logits [B, K]``."""

    @abstractmethod
    def own_labels(self) -> list[str]:
        """Class names of the test."""

    @property
    def templates(self) -> list[str]:
        """Sentences around a class name."""
        return list(NAME_ONLY)

    # ---- sizes and weights

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Constructor arguments of the towers.

        Raises:
            ConfigError: if the frames are not of the side that the towers take.
        """
        options, side = self.config.network, self.config.data.size
        found = tower_sizes(options.arch, options.custom, self.config.pretrained)
        if found["image_resolution"] != side:
            raise ConfigError(f"data.size is {side}, this CLIP takes frames of {found['image_resolution']}; "
                              "its positions are never interpolated")
        return found

    def load_weights(self, network: nn.Layer, path: str) -> None:
        """A trained network, whole: ours or a published file."""
        conversion.load(network, self.convert(weights.read(path), network, path), path)

    @staticmethod
    def from_upstream(state: dict[str, np.ndarray], network: nn.Layer, upstream_name: Callable[[str], str],
                      source: str) -> dict[str, np.ndarray]:
        """Entries under upstream's names, half precision widened, as ours."""
        state = {name: array.astype("float32") if array.dtype.kind == "f" else array for name, array in state.items()}
        return conversion.from_upstream(state, network, upstream_name, UPSTREAM_DROPPED, source)

    # ---- data

    @cached_property
    def labels(self) -> list[str]:
        return self.own_labels()

    def read_labels(self, path: str) -> list[str]:
        """Class names of a file below ``data.root``, of a file, or of a built-in list."""
        inside = Path(self.config.data.root) / path
        return read_labels(inside if inside.is_file() else path)

    def list_file(self, split: str) -> Path:
        """The list of a split; lists stand beside a .tar of videos."""
        data = self.config.data
        root = Path(data.root)
        name = (data.train_list if split == "train" else data.val_list).format(split=data.split)
        return (root.parent if root.suffix == ".tar" else root) / name

    def loader(self, split: str) -> Loader:
        train, training = self.config.train, split == "train"
        return Loader(self.dataset(split), batch_size=1 if split == "test" else train.batch_size, shuffle=training,
                      drop_last=training, workers=train.workers, seed=self.config.seed, rank=distributed.rank(),
                      world_size=distributed.world_size())

    def ids(self, names: Sequence[str], templates: Sequence[str] = NAME_ONLY) -> np.ndarray:
        """Token ids ``[A*K, L]`` of class names in sentences."""
        data = self.config.data
        return sentence_ids(names, templates, vocabulary=data.vocabulary, length=self.sizes["context_length"],
                            truncate=data.truncate)

    # ---- evaluation and prediction

    def evaluate(self, network: nn.Layer, loader: Loader, watched: Progress) -> dict[str, float]:
        """``top1`` and ``top5`` in percent of all videos; the sentences are encoded once."""
        text = self.label_features.of(self.text_tower(network), self.ids(self.labels, self.templates),
                                      keep=self.config.network.fix_text)
        scores, labels = [], []
        for batch in watched(loader.epoch(0), "evaluate", len(loader)):
            scores.append(self.probabilities(network, batch["frames"], text, len(self.templates)))
            labels.append(batch["label"].numpy().reshape(-1))
        gathered = distributed.gather((np.concatenate(scores), np.concatenate(labels)))
        scores, labels = (np.concatenate(part) for part in zip(*gathered, strict=True))
        top1, top5 = top_k_percent(scores, labels)
        return {"top1": top1, "top5": top5}

    def in_parts(self, run: Callable[[paddle.Tensor], paddle.Tensor], clips: paddle.Tensor) -> paddle.Tensor:
        """``run`` on a few clips at a time (``views_per_forward``), results one after another."""
        step = self.config.views_per_forward
        return paddle.concat([run(clips[start:start + step]) for start in range(0, clips.shape[0], step)])

    @paddle.no_grad()
    def predict(self, network: nn.Layer, path: str, labels: str | None = None, templates: str | None = None,
                text: str | None = None) -> Prediction:
        """Probabilities of typed class names, or a ranking of a folder's videos by a sentence.

        Args:
            path: a video, a folder of frames, or (with ``text``) a folder of videos.
            labels: names separated by commas, or a label file; None takes the run's own.
            templates: a file of sentences; None takes the run's own.
        """
        network.eval()
        if text is not None:
            return self.ranking(network, path, text)
        names = self.labels if labels is None else typed_labels(labels)
        chosen = self.templates if templates is None else read_templates(templates)
        features = self.label_features.of(self.text_tower(network), self.ids(names, chosen))
        reader = VideoReader(path)
        clips = paddle.to_tensor(self.views(reader)[None])
        scores = self.probabilities(network, clips, features, len(chosen))[0]
        return ClassPrediction(path, scores, list(names), frame=reader.frames([len(reader) // 2])[0])

    def ranking(self, network: nn.Layer, folder: str, text: str) -> RankingPrediction:
        """Videos of a folder by the cosine of their feature and the sentence's, averaged over the views.

        X-CLIP's prompts stay out: they would pull every sentence towards the video it is compared with.

        Raises:
            ValueError: for an empty sentence.
        """
        if not text.strip():
            raise ValueError("the sentence to rank the videos by is empty")
        sentence = unit(self.label_features.of(self.text_tower(network), self.ids([text])))[0]
        videos = videos_below(folder)
        cosines = []
        for video in progress(videos, "compare videos", summary=False):
            features = unit(self.video_features(network, paddle.to_tensor(self.views(VideoReader(video)))))
            cosines.append(float((features @ sentence).mean()))
        return RankingPrediction(folder, text, [str(video) for video in videos], np.asarray(cosines))

    def views(self, reader: VideoReader) -> np.ndarray:
        """All test clips of a user's video ``[V, T, 3, S, S]``; random ones are always the same."""
        data = self.config.data
        return self.recipe.views(reader, data.test_clips, data.test_crops, np.random.default_rng(self.config.seed))

    # ---- export

    def inference_graphs(self, network: nn.Layer) -> dict[str, Graph]:
        """``inference``: clips and label features to logits; ``text``: token ids to label features."""
        data, width = self.config.data, self.sizes["embed_dim"]
        frames = InputSpec([-1, data.frames, 3, data.size, data.size], "float32", "frames")
        text = InputSpec([-1, -1, width], "float32", "text")
        ids = InputSpec([-1, -1], "int64", "ids")
        return {"inference": Graph(self.score_graph(network), [frames, text], ["logits"]),
                "text": Graph(TextGraph(self.text_tower(network)), [ids], ["features"])}

    def description(self) -> dict[str, Any]:
        return {"system": self.config.system, "task": "classification", "labels": self.labels,
                "templates": self.templates, "scores": "logits", "config": to_dict(self.config),
                "context_length": self.sizes["context_length"], "chain": self.CHAIN,
                "preprocessing": {"frames": {**asdict(self.recipe), **self.NORMALIZATION}}}

    @classmethod
    def inference_inputs(cls, description: dict[str, Any], path: str | Path) -> dict[str, np.ndarray]:
        """A video as inputs of the exported graph: ``frames [V, T, 3, S, S]``, ``text [V, A*K, D]``."""
        system = cls(build(cls.Config, description["config"], "deploy.yaml"))
        data, frames = system.config.data, system.views(VideoReader(path))
        text = exported_label_features(description["folder"], tuple(description["labels"]),
                                       tuple(description["templates"]), description["context_length"],
                                       data.vocabulary, data.truncate)
        return {"frames": frames, "text": np.broadcast_to(text, (len(frames), *text.shape))}


class TextGraph(nn.Layer):
    """For export: ``ids [K, L]`` int64, cut to any L that holds the longest sentence -> ``[K, D]``."""

    def __init__(self, tower: TextTower):
        super().__init__()
        self.tower = tower

    def forward(self, ids):
        return self.tower.encode_text(ids)


def videos_below(path: str | Path) -> list[Path]:
    """Video files and folders of frames of a folder, sorted.

    Raises:
        FileNotFoundError: if there are none.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is no folder: --text ranks the videos of a folder")
    found = [entry for entry in sorted(path.iterdir()) if entry.suffix.lower() in VIDEO_SUFFIXES
             or (entry.is_dir() and any(file.suffix.lower() in (".jpg", ".jpeg", ".png") for file in entry.iterdir()))]
    if not found:
        raise FileNotFoundError(f"{path} holds no videos ({', '.join(VIDEO_SUFFIXES)}) or folders of frames")
    return found


def all_rows(x: paddle.Tensor) -> paddle.Tensor:
    """Rows of every process one after another; only this process's own rows carry a gradient.

    The engine averages gradients over processes, so the gradient of a loss on such rows is to be multiplied by their
    number (:func:`gradient_times`).
    """
    if distributed.world_size() == 1:
        return x
    parts: list[paddle.Tensor] = []
    dist.all_gather(parts, x.detach())
    parts[distributed.rank()] = x
    return paddle.concat(parts)


def gradient_times(x: paddle.Tensor, factor: float) -> paddle.Tensor:
    """``x`` itself, whose gradient is multiplied on the way back."""
    return x if factor == 1 else x.detach() + (x - x.detach()) * factor
