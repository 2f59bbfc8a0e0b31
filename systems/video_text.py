"""What ActionCLIP and X-CLIP share: sizes of published CLIPs, label features kept on disk, rankings of videos."""
from __future__ import annotations

import functools
import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import paddle.distributed as dist
from paddle import nn

from datasets.labels import read_templates, sentences, typed_labels
from datasets.tokenizer import tokenizer
from deploy.drawing import text_bars
from deploy.files import atomic_files
from deploy.inference import Predictor
from deploy.prediction import RESULT, write_json
from engine import distributed
from engine.config import ConfigError, option
from engine.files import atomic_write
from models import weights
from models.backbones.clip import TextTower, encode_sentences, sizes

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


class LabelFeatures:
    """Features of sentences: computed once for each pair of text weights and ids, kept in memory and on disk."""

    def __init__(self, folder: str | Path | None):
        self.folder = Path(folder) if folder else None
        self.computed = 0  # how often the text tower really ran
        self._key: str | None = None
        self._features: np.ndarray | None = None

    def of(self, tower: TextTower, ids: np.ndarray, *, keep: bool = True) -> np.ndarray:
        """``ids [K, L]`` -> float32 ``[K, D]``; ``keep`` False leaves no file, for weights that soon change."""
        key = hashlib.sha256(text_digest(tower).encode() + ids.tobytes() + str(ids.shape).encode())
        key = key.hexdigest()[:32]
        if key != self._key:
            self._features, self._key = self._load(key), key
        if self._features is None:
            self._features = encode_sentences(tower, ids).numpy()
            self.computed += 1
            if keep:
                self._save(key)
        return self._features

    def _load(self, key: str) -> np.ndarray | None:
        file = self.folder / f"{key}.npy" if self.folder else None
        if file is None or not file.is_file():
            return None
        try:
            return np.load(file, allow_pickle=False)
        except (ValueError, EOFError) as error:
            logging.getLogger(__name__).warning("%s is damaged (%s) and is computed anew", file, error)
            return None

    def _save(self, key: str) -> None:
        if self.folder and distributed.is_main():
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.folder / f"{key}.npy", "wb") as file:
                np.save(file, self._features)


def text_digest(tower: TextTower) -> str:
    """A sum of everything the text features depend on; equal weights have equal sums."""
    total = hashlib.sha256()
    for name, parameter in text_parameters(tower):
        total.update(name.encode())
        total.update(np.ascontiguousarray(parameter.numpy()).tobytes())
    return total.hexdigest()


def text_parameters(tower: TextTower) -> list[tuple[str, paddle.Tensor]]:
    """The entries of the text side; ``logit_scale`` is none of them."""
    first = ("token_embedding.", "positional_embedding", "transformer.", "ln_final.", "text_projection")
    return [(name, parameter) for name, parameter in tower.named_parameters() if name.startswith(first)]


def sentence_ids(names: Sequence[str], templates: Sequence[str], *, vocabulary: str | None = None,
                 length: int = 77) -> np.ndarray:
    """Token ids ``[A*K, length]``, template-major."""
    return tokenizer(vocabulary)(sentences(names, templates), length=length)


def add_text_options(parser) -> None:
    """The options of ``predict.py`` that both systems have."""
    parser.add_argument("--labels", metavar="TEXT|FILE", help="class names separated by commas, or a label file "
                        "(.csv, .txt, or kinetics_400, kinetics_600, ucf_101, hmdb_51)")
    parser.add_argument("--templates", metavar="FILE", help="sentences with {} for the class name, one a line")
    parser.add_argument("--text", metavar="SENTENCE", help="rank the videos of the folder --video by this sentence")


def chosen_labels(typed: str | None, default: Sequence[str]) -> list[str]:
    """Names typed by the user, or the run's own."""
    return list(default) if typed is None else typed_labels(typed)


def chosen_templates(file: str | None, default: Sequence[str]) -> list[str]:
    """Templates of a file, or the run's own."""
    return list(default) if file is None else read_templates(file)


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


@dataclass(frozen=True, eq=False)
class RankingPrediction:
    """Videos of a folder by their likeness to a sentence: cosines in [-1, 1]."""

    source: str
    text: str
    videos: Sequence[str]
    cosines: np.ndarray
    top: int = 10
    order: np.ndarray = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "order", np.argsort(-self.cosines, kind="stable"))

    def summary(self) -> str:
        best = self.order[:self.top]
        names = [Path(self.videos[index]).name for index in best]
        shares = np.clip((self.cosines[best] + 1) / 2, 0, 1)
        lines = text_bars(names, shares)
        cosines = [f"cosine {self.cosines[index]:+.4f}" for index in best]
        return "\n".join([f"videos most like {self.text!r}:",
                          *(f"{line}  {cosine}" for line, cosine in zip(lines, cosines, strict=True))])

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "ranking", "source": self.source, "text": self.text,
                "videos": [{"video": str(self.videos[index]), "cosine": float(self.cosines[index])}
                           for index in self.order]}

    def save(self, folder: str | Path) -> Path:
        with atomic_files(folder, last=RESULT) as work:
            write_json(work / RESULT, self.to_dict())
        return Path(folder) / RESULT


def all_rows(x: paddle.Tensor) -> paddle.Tensor:
    """Rows of every process one after another; only this process's own rows carry a gradient.

    The engine averages gradients over processes, so a loss on such rows is to be multiplied by their number.
    """
    if distributed.world_size() == 1:
        return x
    parts: list[paddle.Tensor] = []
    dist.all_gather(parts, x.detach())
    parts[distributed.rank()] = x
    return paddle.concat(parts)


class TextGraph(nn.Layer):
    """For export: ``ids [K, L]`` int64, cut to any L that holds the longest sentence -> ``[K, D]``."""

    def __init__(self, tower: TextTower):
        super().__init__()
        self.tower = tower

    def forward(self, ids):
        return self.tower.encode_text(ids)


@functools.lru_cache(maxsize=2)
def exported_label_features(folder: str, names: tuple[str, ...], templates: tuple[str, ...], length: int) -> np.ndarray:
    """Features of sentences by an exported folder's own text graph: ``[A*K, D]``."""
    ids = sentence_ids(names, templates, length=length)
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    predictor = Predictor(folder, graph="text", threads=threads)
    parts = [predictor.run({"ids": cut(ids[start:start + 64])})["features"] for start in range(0, len(ids), 64)]
    return np.concatenate(parts)


def cut(ids: np.ndarray) -> np.ndarray:
    """Columns up to the longest sentence's end: exact, and several times cheaper."""
    return ids[:, :int(ids.argmax(-1).max()) + 1]
