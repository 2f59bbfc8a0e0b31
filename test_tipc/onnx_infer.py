"""Run an ONNX file on clips or arrays, in the form of deploy/infer.py, and compare it with the eager network.

    python test_tipc/onnx_infer.py --onnx_file FILE.onnx --input CLIPS [--expected eager.npz]

``deploy.yaml`` beside the file says how clips are prepared and what the outputs are called.
"""
import argparse
import sys
from pathlib import Path

import numpy as np

if __name__ == "__main__" and not __package__:  # started as a file: imports begin at the repository
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from deploy.export import DESCRIPTION, read_description
from deploy.infer import clip_reader, describe, print_result
from deploy.inference import outputs_moved
from deploy.inputs import read_items
from deploy.onnx import run_onnx


def run(options: argparse.Namespace) -> int:
    path = Path(options.onnx_file)
    if not path.is_file():
        raise FileNotFoundError(f"--onnx_file {path} does not exist; write it by paddle2onnx or export_model.py --onnx")
    description = {**read_description(path.with_name(DESCRIPTION)), "folder": str(path.parent)}
    graph = description["graphs"][path.stem]
    items = read_items(options.input, [entry["name"] for entry in graph["inputs"]], clip_reader(description))
    names = [entry["name"] for entry in graph["outputs"]]
    outputs = [dict(zip(names, run_onnx(path, item.arrays), strict=True)) for item in items]
    for item, values in zip(items, outputs, strict=True):
        print_result(describe(item, values, description))
    if not options.expected:
        return 0
    with np.load(options.expected, allow_pickle=False) as file:
        expected = {name: file[name] for name in file.files}
    moved = outputs_moved({name: np.concatenate([values[name] for values in outputs]) for name in names}, expected)
    for entry in moved:
        verdict = "equal" if entry.relative <= options.tolerance else "FAILED"
        print(f"{verdict} to eager within {options.tolerance:g}: {entry}")
    return int(any(entry.relative > options.tolerance for entry in moved))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("--onnx_file", required=True)
    parser.add_argument("--input", required=True, help="as for deploy/infer.py")
    parser.add_argument("--expected", help=".npz file with the eager network's outputs")
    parser.add_argument("--tolerance", type=float, default=1e-5, help="of the output's scale")
    try:
        return run(parser.parse_args())
    except (ValueError, FileNotFoundError) as error:
        print(f"onnx_infer: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
