"""Run an exported model on arrays, videos or folders of frames: TIPC's inference entry.

    python deploy/infer.py --model_dir output/export --input video.avi --batch_size 1

Options may be written ``--key=value``, ``--key value`` or, as switches, alone. ``.npy`` and ``.npz`` files go straight
into the graph. For anything else the system that ``deploy.yaml`` names turns a clip into the graph's inputs (its
``inference_inputs``); this script stands on the floor of the root scripts, so it may ask it.
"""
from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__" and not __package__:  # a file, not a module: imports begin at the repository, for
    # deploy/ has an onnx.py that would hide the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from deploy.benchmark_report import open_logger, shape_text
from deploy.files import atomic_write
from deploy.inference import Moved, Predictor, outputs_moved
from deploy.inputs import Item, ReadClip, batches, read_items, split_by_item
from metrics.classification import softmax

ONEDNN_TOLERANCE, PLAIN_TOLERANCE = 1e-5, 1e-6  # of the output's scale, against the eager network


def switch(text: str) -> bool:
    """``True``, ``true``, ``1``, ``yes`` or ``False`` ...; anything else is an error, not False."""
    values = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return values[text.lower()]


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    flag = {"type": switch, "nargs": "?", "const": True}
    model = parser.add_argument_group("model: a folder, or its two files")
    model.add_argument("--model_dir", help="folder written by export_model.py")
    model.add_argument("--model_file", help="inference.json, a .pdmodel file or their stem")
    model.add_argument("--params_file", help="inference.pdiparams, where it is not beside the program")
    model.add_argument("--graph", default="inference", help="name of the graph in a folder of several")
    data = parser.add_argument_group("data")
    data.add_argument("--input", "--input_file", "--image_dir", "--video", dest="input", required=True,
                      help=".npy, .npz, a video, a folder of frames, or a folder that holds such")
    data.add_argument("-b", "--batch_size", type=int, default=1)
    run = parser.add_argument_group("run")
    run.add_argument("--device", default=None, help="cpu, gpu or gpu:NUMBER (default cpu; the GPU path was not run)")
    run.add_argument("--use_gpu", **flag, help="the same as --device gpu or cpu")
    run.add_argument("--enable_mkldnn", "--use_mkldnn", dest="onednn", default=True, **flag,
                     help="oneDNN, on by default as in Paddle; False really switches it off")
    run.add_argument("--cpu_threads", type=int, default=1)
    run.add_argument("--precision", default="fp32", help="fp32, bf16 (CPU with AVX512-BF16 or AMX), fp16 (GPU)")
    run.add_argument("--use_tensorrt", default=False, **flag)
    run.add_argument("--ir_optim", default=True, **flag, help="let the engine fuse operators")
    run.add_argument("--enable_memory_optim", default=False, **flag, help="let activations share memory")
    run.add_argument("--gpu_mem", type=int, default=500, help="MB of GPU memory to begin with")
    report = parser.add_argument_group("report")
    report.add_argument("--benchmark", "--enable_benchmark", dest="benchmark", default=False, **flag,
                        help="measure the first batch and print AutoLog's report")
    report.add_argument("--warmup", type=int, default=3, help="calls before the measured ones")
    report.add_argument("--repeats", type=int, default=10, help="measured calls")
    report.add_argument("--model_name", help="in the report; default: the system")
    report.add_argument("--save_log_path", help="file for the benchmark report")
    report.add_argument("--output", help="JSON file for results, settings and comparison")
    report.add_argument("--save_outputs", help=".npz file for the raw outputs")
    report.add_argument("--expected", help=".npz file with the eager network's outputs; differing is an error")
    report.add_argument("--tolerance", type=float, help=f"of the output's scale; default {PLAIN_TOLERANCE}, with "
                                                        f"oneDNN {ONEDNN_TOLERANCE}")
    options = parser.parse_args(arguments)
    check_options(parser, options)
    return options


