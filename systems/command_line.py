"""What the four root scripts share: options to a configured system, and errors in one line."""
from __future__ import annotations

import argparse
import contextlib
import dataclasses
import difflib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import paddle

from datasets.loader import LoaderError
from engine import config as configuration
from systems import SYSTEMS, find_system

DEFAULT_CONFIG = "configs/mvf/ucf101.yaml"

# Short flag -> option; they mean the same for all systems and are the predecessor's where it had them.
SHORT_FLAGS = {
    "--dataset_root": ("data.root", "folder of the data set"),
    "--split": ("data.split", "which split of the data set"),
    "--pretrained": ("pretrained", "weights: ours (.pdparams) or a published file (.pth)"),
    "--batch_size": ("train.batch_size", "samples per step and process"),
    "--max_epochs": ("train.epochs", "epochs to train"),
    "--log_iters": ("train.log_iters", "steps between two lines of the log"),
    "--device": ("device", "cpu or gpu"),
    "--output_dir": ("output_dir", "folder for checkpoints, logs and results"),
    "--resume": ("resume", "checkpoint folder to continue, or 'latest'"),
    "--seed": ("seed", "of every random choice"),
}


@dataclass(frozen=True)
class Command:
    """A parsed command line: the configured system and the script's own options."""

    system: Any
    config: configuration.RunConfig
    options: argparse.Namespace


def parse(script: str, about: str, arguments: Sequence[str] | None = None, extra=None) -> Command:
    """Read a root script's command line.

    Args:
        script: its name, for messages.
        about: its first line of help.
        arguments: the command line; None: that of the process.
        extra: called with (parser, system class) to add the script's own options.

    Raises:
        SystemExit: after ``--help``, or with status 2 for an unusable command line.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    first, _ = _base_parser(script, about, add_help=False).parse_known_args(arguments)
    system_class = _system_class(script, first)
    parser = _base_parser(script, about, epilog=f"options of {first.config} (-o KEY=VALUE):\n"
                          + configuration.explain(system_class.Config))
    if extra:
        extra(parser, system_class)
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        _refuse(parser, unknown[0])
    overrides = [f"{key}={value}" for flag, (key, _) in SHORT_FLAGS.items()
                 if (value := getattr(options, flag.lstrip("-"))) is not None]
    try:
        config = configuration.load(system_class.Config, options.config, [*overrides, *options.override])
    except (configuration.ConfigError, FileNotFoundError) as error:
        parser.error(str(error))
    if config.resume == "latest":
        config = dataclasses.replace(config, resume=os.path.join(config.output_dir, "latest"))
    _set_device(parser, config.device)
    return Command(system_class(config), config, options)


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """A user's mistake ends the program with its message and status 1, not with a traceback."""
    try:
        yield
    except (configuration.ConfigError, FileNotFoundError, ValueError, FloatingPointError, LoaderError,
            ModuleNotFoundError) as error:
        if os.environ.get("PADDLETWIN_TRACEBACK"):
            raise
        sys.exit(f"error: {error}")


def _base_parser(script: str, about: str, epilog: str | None = None, add_help: bool = True) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=script, description=about, epilog=epilog, allow_abbrev=False,
                                     add_help=add_help, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-c", "--config", default=DEFAULT_CONFIG, metavar="FILE",
                        help=f"run configuration (default {DEFAULT_CONFIG})")
    parser.add_argument("-o", "--override", action="extend", nargs="+", default=[], metavar="KEY=VALUE",
                        help="change one option")
    for flag, (key, help_text) in SHORT_FLAGS.items():
        parser.add_argument(flag, metavar="VALUE", help=f"{help_text} ({key})")
    return parser


def _system_class(script: str, options: argparse.Namespace) -> type:
    try:
        name = configuration.read_yaml(options.config).get("system")
        if name is None:
            raise configuration.ConfigError(f"{options.config}: the first line must name the system "
                                            f"(one of {', '.join(SYSTEMS)})")
        return find_system(name)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"{script}: error: {error}")


def _refuse(parser: argparse.ArgumentParser, argument: str) -> None:
    name = argument.split("=", 1)[0]
    known = [flag for action in parser._actions for flag in action.option_strings]
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
    parser.error(f"unknown option {name}; {hint}")


def _set_device(parser: argparse.ArgumentParser, device: str) -> None:
    if device == "gpu" and not paddle.is_compiled_with_cuda():
        parser.error("device gpu: this Paddle is built for the CPU; see requirements-gpu.txt")
    paddle.set_device(device)
