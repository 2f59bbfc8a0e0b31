"""Evaluate a system by its published protocol: ``python test.py -c configs/mvf/ucf101.yaml --pretrained FILE``."""
import json
from pathlib import Path

from engine.files import atomic_write
from engine.trainer import evaluate
from systems.command_line import one_line_errors, parse


def add_options(parser, system_class) -> None:
    parser.add_argument("--subset", default="test", choices=("train", "val", "test"),
                        help="data and protocol to evaluate (default test)")


def main() -> None:
    command = parse("test.py", "Evaluate a system.", extra=add_options)
    with one_line_errors():
        if command.config.pretrained is None:
            raise ValueError("name the weights to evaluate: --pretrained FILE")
        network = command.system.network()
        command.system.load_weights(network, command.config.pretrained)
        metrics = evaluate(command.system, network, command.options.subset)
        with atomic_write(Path(command.config.output_dir) / f"metrics_{command.options.subset}.json") as file:
            json.dump(metrics, file, indent=2)
    for name, value in metrics.items():
        print(f"{name}: {value:.6f}")


if __name__ == "__main__":
    main()
