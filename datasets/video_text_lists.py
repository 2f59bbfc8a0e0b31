"""Which videos a run reads: the list files of ActionCLIP and X-CLIP.

A line holds a path and a label (X-CLIP), or a folder of frames, their number and a label (ActionCLIP). Fields are
separated by blanks; a path that has blanks itself is quoted, or all fields are separated by tabs. A ``.json`` list
holds objects with ``filename`` and ``label`` (a number or a list of one).
"""
from __future__ import annotations

import json
import shlex
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


class ListError(ValueError):
    """A list file that cannot be used; the message names file and line."""


@dataclass(frozen=True)
class Entry:
    """A video of a list: ``name`` as written, ``frames`` only where the list counts them, ``where`` as file:line."""

    name: str
    label: int
    frames: int | None
    where: str


def read_list(path: str | Path, *, counted: bool = False, classes: int | None = None) -> list[Entry]:
    """The videos of a list file.

    Args:
        path: text or ``.json``.
        counted: lines have a number of frames before the label.
        classes: labels must lie below it, if given.

    Raises:
        FileNotFoundError, ListError.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such list of videos; write one line per video: "
                                + ("FOLDER FRAMES LABEL" if counted else "PATH LABEL"))
    entries = _from_json(path) if path.suffix == ".json" else _from_text(path, counted)
    if not entries:
        raise ListError(f"{path} names no videos")
    for entry in entries:
        if entry.label < 0 or (classes is not None and entry.label >= classes):
            raise ListError(f"{entry.where}: label {entry.label} of {entry.name}, but the labels are 0 to "
                            f"{'...' if classes is None else classes - 1}")
    return entries


def split_line(line: str) -> list[str]:
    """Fields of a line: by tabs if it has any, else by blanks outside quotes.

    A last resort for unquoted paths with blanks is not offered: it would hide a missing field.
    """
    if "\t" in line:
        return [field.strip().strip('"') for field in line.strip("\r\n").split("\t")]
    return shlex.split(line.replace("'", "\\'")) if "'" in line and '"' not in line else shlex.split(line)


def _from_text(path: Path, counted: bool) -> list[Entry]:
    entries, want = [], 3 if counted else 2
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            fields = split_line(line)
        except ValueError as error:
            raise ListError(f"{where}: {error}: {line!r}") from error
        if len(fields) != want:
            raise ListError(f"{where}: {want} fields expected ({'folder, frames, label' if counted else 'path, label'})"
                            f", found {len(fields)}: {line!r}; quote a path with blanks, or separate by tabs")
        numbers = [_whole(field, where) for field in fields[1:]]
        if counted and numbers[0] < 1:
            raise ListError(f"{where}: {fields[0]} is listed with {numbers[0]} frames; a video needs at least 1")
        entries.append(Entry(fields[0], numbers[-1], numbers[0] if counted else None, where))
    return entries


def _from_json(path: Path) -> list[Entry]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ListError(f"{path}:{error.lineno}: not JSON: {error.msg}") from error
    if not isinstance(content, list):
        raise ListError(f"{path}: a list of objects with filename and label expected, found {type(content).__name__}")
    entries = []
    for number, item in enumerate(content):
        where = f"{path}[{number}]"
        if not isinstance(item, dict) or not {"filename", "label"} <= set(item):
            raise ListError(f"{where}: filename and label expected, found {item!r}")
        label = item["label"]
        if isinstance(label, list):
            if len(label) != 1:
                raise ListError(f"{where}: one label expected, found {label!r}")
            label = label[0]
        entries.append(Entry(str(item["filename"]), _whole(label, where), item.get("total_frames"), where))
    return entries


def _whole(value, where: str) -> int:
    try:
        return int(str(value))
    except ValueError:
        raise ListError(f"{where}: a whole number expected, found {value!r}") from None


def few_shot(entries: Sequence[Entry], shots: int, seed: int) -> list[Entry]:
    """``shots`` videos of every class, drawn by ``seed``, in the order of the list.

    Raises:
        ListError: if a class has fewer.
    """
    by_class: dict[int, list[int]] = defaultdict(list)
    for index, entry in enumerate(entries):
        by_class[entry.label].append(index)
    rng, kept = np.random.default_rng(seed), []
    for label in sorted(by_class):
        members = by_class[label]
        if len(members) < shots:
            raise ListError(f"class {label} has {len(members)} videos, {shots} are asked for (the first is "
                            f"{entries[members[0]].where})")
        kept += [members[i] for i in rng.permutation(len(members))[:shots]]
    return [entries[index] for index in sorted(kept)]


def zero_shot(entries: Sequence[Entry], names: Sequence[str], seen: Sequence[str], *, count: int | None = None,
              seed: int = 0) -> tuple[list[Entry], list[str]]:
    """Videos of classes that ``seen`` does not name, relabelled, with those classes' names.

    X-CLIP's Kinetics-600 test: the classes not in Kinetics-400, of which ``count`` (160 of 220) are drawn by ``seed``
    (three splits: three seeds).
    """
    known = {name.casefold() for name in seen}
    unseen = [label for label, name in enumerate(names) if name.casefold() not in known]
    if count is not None:
        if count > len(unseen):
            raise ListError(f"{count} unseen classes are asked for, there are {len(unseen)}")
        unseen = sorted(np.random.default_rng(seed).permutation(unseen)[:count].tolist())
    place = {label: index for index, label in enumerate(unseen)}
    kept = [Entry(entry.name, place[entry.label], entry.frames, entry.where) for entry in entries
            if entry.label in place]
    return kept, [names[label] for label in unseen]


def write_list(entries: Sequence[Entry]) -> str:
    """The text of a list file that :func:`read_list` reads back; tabs separate the fields."""
    return "".join("\t".join([entry.name, *([] if entry.frames is None else [str(entry.frames)]), str(entry.label)])
                   + "\n" for entry in entries)
