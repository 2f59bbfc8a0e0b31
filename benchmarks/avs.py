"""How fast is AVSNet: TPAVI collapsed against the original's quadratic form, and the whole network against PyTorch.

    python -m benchmarks.avs [--threads 1] [--rounds 5] [--size 224] [--only tpavi|network|large] [--report FOLDER]

One video of five frames. The quadratic form is written in Paddle here, for this measurement only; both forms have the
same weights. Weights are random, which does not change the time. ``large`` runs 448 x 448, where a single map of the
quadratic form has 15.7 GB.
"""
from __future__ import annotations

import argparse
import functools
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.common import Timing, race, table, write

CHANNELS, FRAMES = 256, 5


def tpavi(threads: int, *, size: int, quadratic: bool, backward: bool):
    """One TPAVI block (dot) on the finest map, ``[1, 256, 5, size / 4, size / 4]``."""
    import paddle

    from models.avs import TPAVI
    paddle.seed(0)
    block = TPAVI(in_channels=CHANNELS)
    block.eval()
    for parameter in block.W_z[1].parameters():
        if not parameter.stop_gradient:
            parameter.set_value(paddle.rand(parameter.shape))
    x = paddle.rand([1, CHANNELS, FRAMES, size // 4, size // 4])
    audio = paddle.rand([1, FRAMES, 128])
    x.stop_gradient = not backward
    forward = functools.partial(by_pairs, block) if quadratic else block

    def run():
        if not backward:
            with paddle.no_grad():
                return forward(x, audio)[0].numpy()
        x.clear_gradient(False)
        forward(x, audio)[0].mean().backward()
        return x.grad.numpy()
    return run


def by_pairs(block, x, audio):
    """The original's order of operations: every position against every position."""
    import paddle
    B, _, T, h, w = x.shape
    sound = block.align_channel(audio)  # B T C
    other = sound.transpose([0, 2, 1]).reshape([B, CHANNELS, T, 1, 1]).expand([B, CHANNELS, T, h, w])
    theta = block.theta(x).flatten(2).transpose([0, 2, 1])  # B P K
    phi, g = block.phi(other).flatten(2), block.g(x).flatten(2).transpose([0, 2, 1])
    pairs = paddle.matmul(theta, phi)  # B P P
    y = paddle.matmul(pairs / pairs.shape[-1], g).transpose([0, 2, 1]).reshape([B, -1, T, h, w])
    z = block.W_z(y) + x
    return block.norm_layer(z.transpose([0, 2, 3, 4, 1])).transpose([0, 4, 1, 2, 3]), sound


def video(size: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"image": rng.normal(size=(FRAMES, 3, size, size)).astype("float32"),
            "audio": rng.uniform(size=(FRAMES, 128)).astype("float32")}


def paddle_network(backbone: str):
    import paddle

    from models.avs import AVSNet
    paddle.seed(0)
    network = AVSNet(backbone=backbone)
    network.eval()
    return network


def eager(threads: int, *, size: int, backbone: str):
    import paddle
    network = paddle_network(backbone)
    inputs = [paddle.to_tensor(array) for array in video(size).values()]

    def run():
        with paddle.no_grad():
            return network(*inputs)[0].numpy()
    return run


def exported(threads: int, *, size: int, backbone: str, onednn: bool):
    import paddle
    from paddle.static import InputSpec

    from deploy.export import Graph, export
    from deploy.inference import Predictor

    class Logits(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.network = paddle_network(backbone)

        def forward(self, image, audio):
            return self.network(image, audio)[0]

    with tempfile.TemporaryDirectory() as folder:
        specs = [InputSpec([-1, 3, size, size], "float32", "image"), InputSpec([-1, 128], "float32", "audio")]
        export({"inference": Graph(Logits(), specs, ["logits"])}, folder, {})
        predictor = Predictor(folder, onednn=onednn, threads=threads)
    return functools.partial(predictor.run, video(size))


def torch_twin(threads: int, *, size: int, backbone: str):
    import torch

    from alignment.reference.avs import AVSNet
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network = AVSNet(backbone=backbone).eval()
    inputs = [torch.from_numpy(array) for array in video(size).values()]

    def run():
        with torch.inference_mode():
            return network(*inputs)[0].numpy()
    return run


def measure_tpavi(options) -> tuple[list[str], dict[str, Timing]]:
    found, lines = {}, []
    for title, backward in (("forward", False), ("forward and backward", True)):
        forms = {f"{title}, {name}": functools.partial(tpavi, size=options.size, quadratic=quadratic, backward=backward)
                 for name, quadratic in (("quadratic", True), ("collapsed", False))}
        timings = race(forms, threads=options.threads, rounds=options.rounds, warmup=1)
        slow, fast = timings.values()
        lines += [*table(timings, f"{title}, quadratic", "cpu"), "",
                  f"- TPAVI, {title}: {slow.median('cpu') / fast.median('cpu'):.1f} times as fast, "
                  f"{(slow.peak - slow.before) / max(fast.peak - fast.before, 1):.1f} times less extra memory", ""]
        found.update(timings)
    return lines, found


def measure_network(options) -> tuple[list[str], dict[str, Timing]]:
    found, lines = {}, []
    for backbone in ("resnet", "pvt"):
        shape = {"size": options.size, "backbone": backbone}
        timings = race({f"{backbone}, torch, the original's form": functools.partial(torch_twin, **shape),
                        f"{backbone}, Paddle, eager": functools.partial(eager, **shape),
                        f"{backbone}, Paddle, exported, oneDNN": functools.partial(exported, **shape, onednn=True)},
                       threads=options.threads, rounds=options.rounds, warmup=1)
        twin, own, static = timings.values()
        lines += [*table(timings, next(iter(timings)), "cpu"), "",
                  f"- {backbone}: {twin.median('cpu') / own.median('cpu'):.2f} times as fast as the original's form "
                  f"eager, {twin.median('cpu') / static.median('cpu'):.2f} times exported", ""]
        found.update(timings)
    return lines, found


def measure_large(options) -> tuple[list[str], dict[str, Timing]]:
    timings = race({"resnet, 448 x 448, eager": functools.partial(eager, size=448, backbone="resnet")},
                   threads=options.threads, rounds=1, warmup=0)
    peak = next(iter(timings.values())).peak
    return [f"- 448 x 448: {peak / 1024:.2f} GB at most (one map of the quadratic form: 15.7 GB)", ""], timings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--only", action="append", choices=("tpavi", "network", "large"))
    parser.add_argument("--report", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    measures = {"tpavi": measure_tpavi, "network": measure_network, "large": measure_large}
    for name in options.only or measures:
        lines, timings = measures[name](options)
        head = f"One video of {FRAMES} frames, {options.size}x{options.size}, threads {options.threads}, float32."
        write(options.report, f"avs_{name}_threads_{options.threads}", f"AVSNet, {name}", [head, "", *lines],
              {key: asdict(timing) for key, timing in timings.items()})
        print("\n".join(lines))


if __name__ == "__main__":
    main()
