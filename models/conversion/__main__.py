"""``python -m models.conversion SYSTEM FILE OUT.pdparams``: a published checkpoint becomes ours, strictly."""
from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

import paddle

from engine import config as configuration
from engine.files import atomic_write
from models import conversion, weights
from systems import find_system


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m models.conversion", description=__doc__, allow_abbrev=False)
    parser.add_argument("system", help="mvf, actionclip, xclip, avs, mivos or dff")
    parser.add_argument("file", help="published checkpoint (.pth), or a Paddle file")
    parser.add_argument("out", help="file to write (.pdparams)")
    parser.add_argument("-c", "--config", help="run configuration with the network's sizes")
    parser.add_argument("-o", "--override", action="extend", nargs="+", default=[], metavar="KEY=VALUE")
    options = parser.parse_args(arguments)
    try:
        system_class = find_system(options.system)
        config = configuration.load(system_class.Config, options.config, options.override, options.system)
        out = Path(options.out)
        if out.suffix != ".pdparams":
            raise ValueError(f"{out}: the result is a .pdparams file")
        system = system_class(config)
        network = system.network()
        state = system.convert(weights.read(options.file))
        count = conversion.load(network, state, options.file)
        content = io.BytesIO()
        paddle.save(network.state_dict(), content)
        with atomic_write(out, "wb") as file:
            file.write(content.getvalue())
    except (ValueError, FileNotFoundError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{count} of {count} entries of the network loaded from {options.file}, written to {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
