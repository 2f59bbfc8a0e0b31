"""Features of sentences: by a network, kept in memory and on disk, or by an exported text graph."""
from __future__ import annotations

import functools
import hashlib
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import paddle

from datasets.labels import sentences
from datasets.tokenizer import tokenizer
from deploy.inference import Predictor
from engine import distributed
from engine.files import atomic_write
from engine.progress import progress
from models.backbones.clip import TextTower


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


def encode_sentences(tower: TextTower, ids: np.ndarray, batch_size: int = 64):
    """Features of many sentences without gradient, sorted by length so that each batch is cut short.

    Args:
        ids: ``[K, 77]`` int64.

    Returns:
        ``[K, D]`` tensor in the order of ``ids``.
    """
    order = np.argsort(ids.argmax(-1), kind="stable")
    training = tower.training
    tower.eval()
    with paddle.no_grad():
        parts = [tower.encode_text(paddle.to_tensor(ids[order[start:start + batch_size]]))
                 for start in _batches(len(order), batch_size)]
    if training:
        tower.train()
    return paddle.concat(parts)[paddle.to_tensor(np.argsort(order))]


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
                 length: int = 77, truncate: bool = False) -> np.ndarray:
    """Token ids ``[A*K, length]``, template-major; ``truncate`` cuts longer sentences, else they are refused."""
    return tokenizer(vocabulary)(sentences(names, templates), length=length, truncate=truncate)


@functools.lru_cache(maxsize=2)
def exported_label_features(folder: str, names: tuple[str, ...], templates: tuple[str, ...], length: int,
                            vocabulary: str | None = None, truncate: bool = False) -> np.ndarray:
    """Features of sentences by an exported folder's own text graph: ``[A*K, D]``."""
    ids = sentence_ids(names, templates, vocabulary=vocabulary, length=length, truncate=truncate)
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    predictor = Predictor(folder, graph="text", threads=threads)
    parts = [predictor.run({"ids": cut(ids[start:start + 64])})["features"] for start in _batches(len(ids), 64)]
    return np.concatenate(parts)


def _batches(count: int, size: int) -> Iterable[int]:
    """First rows of batches; 16,000 sentences of a long label list take minutes, so a bar is shown."""
    return progress(range(0, count, size), f"encode {count} sentences", summary=count > size)


def cut(ids: np.ndarray) -> np.ndarray:
    """Columns up to the longest sentence's end: exact, and several times cheaper."""
    return ids[:, :int(ids.argmax(-1).max()) + 1]
