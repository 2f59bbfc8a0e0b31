"""Class names and the sentences made of them."""
from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

# ActionCLIP's sentences; the order is part of the method (ids 0 to 15 in upstream's utils/Text_Prompt.py).
TEMPLATES = (
    "a photo of action {}", "a picture of action {}", "Human action of {}", "{}, an action", "{} this is an action",
    "{}, a video of action", "Playing action of {}", "{}", "Playing a kind of action, {}",
    "Doing a kind of action, {}", "Look, the human is {}", "Can you recognize the action of {}?",
    "Video classification of {}", "A video of {}", "The man is {}", "The woman is {}",
)
NAME_ONLY = ("{}",)  # X-CLIP's
BUILT_IN = Path(__file__).parent / "label_lists"  # lists of published data sets


def sentences(names: Sequence[str], templates: Sequence[str] = TEMPLATES) -> list[str]:
    """Every class in every template, template-major: all classes of template 0 first.

    Raises:
        ValueError: for a template without ``{}``.
    """
    for template in templates:
        if "{}" not in template:
            raise ValueError(f"the template {template!r} has no {{}} where the class name goes")
    return [template.replace("{}", name) for template in templates for name in names]


def read_labels(path: str | Path) -> list[str]:
    """Class names of a file; the order of the rows is the class index.

    A ``.csv`` has a header with a column ``name`` (upstream's ``id,name``; ids are not read). A ``.json`` is a list of
    names, or an object ``index: name`` or ``name: index`` with indices from 0. Any other file holds a name a line, or
    ``number name`` with numbers from 1 (UCF-101's ``classInd.txt``). ``kinetics_400 kinetics_600
    ucf_101 hmdb_51`` name the lists that come with the project.

    Raises:
        FileNotFoundError, ValueError: naming file and line.
    """
    if str(path) in {file.stem for file in BUILT_IN.glob("*.csv")}:
        path = BUILT_IN / f"{path}.csv"
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such label file (and none of the built-in lists "
                                f"{', '.join(sorted(file.stem for file in BUILT_IN.glob('*.csv')))})")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}") from error
    names = {".csv": _csv_names, ".json": _json_names}.get(path.suffix.lower(), _text_names)(text, path)
    if not names:
        raise ValueError(f"{path} holds no class names")
    return names


def _csv_names(text: str, path: Path) -> list[str]:
    rows = list(csv.reader(io.StringIO(text)))
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    if "name" not in header:
        raise ValueError(f"{path}:1: the header must have a column 'name' (upstream's is id,name), found "
                         f"{','.join(rows[0]) if rows else 'an empty file'}")
    column, names = header.index("name"), []
    for number, row in enumerate(rows[1:], start=2):
        if not row or not any(cell.strip() for cell in row):
            continue
        if len(row) <= column or not row[column].strip():
            raise ValueError(f"{path}:{number}: no class name in column {column + 1}: {','.join(row)}")
        names.append(row[column].strip())
    return names


def _json_names(text: str, path: Path) -> list[str]:
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: this is no JSON: {error.msg}") from error
    if isinstance(data, dict):
        pairs = [(key, value) if isinstance(value, str) else (value, key) for key, value in data.items()]
        numbers = {str(number): name for number, name in pairs}
        data = [numbers.get(str(index)) for index in range(len(pairs))]
    if not isinstance(data, list) or not all(isinstance(name, str) and name for name in data):
        raise ValueError(f"{path}: expected a list of class names, or an object of names and their indices, which "
                         "count from 0 without a gap")
    return data


def _text_names(text: str, path: Path) -> list[str]:
    names = [line.strip() for line in text.splitlines() if line.strip()]
    words = [name.split(maxsplit=1) for name in names]
    numbered = bool(words) and all(len(pair) == 2 and pair[0] == str(number) for number, pair in enumerate(words, 1))
    return [name for _, name in words] if numbered else names


def typed_labels(text: str) -> list[str]:
    """Names typed on a command line, separated by commas (quotes protect a comma), or the path of a label file.

    Raises:
        ValueError: if no name is left, or one comes twice.
    """
    if os.path.isfile(text.strip()) or text.strip() in {file.stem for file in BUILT_IN.glob("*.csv")}:
        return read_labels(text.strip())
    names = [cell.strip() for row in csv.reader(io.StringIO(text), skipinitialspace=True) for cell in row]
    names = [name for name in names if name]
    if not names:
        raise ValueError("no class names given: type some, separated by commas, or name a label file")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"class names given more than once: {', '.join(twice)}")
    return names


def read_templates(path: str | Path) -> list[str]:
    """Sentence templates of a file, one a line, each with ``{}``.

    Raises:
        FileNotFoundError, ValueError: naming file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such template file")
    templates = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip():
            continue
        if "{}" not in line:
            raise ValueError(f"{path}:{number}: no {{}} where the class name goes: {line!r}")
        templates.append(line.strip())
    if not templates:
        raise ValueError(f"{path} holds no templates")
    return templates
