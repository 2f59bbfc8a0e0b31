"""What a system says about your own video: ``python predict.py --video V --pretrained P``."""
from pathlib import Path

from systems.command_line import one_line_errors, parse


def add_options(parser, system_class) -> None:
    parser.add_argument("--video", required=True, help="a video file or a folder of frames")
    parser.add_argument("--save_dir", help="folder for prediction.json and pictures (default OUTPUT_DIR/predict)")
    getattr(system_class, "add_predict_options", lambda parser: None)(parser)


def main() -> None:
    command = parse("predict.py", "Predict on a user's own video.", extra=add_options)
    options = vars(command.options)
    own = getattr(command.system, "PREDICT_OPTIONS", ())
    with one_line_errors():
        if command.config.pretrained is None:
            raise ValueError("name the weights: --pretrained FILE")
        network = command.system.network()
        command.system.load_weights(network, command.config.pretrained)
        prediction = command.system.predict(network, options["video"], **{name: options[name] for name in own})
        saved = prediction.save(options["save_dir"] or Path(command.config.output_dir) / "predict")
    print(prediction.summary())
    print(f"saved {saved}")


if __name__ == "__main__":
    main()