def check_options(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if not options.model_dir and not options.model_file:
        parser.error("name the model by --model_dir, or by --model_file and --params_file")
    if options.model_dir and options.model_file:
        options.model_file = str(Path(options.model_dir) / options.model_file)
    if options.params_file and options.model_dir:
        options.params_file = str(Path(options.model_dir) / options.params_file)
    if options.use_gpu is not None:
        named = "gpu" if options.use_gpu else "cpu"
        if options.device and not options.device.startswith(named):
            parser.error(f"--use_gpu={options.use_gpu} contradicts --device={options.device}")
        options.device = options.device or named
    options.device = options.device or "cpu"
    if options.use_tensorrt:
        parser.error("--use_tensorrt True: TensorRT is not supported; leave it False")
    for name in ("batch_size", "cpu_threads", "repeats"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(options, name)}")


def open_predictor(options: argparse.Namespace) -> Predictor:
    return Predictor(
        options.model_file or options.model_dir, graph=options.graph, weights=options.params_file,
        device=options.device, onednn=options.onednn, threads=options.cpu_threads, precision=options.precision,
        memory_optim=options.enable_memory_optim, ir_optim=options.ir_optim, gpu_memory=options.gpu_mem)


def clip_reader(description: dict[str, Any]) -> ReadClip:
    """The way from a clip to the graph's inputs, by the system that ``deploy.yaml`` names."""
    def read(path: Path) -> dict[str, np.ndarray]:
        name = description.get("system")
        if name is None:
            raise ValueError(f"{path} needs a system that prepares it, but there is no deploy.yaml beside the model "
                             f"that names one; give an .npy or .npz file, or export again")
        from systems import find_system  # only clips need the systems; arrays run without them
        return find_system(name).inference_inputs(description, path)
    return read


def describe(item: Item, outputs: dict[str, np.ndarray], description: dict[str, Any]) -> dict[str, Any]:
    """An item's result: the best class of a classifier, else each output's shape and range."""
    scores = outputs.get(description.get("scores", next(iter(outputs))))
    if scores is not None and scores.ndim == 2 and description.get("task", "classification") == "classification":
        probabilities = softmax(scores.astype(np.float64)).mean(0)  # over the item's views
        best = int(probabilities.argmax())
        labels = description.get("labels") or []
        return {"item": item.name, "class": best, "label": labels[best] if best < len(labels) else None,
                "score": float(probabilities[best])}
    return {"item": item.name, "outputs": {
        name: {"shape": list(value.shape), "min": float(value.min()), "mean": float(value.mean()),
               "max": float(value.max())} for name, value in outputs.items()}}


def print_result(result: dict[str, Any]) -> None:
    print(f"Current video file: {result['item']}")
    if "class" in result:
        print(f"\ttop-1 class: {result['class']}")
        if result["label"] is not None:
            print(f"\ttop-1 label: {result['label']}")
        print(f"\ttop-1 score: {result['score']:.6f}")
    for name, facts in result.get("outputs", {}).items():
        print(f"\t{name}: shape {facts['shape']}, {facts['min']:.6g} to {facts['max']:.6g}, mean {facts['mean']:.6g}")


def compare(values: dict[str, np.ndarray], options: argparse.Namespace) -> tuple[list[Moved], float]:
    """Distances to ``--expected`` and the tolerance in force."""
    tolerance = options.tolerance
    if tolerance is None:
        tolerance = ONEDNN_TOLERANCE if options.onednn and options.device == "cpu" else PLAIN_TOLERANCE
    path = Path(options.expected)
    if not path.is_file():
        raise FileNotFoundError(f"--expected {path} does not exist")
    with np.load(path, allow_pickle=False) as file:
        return outputs_moved(values, {name: file[name] for name in file.files}), tolerance


def measure(predictor: Predictor, items: Sequence[Item], options: argparse.Namespace,
            description: dict[str, Any]) -> None:
    """Time the first batch (repeated up to the batch size) and print AutoLog's report."""
    rows = [items[index % len(items)] for index in range(options.batch_size)]
    first = next(batches(rows, options.batch_size))
    name = options.model_name or description.get("system") or predictor.files.name
    logger = open_logger(name, predictor=predictor, precision=options.precision, batch_size=options.batch_size,
                         data_shape=shape_text(next(iter(first.values())).shape), warmup=options.warmup,
                         save_path=options.save_log_path)
    for _ in range(options.warmup + options.repeats):
        logger.times.start()
        batch = next(batches(rows, options.batch_size))
        logger.times.stamp()
        outputs = predictor.run(batch)
        logger.times.stamp()
        for value in outputs.values():
            if value.ndim == 2:
                softmax(value).argmax(-1)
        logger.times.end(stamp=True)
    logger.report()


def save_arrays(path: str, values: dict[str, np.ndarray]) -> None:
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **values)


def run(options: argparse.Namespace) -> int:
    """Everything after the arguments; returns the exit status."""
    predictor = open_predictor(options)
    description = {**predictor.files.description, "folder": str(predictor.files.program.parent)}
    for note in predictor.notes:
        print(f"note: {note}")
    items = read_items(options.input, predictor.inputs, clip_reader(description))
    outputs = [predictor.run(batch) for batch in batches(items, options.batch_size)]
    results = [describe(item, values, description)
               for item, values in zip(items, split_by_item(outputs, items), strict=True)]
    for result in results:
        print_result(result)
    whole = {name: np.concatenate([batch[name] for batch in outputs]) for name in predictor.outputs}
    document: dict[str, Any] = {"results": results, "settings": predictor.settings, "notes": predictor.notes}
    status = 0
    if options.expected:
        moved, tolerance = compare(whole, options)
        document["moved"] = {"tolerance": tolerance, "outputs": [entry.to_dict() for entry in moved]}
        for entry in moved:
            failed = entry.relative > tolerance
            status |= failed
            print(f"{'FAILED' if failed else 'equal'} to eager within {tolerance:g}: {entry}")
    if options.save_outputs:
        save_arrays(options.save_outputs, whole)
    if options.output:
        with atomic_write(options.output) as temporary:
            temporary.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    if options.benchmark:
        measure(predictor, items, options, description)
    return int(status)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    try:
        return run(options)
    except (ValueError, FileNotFoundError) as error:
        print(f"infer: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
