"""Configuration: one tree of frozen dataclasses per system is the schema and holds the defaults.

A YAML file lists only what a run changes; ``-o KEY=VALUE`` changes one option more. Nothing unknown, mistyped or
impossible passes: the error names the option and the nearest right name.
"""
from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

T = TypeVar("T")


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the file or option, what was found and what fits."""


def option(default: Any, help: str, *, choices: tuple | None = None, low: float | None = None,
           high: float | None = None) -> Any:
    """A dataclass field with its explanation and limits.

    Args:
        default: its value unless a run changes it; a dataclass type or a list makes a fresh one each time.
        help: one sentence for ``--help`` and the documentation, with the unit where there is one.
        choices: the only values allowed.
        low, high: limits, inclusive.
    """
    metadata = {"help": help, "choices": choices, "low": low, "high": high}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    if isinstance(default, type):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class TrainConfig:
    """How training runs, whatever the system."""

    epochs: int = option(50, "epochs to train", low=1)
    batch_size: int = option(16, "samples per step and process", low=1)
    accumulate: int = option(1, "steps whose gradients are added before an update", low=1)
    workers: int = option(2, "processes that read data (0: the main process)", low=0)
    log_iters: int = option(10, "steps between two lines of the log", low=1)
    eval_every: int = option(1, "epochs between two evaluations (0: never)", low=0)
    save_every: int = option(0, "epochs between two checkpoints that are kept (0: latest and best only)", low=0)
    save_steps: int = option(0, "steps between two writes of the latest checkpoint (0: at the end of an epoch)", low=0)
    max_steps: int = option(0, "stop after so many steps (0: no limit)", low=0)
    amp: str = option("off", "mixed precision, on a GPU only", choices=("off", "O1", "O2"))
    amp_scale: float = option(1024.0, "first loss scale of mixed precision", low=1.0)
    precise_bn_every: int = option(0, "epochs between two recomputations of batch-norm statistics (0: never)", low=0)
    precise_bn_batches: int = option(200, "batches that such a recomputation averages over", low=1)


@dataclass(frozen=True)
class RunConfig:
    """Options that all systems share; each system adds its own sections."""

    system: str = option("", "name of the system")
    device: str = option("cpu", "where to run", choices=("cpu", "gpu"))
    seed: int = option(1234, "of every random choice", low=0)
    output_dir: str = option("output", "folder for checkpoints, logs and results")
    pretrained: str | None = option(None, "weights to start from: ours (.pdparams) or a published file (.pth)")
    resume: str | None = option(None, "checkpoint folder to continue, or 'latest' for the output folder's own")
    train: TrainConfig = option(TrainConfig, "how training runs")


def load(schema: type[T], file: str | Path | None, overrides: list[str] = (), system: str | None = None) -> T:
    """The resolved configuration of a run.

    Args:
        schema: the system's dataclass.
        file: YAML file, or None for the defaults.
        overrides: ``KEY=VALUE`` with dotted keys; values are read as YAML.
        system: what the file's ``system`` must say, if given.

    Raises:
        FileNotFoundError: if there is no such file.
        ConfigError: for anything that does not fit the schema.
    """
    changes = read_yaml(file) if file else {}
    if system and changes.setdefault("system", system) != system:
        raise ConfigError(f"{file}: system is {changes['system']}, expected {system}")
    config = build(schema, changes, source=str(file or "defaults"))
    for text in overrides:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise ConfigError(f"-o {text}: expected KEY=VALUE")
        config = replace(config, key.strip(), _parse(value), source=f"-o {text}")
    return config


def read_yaml(file: str | Path) -> dict[str, Any]:
    """A YAML file that holds a mapping."""
    path = Path(file)
    if not path.is_file():
        near = sorted(str(p) for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise FileNotFoundError(f"{path}: no such configuration" + (f"; there are {', '.join(near)}" if near else ""))
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected options by name, found {type(content).__name__}")
    return content


def build(schema: type[T], values: dict[str, Any], source: str = "", prefix: str = "") -> T:
    """An instance of ``schema`` with ``values`` (nested mappings) over the defaults."""
    hints, known, made = typing.get_type_hints(schema), {f.name: f for f in dataclasses.fields(schema)}, {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if name not in known:
            raise ConfigError(f"{source}: {key}: no such option in {schema.__name__}{_nearest(name, schema, prefix)}")
        if dataclasses.is_dataclass(hints[name]):
            if not isinstance(value, dict):
                raise ConfigError(f"{source}: {key}: expected options by name, found {value!r}")
            made[name] = build(hints[name], value, source, f"{key}.")
        else:
            made[name] = _checked(key, value, hints[name], known[name].metadata, source)
    try:
        return schema(**made)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error


def replace(config: T, key: str, value: Any, source: str = "", whole: str | None = None) -> T:
    """A copy of ``config`` with the dotted ``key`` changed; sections may be given as mappings."""
    whole = whole or key
    name, _, rest = key.partition(".")
    hints = typing.get_type_hints(type(config))
    fields = {f.name: f for f in dataclasses.fields(config)}
    if name not in fields:
        prefix = whole[: len(whole) - len(key)]
        raise ConfigError(f"{source}: {whole}: no such option{_nearest(name, type(config), prefix)}")
    current = getattr(config, name)
    if rest:
        if not dataclasses.is_dataclass(current):
            raise ConfigError(f"{source}: {whole}: {name} has no options of its own")
        new = replace(current, rest, value, source, whole)
    elif dataclasses.is_dataclass(current):
        if not isinstance(value, dict):
            raise ConfigError(f"{source}: {whole}: expected options by name, found {value!r}")
        new = current
        for inner, inner_value in value.items():
            new = replace(new, inner, inner_value, source)
    else:
        new = _checked(whole, value, hints[name], fields[name].metadata, source)
    try:
        return dataclasses.replace(config, **{name: new})
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error


def to_dict(config: Any) -> dict[str, Any]:
    """The resolved tree as plain mappings and values."""
    return dataclasses.asdict(config)


def dump(config: Any) -> str:
    """The resolved tree as YAML; loading it gives an equal configuration."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)


