"""Train a system: ``python train.py -c configs/mvf/mini.yaml``."""
from engine import distributed
from engine.seed import seed_everything
from engine.trainer import fit
from systems.command_line import one_line_errors, parse


def main() -> None:
    command = parse("train.py", "Train a system.")
    with one_line_errors():
        distributed.initialize()  # the first weights may come from batches of all processes
        seed_everything(command.config.seed)  # the first weights are random, too
        network = command.system.network()
        command.system.initial_weights(network)
        summary = fit(command.system, network, config=command.config)
    if summary.best is not None:
        print(f"best {command.system.score} {summary.best:.5f} after epoch {summary.best_epoch}; "
              f"weights in {command.config.output_dir}/best/model.pdparams")


if __name__ == "__main__":
    main()
