"""CLIP's byte-pair tokenizer: text in, int64 ids ``[K, 77]`` out, equal to the original's on every string.

The merges come from ``instant-clip-tokenizer``; cleaning, markers, length and padding are done here (the package
leaves them out or cuts silently). Where it has no wheel, a vocabulary file of CLIP serves the BPE at the end.
"""
from __future__ import annotations

import gzip
import html
import importlib.util
import itertools
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import ftfy
import numpy as np

START, END = 49406, 49407
LENGTH = 77  # CLIP's context, markers included
MERGES = 49152 - 256 - 2  # lines of the vocabulary file that CLIP uses
_MARKERS = {"<|startoftext|>": START, "<|endoftext|>": END}
_SPLIT = re.compile("(" + "|".join(map(re.escape, _MARKERS)) + ")")
_CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")


class SentenceTooLong(ValueError):
    """A text has more ids than the network has positions."""


def clean(text: str) -> str:
    """What the original does before it splits: mend encodings, resolve entities, join blanks, lower case."""
    text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    return re.sub(r"\s+", " ", text).strip().lower()


class Tokenizer:
    """Text to ids.

    Args:
        vocabulary: CLIP's ``bpe_simple_vocab_16e6.txt.gz`` (or unpacked); None takes ``instant-clip-tokenizer``.

    Raises:
        FileNotFoundError, ValueError: for a vocabulary file that is absent or not CLIP's.
        ModuleNotFoundError: if neither the package nor a file is there.
    """

    def __init__(self, vocabulary: str | Path | None = None):
        if vocabulary is not None:
            self._encode = BytePairs(vocabulary).encode
            return
        if importlib.util.find_spec("instant_clip_tokenizer") is None:
            raise ModuleNotFoundError("the package instant-clip-tokenizer is not installed: install it, or name CLIP's "
                                      "bpe_simple_vocab_16e6.txt.gz in data.vocabulary")
        from instant_clip_tokenizer import Tokenizer as Merges
        self._encode = Merges().encode

    def ids(self, text: str) -> list[int]:
        """Ids of one text with both markers, any length. Literal markers in the text become their ids."""
        found = [START]
        for part in _SPLIT.split(clean(text)):
            found.extend([_MARKERS[part]] if part in _MARKERS else self._encode(part) if part else [])
        return [*found, END]

    def __call__(self, texts: str | Iterable[str], *, length: int = LENGTH, truncate: bool = False) -> np.ndarray:
        """Ids of texts, zero-padded.

        Args:
            length: columns of the result.
            truncate: cut longer texts and end them with the end marker instead of refusing them.

        Returns:
            int64 ``[K, length]``.

        Raises:
            SentenceTooLong: naming the text, unless ``truncate``.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        padded = np.zeros((len(texts), length), np.int64)
        for row, text in zip(padded, texts, strict=True):
            ids = self.ids(text)
            if len(ids) > length:
                if not truncate:
                    shown = text if len(text) < 60 else text[:57] + "..."
                    raise SentenceTooLong(f"the text {shown!r} has {len(ids)} tokens with its markers, CLIP reads at "
                                          f"most {length}: shorten it, or ask for truncation (data.truncate=true)")
                ids = [*ids[:length - 1], END]
            row[:len(ids)] = ids
        return padded


@lru_cache(maxsize=4)
def tokenizer(vocabulary: str | None = None) -> Tokenizer:
    """A shared :class:`Tokenizer`; building one takes a moment."""
    return Tokenizer(vocabulary)


class BytePairs:
    """The BPE itself on a vocabulary file, for machines without the package."""

    def __init__(self, vocabulary: str | Path):
        symbols = _byte_symbols()
        merges = _read_merges(Path(vocabulary))
        tokens = [*symbols, *(symbol + "</w>" for symbol in symbols), *("".join(pair) for pair in merges)]
        self._bytes = {byte: symbol for symbol, byte in zip(symbols, _byte_order(), strict=True)}
        self._id = {token: index for index, token in enumerate(tokens)}
        self._rank = {pair: index for index, pair in enumerate(merges)}
        self._word = lru_cache(maxsize=65536)(self._merged)

    def encode(self, text: str) -> list[int]:
        """Ids of a cleaned text without markers."""
        return [index for word in words(text) for index in self._word(word)]

    def _merged(self, word: str) -> tuple[int, ...]:
        parts = [self._bytes[byte] for byte in word.encode()]
        parts[-1] += "</w>"
        while len(parts) > 1:
            rank, pair = min((self._rank.get(pair, len(self._rank)), pair)
                             for pair in itertools.pairwise(parts))
            if rank == len(self._rank):
                break
            joined, index = [], 0
            while index < len(parts):
                if tuple(parts[index:index + 2]) == pair:
                    joined.append("".join(pair))
                    index += 2
                else:
                    joined.append(parts[index])
                    index += 1
            parts = joined
        return tuple(self._id[part] for part in parts)


def words(text: str) -> list[str]:
    """Split a cleaned text: contractions, runs of letters, single digits, runs of anything else but blanks."""
    found, index = [], 0
    while index < len(text):
        contraction = next((c for c in _CONTRACTIONS if text.startswith(c, index)), None)
        if contraction:
            found.append(contraction)
            index += len(contraction)
            continue
        kind, end = _kind(text[index]), index + 1
        if kind in "LO":
            while end < len(text) and _kind(text[end]) == kind:
                end += 1
        if kind != " ":
            found.append(text[index:end])
        index = end
    return found


def _kind(character: str) -> str:
    """L letter, N digit, blank, O other."""
    if character.isspace():
        return " "
    first = unicodedata.category(character)[0]
    return first if first in "LN" else "O"


def _byte_order() -> list[int]:
    """Printable bytes first, then the others: the order of the first 256 ids."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return printable + [byte for byte in range(256) if byte not in printable]


def _byte_symbols() -> list[str]:
    """A visible character for each byte of :func:`_byte_order`; bytes that have none take those from 256 on."""
    order = _byte_order()
    return [chr(byte) for byte in order[:188]] + [chr(256 + index) for index in range(256 - 188)]


def _read_merges(path: Path) -> Sequence[tuple[str, str]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such vocabulary file; CLIP's is called bpe_simple_vocab_16e6.txt.gz")
    content = path.read_bytes()
    try:
        text = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not CLIP's vocabulary: {error}") from error
    lines = text.split("\n")[1:MERGES + 1]
    pairs = [tuple(line.split()) for line in lines]
    if len(pairs) != MERGES or any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"{path} is not CLIP's vocabulary: {MERGES} merges of two symbols expected, found "
                         f"{sum(len(pair) == 2 for pair in pairs)}")
    return pairs