def options(schema: type, prefix: str = "") -> list[tuple[str, type, Any, dict[str, Any]]]:
    """(dotted name, type, default, metadata) of every option of a schema, in order."""
    hints, found = typing.get_type_hints(schema), []
    for entry in dataclasses.fields(schema):
        if dataclasses.is_dataclass(hints[entry.name]):
            found += options(hints[entry.name], f"{prefix}{entry.name}.")
            continue
        default = entry.default if entry.default is not dataclasses.MISSING else entry.default_factory()
        found.append((f"{prefix}{entry.name}", hints[entry.name], default, dict(entry.metadata)))
    return found


def explain(schema: type) -> str:
    """Every option with its default, for ``--help``."""
    lines = []
    for name, _, default, metadata in options(schema):
        limits = f" [{', '.join(map(str, metadata['choices']))}]" if metadata.get("choices") else ""
        lines.append(f"  {name}={yaml.safe_dump(default, default_flow_style=True).splitlines()[0]}"
                     f"\n      {metadata.get('help', '')}{limits}")
    return "\n".join(lines)


def _parse(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"-o: {text!r} is not a valid value: {error}") from error


def _nearest(name: str, schema: type, prefix: str) -> str:
    """``; did you mean X?``: by spelling among the neighbours, then among all options by their last part."""
    here = [f.name for f in dataclasses.fields(schema)]
    close = difflib.get_close_matches(name, here, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {prefix}{close[0]}?"
    deeper = {path.rsplit(".", 1)[-1]: path for path, *_ in options(schema)}
    close = difflib.get_close_matches(name, deeper, n=1, cutoff=0.7)
    return f"; did you mean {prefix}{deeper[close[0]]}?" if close else f"; there are {', '.join(here)}"


def _checked(key: str, value: Any, kind: Any, metadata: typing.Mapping[str, Any], source: str) -> Any:
    where = f"{source}: {key}" if source else key
    value = _typed(where, value, kind)
    choices, low, high = (metadata.get(name) for name in ("choices", "low", "high"))
    for item in value if isinstance(value, list) else [value]:
        if choices is not None and item is not None and item not in choices:
            raise ConfigError(f"{where}: {item!r} is not one of {', '.join(map(str, choices))}")
        if isinstance(item, int | float) and not isinstance(item, bool):
            if low is not None and item < low:
                raise ConfigError(f"{where}: {item} is below {low}")
            if high is not None and item > high:
                raise ConfigError(f"{where}: {item} is above {high}")
    return value


def _typed(where: str, value: Any, kind: Any) -> Any:
    """``value`` as ``kind``; integers serve as floats, ``1e-3`` as a float, lists of such; nothing else is bent."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _typed(where, value, next(a for a in arguments if a is not type(None)))
    if origin in (list, tuple):
        if isinstance(value, str):
            value = yaml.safe_load(f"[{value}]")
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where}: expected a list, found {value!r}")
        return [_typed(where, item, arguments[0]) for item in value]
    if kind is Any or origin is dict or kind is dict:
        return value
    if kind is float and isinstance(value, str):
        try:  # YAML 1.1 reads 1e-3 as a string
            return float(value)
        except ValueError:
            raise ConfigError(f"{where}: expected a number, found {value!r}") from None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is str and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise ConfigError(f"{where}: expected {getattr(kind, '__name__', kind)}, found {value!r}")
    return value
