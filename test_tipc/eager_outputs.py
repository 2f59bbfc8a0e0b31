"""Outputs of the eager network for the chain's inference input: what every exported run must repeat.

    python test_tipc/eager_outputs.py -c CONFIG --pretrained W --model_dir EXPORTED --input CLIPS --output FILE.npz

Takes the options of export_model.py. The inputs are prepared as deploy/infer.py prepares them from ``deploy.yaml`` in
EXPORTED, and the results are printed in its form; the outputs go to FILE.npz under the graph's output names.
"""
import sys
from pathlib import Path

import numpy as np

if __name__ == "__main__" and not __package__:  # started as a file: imports begin at the repository
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from deploy.export import DESCRIPTION, read_description
from deploy.infer import clip_reader, describe, print_result, save_arrays
from deploy.inputs import read_items
from systems.command_line import one_line_errors, parse


def add_options(parser, system_class) -> None:
    parser.add_argument("--model_path", help="weights (the same as --pretrained)")
    parser.add_argument("--graph", help="name of the graph; default: the only one")
    parser.add_argument("--model_dir", required=True, help="folder written by export_model.py")
    parser.add_argument("--input", required=True, help="as for deploy/infer.py")
    parser.add_argument("--output", required=True, help=".npz file to write")


def main() -> None:
    command = parse("eager_outputs.py", "Outputs of the eager network.", extra=add_options)
    options = command.options
    with one_line_errors():
        weights = options.model_path or command.config.pretrained
        if weights is None:
            raise ValueError("name the weights: --pretrained FILE")
        network = command.system.network()
        command.system.load_weights(network, weights)
        graphs = command.system.inference_graphs(network)
        if options.graph is None and len(graphs) > 1 and "inference" not in graphs:
            raise ValueError(f"the system has the graphs {', '.join(graphs)}; choose one by --graph")
        graph = graphs[options.graph or ("inference" if "inference" in graphs else next(iter(graphs)))]
        description = {**read_description(Path(options.model_dir) / DESCRIPTION), "folder": options.model_dir}
        items = read_items(options.input, [spec.name for spec in graph.inputs], clip_reader(description))
        outputs = [graph.run(**item.arrays) for item in items]
        for item, values in zip(items, outputs, strict=True):
            print_result(describe(item, values, description))
        save_arrays(options.output, {name: np.concatenate([values[name] for values in outputs])
                                     for name in graph.outputs})


if __name__ == "__main__":
    main()
