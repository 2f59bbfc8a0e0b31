"""How fast is MVFNet-50: what do its fusion modules cost, and how does the exported network compare with PyTorch?

    python -m benchmarks.mvf [--threads 1] [--rounds 7] [--frames 16] [--size 224] [--depth 50] [--report FOLDER]

The modules' cost is the time of all nine ``fuse`` calls, on tensors of their true shapes, over the time of the same
ResNet without them. Weights are random, which does not change the time.
"""
from __future__ import annotations

import argparse
import functools
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.common import Prepare, race, table, write

CLASSES = 101
FUSED, PLAIN = (0, 0, 1, 1), (0, 0, 0, 0)


def paddle_network(frames: int, depth: int, fused: tuple[int, ...]):
    import paddle

    from models.mvf import MVFNet
    paddle.seed(0)
    network = MVFNet(num_classes=CLASSES, num_frames=frames, depth=depth, fused_stages=fused)
    network.eval()
    return network


def clip(frames: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(1, frames, 3, size, size)).astype("float32")


def paddle_eager(threads: int, *, frames: int, size: int, depth: int, fused: tuple[int, ...]):
    import paddle
    network, x = paddle_network(frames, depth, fused), paddle.to_tensor(clip(frames, size))

    def run():
        with paddle.no_grad():
            return network(x).numpy()
    return run


def paddle_fusion(threads: int, *, frames: int, size: int, depth: int):
    """Only the fusion modules, on inputs recorded in one forward pass."""
    import paddle

    from models.mvf import MultiViewFusion
    network = paddle_network(frames, depth, FUSED)
    modules = [layer for layer in network.sublayers() if isinstance(layer, MultiViewFusion)]
    recorded = []
    hooks = [module.register_forward_pre_hook(lambda layer, inputs: recorded.append((layer, inputs[0])))
             for module in modules]
    with paddle.no_grad():
        network(paddle.to_tensor(clip(frames, size)))
    for hook in hooks:
        hook.remove()

    def run():
        with paddle.no_grad():
            for layer, x in recorded:
                layer.fuse(x)
    return run


def exported(threads: int, *, frames: int, size: int, depth: int, fused: tuple[int, ...], onednn: bool):
    from paddle.static import InputSpec

    from deploy.export import Graph, export
    from deploy.inference import Predictor
    with tempfile.TemporaryDirectory() as folder:
        graph = Graph(paddle_network(frames, depth, fused), [InputSpec([-1, frames, 3, size, size], "float32", "imgs")],
                      ["logits"])
        export({"inference": graph}, folder, {})
        predictor = Predictor(folder, onednn=onednn, threads=threads)
    return functools.partial(predictor.run, {"imgs": clip(frames, size)})


def torch_eager(threads: int, *, frames: int, size: int, depth: int, fused: tuple[int, ...]):
    import torch

    from alignment.reference.mvf import MVFNet
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network = MVFNet(num_classes=CLASSES, num_frames=frames, depth=depth, fused_stages=fused).eval()
    x = torch.from_numpy(clip(frames, size))

    def run():
        with torch.inference_mode():
            return network(x).numpy()
    return run


def contenders(frames: int, size: int, depth: int) -> dict[str, Prepare]:
    shape = {"frames": frames, "size": size, "depth": depth}
    return {
        "torch, eager": functools.partial(torch_eager, **shape, fused=FUSED),
        "Paddle, eager": functools.partial(paddle_eager, **shape, fused=FUSED),
        "Paddle, eager, plain ResNet": functools.partial(paddle_eager, **shape, fused=PLAIN),
        "Paddle, eager, the fusion modules alone": functools.partial(paddle_fusion, **shape),
        "Paddle, exported, oneDNN": functools.partial(exported, **shape, fused=FUSED, onednn=True),
        "Paddle, exported, oneDNN, plain ResNet": functools.partial(exported, **shape, fused=PLAIN, onednn=True),
        "Paddle, exported, without oneDNN": functools.partial(exported, **shape, fused=FUSED, onednn=False),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--depth", type=int, default=50)
    parser.add_argument("--report", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    timings = race(contenders(options.frames, options.size, options.depth), threads=options.threads,
                   rounds=options.rounds)
    sections = [f"One clip of {options.frames} frames, {options.size}x{options.size}, threads {options.threads}, "
                f"{options.rounds} interleaved rounds, medians; float32.", ""]
    for clock in ("wall", "cpu"):
        sections += [*table(timings, "torch, eager", clock), ""]
        time = {name: timing.median(clock) for name, timing in timings.items()}
        share = time["Paddle, eager, the fusion modules alone"] / time["Paddle, eager, plain ResNet"]
        added = time["Paddle, exported, oneDNN"] / time["Paddle, exported, oneDNN, plain ResNet"] - 1
        speed = time["torch, eager"] / time["Paddle, exported, oneDNN"]
        sections += [f"- {clock}: the fusion modules take {100 * share:.1f} % of their ResNet's forward (eager); "
                     f"exported, the whole network takes {100 * added:.1f} % more than without them",
                     f"- {clock}: exported with oneDNN, the network is {speed:.2f} times as fast as the torch twin", ""]
    write(options.report, f"mvf_threads_{options.threads}", f"MVFNet-{options.depth}, forward", sections,
          {name: asdict(timing) for name, timing in timings.items()})
    print("\n".join(sections))


if __name__ == "__main__":
    main()
