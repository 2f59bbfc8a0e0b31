"""How fast is Deep Feature Flow: over PSPNet on every frame, over the plain pyramid head, over the torch twin?

    python -m benchmarks.dff [--threads 1] [--rounds 3] [--height 512] [--width 1024] [--depth 101] [--plain-onednn]
                             [--report FOLDER]

Prints seconds of a key and of another frame, exported (Paddle's inference engine, oneDNN) and by the torch twin
(eager, plain formulation), and from them the speed-up over per-frame PSPNet at key intervals 5 and 10. Weights are
random, which does not change the time.
"""
from __future__ import annotations

import argparse
import functools
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.common import Prepare, race, table, write

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
SLIM = (24, 48, 96, 192, 192, 384)


def inputs(height: int, width: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"seg": (3, 1, 1), "flow": (3, 1, 1), "scores": (19, 4, 4), "half": (SLIM[0], 2, 2)}
    return {name: rng.random((1, channels, height // rows, width // columns), dtype=np.float32)
            for name, (channels, rows, columns) in shapes.items()}


def exported(threads: int, *, graph: str, height: int, width: int, depth: int, closed_form: bool, onednn: bool):
    import paddle
    from paddle.static import InputSpec

    from deploy.export import Graph, export
    from deploy.inference import Predictor
    from models.dff import DFF, FLOWNETS, FlowNetS, PSPNet
    from models.dff_video import CurrentGraph, KeyGraph
    paddle.seed(0)
    network = DFF(pspnet=PSPNet(depth=depth, closed_form=closed_form), flownet=FlowNetS(**FLOWNETS["slim"]))
    network.eval()
    given = inputs(height, width)
    names = ("seg", "flow") if graph == "key" else ("flow", "scores", "half")
    specs = [InputSpec([-1, given[name].shape[1], -1, -1], "float32", name) for name in names]  # as it is shipped
    layer, outputs = ((KeyGraph(network), ["labels", "scores", "half"]) if graph == "key" else
                      (CurrentGraph(network), ["labels", "moved", "motion"]))
    with tempfile.TemporaryDirectory() as folder:
        export({"inference": Graph(layer, specs, outputs)}, folder, {})
        predictor = Predictor(folder, onednn=onednn, threads=threads)
    return functools.partial(predictor.run, {name: given[name] for name in names})


def twin(threads: int, *, graph: str, height: int, width: int, depth: int):
    import torch

    from alignment.reference.dff import DFF, warp
    torch.manual_seed(0)
    network = DFF(feature={"depths": BLOCKS[depth]}, flow={"slim": True, "channels": SLIM}).eval()
    given = {name: torch.from_numpy(array) for name, array in inputs(height, width).items()}

    def run():
        with torch.no_grad():
            if graph == "key":
                return network.labels_logits(network.key_map(given["seg"])).argmax(1)
            flow, _ = network.flow(given["flow"], given["flow"])
            return network.labels_logits(warp(given["scores"], flow)).argmax(1)
    return run


def speedups(key: float, other: float) -> list[str]:
    """Per-frame cost over the average cost at key intervals 5 and 10, and the limit."""
    lines = [f"speed-up over PSPNet on every frame, key interval {interval}: "
             f"{key / ((key + (interval - 1) * other) / interval):.2f}" for interval in (5, 10)]
    return [*lines, f"limit: {key / other:.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    for name, default in (("threads", 1), ("rounds", 3), ("height", 512), ("width", 1024), ("depth", 101)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--plain-onednn", action="store_true", help="also time the graphs without oneDNN")
    parser.add_argument("--report", type=Path, help="folder for the table as Markdown and JSON")
    options = parser.parse_args()
    size = {"height": options.height, "width": options.width, "depth": options.depth}
    contenders: dict[str, Prepare] = {
        "key, exported": functools.partial(exported, graph="key", closed_form=True, onednn=True, **size),
        "key, exported, plain head": functools.partial(exported, graph="key", closed_form=False, onednn=True, **size),
        "other, exported": functools.partial(exported, graph="current", closed_form=True, onednn=True, **size),
        "key, torch twin": functools.partial(twin, graph="key", **size),
        "other, torch twin": functools.partial(twin, graph="current", **size)}
    if options.plain_onednn:
        for graph in ("key", "current"):
            contenders[f"{graph}, exported, no oneDNN"] = functools.partial(
                exported, graph=graph, closed_form=True, onednn=False, **size)
    timings = race(contenders, threads=options.threads, rounds=options.rounds, warmup=1)
    seconds = {name: timing.median("cpu") for name, timing in timings.items()}  # CPU time: others may be busy
    lines = [*table(timings, "key, torch twin", "cpu"), "",
             *speedups(seconds["key, exported"], seconds["other, exported"]),
             f"closed form over plain head: {seconds['key, exported, plain head'] / seconds['key, exported']:.2f}",
             f"torch twin over ours, key frame: {seconds['key, torch twin'] / seconds['key, exported']:.2f}",
             f"torch twin over ours, other frame: {seconds['other, torch twin'] / seconds['other, exported']:.2f}"]
    print("\n".join(lines))
    if options.report:
        write(options.report, "dff", "Deep Feature Flow", lines, {name: asdict(t) for name, t in timings.items()})


if __name__ == "__main__":
    main()
