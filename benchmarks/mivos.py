"""MiVOS: memory reading against the dense forms, and what a long video needs in memory.

    python -m benchmarks.mivos read [--slots 50] [--rounds 3]      the read of one object at 480 x 864
    python -m benchmarks.mivos memory [--frames 300] [--bank 0]    peak memory of a whole pass at 480 x 854

*memory* runs the real inference core, memory bank and stores over all frames; the convolutional networks are replaced
by a stand-in that returns tensors of their shapes at once, since their activations do not depend on the number of
frames (their own peak is measured by running the real networks on one frame, and added).
"""
from __future__ import annotations

import argparse
import functools
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.common import race, table, write
from deploy.memory import peak_memory

POSITIONS, KEY, VALUE, TOP_K = 30 * 54, 128, 512, 50
HEIGHT, WIDTH = 480, 854


def rows(slots: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return (rng.standard_normal((slots * POSITIONS, KEY), np.float32),
            rng.standard_normal((slots * POSITIONS, VALUE), np.float32),
            rng.standard_normal((POSITIONS, KEY), np.float32) / np.float32(KEY**0.5))


def paddle_chunked(threads: int, *, slots: int):
    import paddle

    from models.mivos.memory import read
    keys, values, query = map(paddle.to_tensor, rows(slots))
    return lambda: read(keys, values, query, top_k=TOP_K)


def paddle_dense(threads: int, *, slots: int):
    """Upstream's form: affinity, top-k, weights scattered into zeros, a dense product."""
    import paddle
    keys, values, query = map(paddle.to_tensor, rows(slots))

    def run():
        affinity = paddle.matmul(keys, query, transpose_y=True)
        best, index = paddle.topk(affinity, TOP_K, axis=0)
        weights = paddle.exp(best - best[:1])
        weights = paddle.put_along_axis(paddle.zeros_like(affinity), index, weights / weights.sum(0, keepdim=True), 0)
        return paddle.matmul(values, weights, transpose_x=True)
    return run


def torch_dense(threads: int, *, slots: int):
    """The same in PyTorch."""
    import torch
    torch.set_num_threads(threads)
    keys, values, query = map(torch.from_numpy, rows(slots))

    def run():
        affinity = keys @ query.T
        best, index = torch.topk(affinity, TOP_K, dim=0)
        weights = torch.exp(best - best[:1])
        weights /= weights.sum(0, keepdim=True)
        return values.T @ affinity.zero_().scatter_(0, index, weights)
    return run


def measure_read(options) -> None:
    contenders = {"Paddle, chunked": paddle_chunked, "Paddle, dense": paddle_dense, "torch, dense": torch_dense}
    timings = race({name: functools.partial(make, slots=options.slots) for name, make in contenders.items()},
                   rounds=options.rounds, warmup=1)
    cpu = {name: timing.median("cpu") for name, timing in timings.items()}
    extra = {name: max(timing.peak - timing.before, 0.1) for name, timing in timings.items()}
    sections = [f"One object, {options.slots} memory frames of 480 x 864, top {TOP_K}, one thread.", "",
                *table(timings, "Paddle, dense", "cpu"), "",
                f"- {cpu['Paddle, dense'] / cpu['Paddle, chunked']:.2f} times as fast as the dense form in Paddle, "
                f"{cpu['torch, dense'] / cpu['Paddle, chunked']:.2f} times as fast as the one in torch (CPU time)",
                f"- peak memory above the inputs: 1/{extra['Paddle, dense'] / extra['Paddle, chunked']:.1f} of the "
                "dense form's in Paddle"]
    write(options.report, "mivos_read", "MiVOS, memory read", sections,
          {name: asdict(timing) for name, timing in timings.items()})
    print("\n".join(sections))


class StandIn:
    """Shapes of the propagation network, no convolutions."""

    def __init__(self):
        import paddle
        self.paddle = paddle

    def memorize(self, frame, masks):
        count, h, w = masks.shape[0], frame.shape[2] // 16, frame.shape[3] // 16
        return self.paddle.rand([count, KEY, h, w]), self.paddle.rand([count, VALUE, h, w])

    def query(self, frame):
        from models.mivos.propagation import Query
        h, w = frame.shape[2] // 16, frame.shape[3] // 16
        return Query(*(self.paddle.rand([1, c, h * s, w * s]) for c, s in ((KEY, 1), (VALUE, 1), (512, 2), (256, 4))))

    def segment_from_bank(self, bank, query):
        read_out = bank.read(query.key, top_k=TOP_K)
        return self.paddle.nn.functional.interpolate(self.paddle.nn.functional.sigmoid(read_out[:, :1]),
                                                     scale_factor=16)


class Noise:
    """Frames made when asked for, as a reader of files would."""

    ndim = 0

    def __init__(self, frames: int):
        self.frames = frames

    def __len__(self) -> int:
        return self.frames

    def __getitem__(self, index: int) -> np.ndarray:
        return np.random.default_rng(index).standard_normal((3, HEIGHT, WIDTH), np.float32)


def measure_memory(options) -> None:
    from models.mivos.inference_core import InferenceCore
    core = InferenceCore(propagation=StandIn(), fusion=None, frames=Noise(options.frames), num_objects=options.objects,
                         mem_profile=options.profile, bank_limit=options.bank or None)
    mask = np.zeros((options.objects + 1, 1, HEIGHT, WIDTH), np.float32)
    mask[0] = 1
    start, marks = peak_memory(), {}

    def watch(steps, total):
        for t in steps:
            yield t
            if (t + 1) % 25 == 0:
                marks[t + 1] = round(peak_memory())

    core.interact(mask, 0, progress=watch)
    state = round(peak_memory())
    network = _network_peak(options.objects) if options.network else 0.0
    result = {"frames": options.frames, "objects": options.objects, "profile": options.profile, "bank": options.bank,
              "start_mb": round(start), "peak_by_frame_mb": marks, "peak_mb": state, "network_mb": round(network),
              "total_mb": round(state + network)}
    options.report.mkdir(parents=True, exist_ok=True)
    name = f"mivos_memory_{options.frames}_profile{options.profile}_bank{options.bank}.json"
    (options.report / name).write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(json.dumps(result))


def _network_peak(objects: int) -> float:
    """MB that one frame through the real networks adds, the fusion of two interactions included."""
    import paddle

    from models.mivos.fusion import FusionNet
    from models.mivos.memory import MemoryBank
    from models.mivos.propagation import PropagationNetwork
    before = peak_memory()
    network, fusion = PropagationNetwork(), FusionNet()
    network.eval()
    fusion.eval()
    with paddle.no_grad():
        frame, bank = paddle.rand([1, 3, HEIGHT, WIDTH + 10]), MemoryBank()
        bank.add_certain(*network.memorize(frame, paddle.rand([objects, 1, HEIGHT, WIDTH + 10])), 0)
        network.segment_from_bank(bank, network.query(frame))
        mask, time = paddle.rand([1, 1, HEIGHT, WIDTH + 10]), paddle.rand([1, 2])  # one object after the other
        fusion(frame, mask, mask, paddle.concat([mask, mask], 1), time)
    return peak_memory() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("what", nargs="?", choices=("read", "memory"), default="read")
    parser.add_argument("--slots", type=int, default=50, help="memory frames of the read")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--objects", type=int, default=1)
    parser.add_argument("--profile", type=int, default=2, choices=(0, 1, 2, 3), help="mem_profile")
    parser.add_argument("--bank", type=int, default=0, help="bank_limit (0: none)")
    parser.add_argument("--network", action="store_true", help="run the real network on one frame too")
    parser.add_argument("--report", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    (measure_read if options.what == "read" else measure_memory)(options)


if __name__ == "__main__":
    main()
