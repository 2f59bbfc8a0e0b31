"""Export a system to static graphs: ``python export_model.py --model_path P --save_dir O``."""
from pathlib import Path

from deploy.export import export, read_description
from deploy.onnx import export_all_onnx
from systems.command_line import one_line_errors, parse


def add_options(parser, system_class) -> None:
    parser.add_argument("--model_path", help="weights to export (the same as --pretrained)")
    parser.add_argument("--save_dir", help="folder for the graphs (default OUTPUT_DIR/export)")
    parser.add_argument("--onnx", action="store_true", help="write .onnx files beside them")


def main() -> None:
    command = parse("export_model.py", "Export a system to static graphs.", extra=add_options)
    weights = command.options.model_path or command.config.pretrained
    folder = Path(command.options.save_dir or Path(command.config.output_dir) / "export")
    with one_line_errors():
        if weights is None:
            raise ValueError("name the weights to export: --model_path FILE")
        network = command.system.network()
        command.system.load_weights(network, weights)
        written = export(command.system.inference_graphs(network), folder, command.system.description())
        graphs = list(read_description(written)["graphs"])
        print(f"exported {', '.join(graphs)} to {folder}; described in {written}")
        if command.options.onnx:
            for path in export_all_onnx(folder, graphs):
                print(f"exported {path}", flush=True)


if __name__ == "__main__":
    main()
