"""What the benchmarks of ActionCLIP and X-CLIP share: the contenders and the report."""
from __future__ import annotations

import argparse
import functools
import importlib
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.common import Prepare, race, table, write
from datasets.labels import NAME_ONLY, TEMPLATES, read_labels

CLASSES = 400
BATCH = 50  # sentences that go through the text tower together


def ids(system: str, names: int) -> np.ndarray:
    """Sentences of the first names of Kinetics-400, sorted by length as every test sorts them."""
    from systems.label_features import sentence_ids
    templates = TEMPLATES[:1] if system == "actionclip" else NAME_ONLY
    found = sentence_ids(read_labels("kinetics_400")[:names], templates)
    return found[np.argsort(found.argmax(-1), kind="stable")]


def configured(system: str, arch: str, frames: int):
    from engine import config
    from systems import find_system
    found = find_system(system)
    size = 336 if arch.endswith("336px") else 224
    overrides = [f"network.arch={arch}", f"data.frames={frames}", f"data.size={size}"]
    return found(config.load(found.Config, None, overrides))


def clip(frames: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(1, frames, 3, 224, 224)).astype("float32")


def label_features(rows: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(1, rows, 512)).astype("float32")


def text_tower(threads: int, *, system: str, arch: str, names: int, shorten: bool):
    import paddle
    made = configured(system, arch, 8)
    network = made.network()
    network.eval()
    tower, sentences = made.text_tower(network), ids(system, names)
    batches = [paddle.to_tensor(sentences[start:start + BATCH]) for start in range(0, names, BATCH)]

    def run():
        with paddle.no_grad():
            return [tower.encode_text(batch, shorten=shorten).numpy() for batch in batches]
    return run


def exported(threads: int, *, system: str, arch: str, frames: int, onednn: bool):
    from deploy.export import export
    from deploy.inference import Predictor
    made = configured(system, arch, frames)
    network = made.network()
    with tempfile.TemporaryDirectory() as folder:
        export({"inference": made.inference_graphs(network)["inference"]}, folder, {})
        predictor = Predictor(folder, onednn=onednn, threads=threads)
    rows = CLASSES * (len(TEMPLATES) if system == "actionclip" else 1)
    return functools.partial(predictor.run, {"frames": clip(frames), "text": label_features(rows)})


def torch_eager(threads: int, *, system: str, arch: str, frames: int):
    """The twin with the label features given, as the graph has them."""
    import torch
    torch.set_num_threads(threads)
    sizes = configured(system, arch, frames).sizes
    sizes = {**sizes, "transformer_heads": sizes["transformer_width"] // 64}
    reference = importlib.import_module(f"alignment.reference.{system}")
    x = torch.from_numpy(clip(frames))
    if system == "actionclip":
        network = reference.ActionCLIP(sim_header="Transf", num_segments=frames, **sizes).eval()
        text = torch.from_numpy(label_features(CLASSES * len(TEMPLATES))[0])

        def forward():
            return reference.probabilities(network.encode_video(network.encode_image(x[0])), text, len(TEMPLATES))
    else:
        network = reference.XCLIP(T=frames, **{"prompts_layers": 2, **sizes}).eval()
        text = torch.from_numpy(label_features(CLASSES))

        def forward():
            video, patches = network.encode_video(x)
            prompted = text + network.prompts_generator(text, patches.mean(1))
            prompted = prompted / prompted.norm(dim=-1, keepdim=True)
            return (video / video.norm(dim=-1, keepdim=True))[:, None] @ prompted.transpose(1, 2)

    def run():
        with torch.inference_mode():
            return forward().numpy()
    return run


def contenders(system: str, arch: str, frames: int, names: int) -> dict[str, Prepare]:
    shape = {"system": system, "arch": arch}
    return {
        "text, 77 positions": functools.partial(text_tower, **shape, names=names, shorten=False),
        "text, cut to the longest": functools.partial(text_tower, **shape, names=names, shorten=True),
        "video, torch, eager": functools.partial(torch_eager, **shape, frames=frames),
        "video, exported, oneDNN": functools.partial(exported, **shape, frames=frames, onednn=True),
        "video, exported, without oneDNN": functools.partial(exported, **shape, frames=frames, onednn=False),
    }


def main(system: str, about: str) -> None:
    parser = argparse.ArgumentParser(description=about.split("\n\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--arch", default="ViT-B/32", choices=("ViT-B/32", "ViT-B/16"))
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--names", type=int, default=CLASSES, help="sentences of the text contest")
    parser.add_argument("--report", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    timings = race(contenders(system, options.arch, options.frames, options.names), threads=options.threads,
                   rounds=options.rounds, warmup=1)
    sections = [f"{options.arch}, one clip of {options.frames} frames, {CLASSES} classes; text: {options.names} names, "
                f"{BATCH} at a time.",
                f"Threads {options.threads}, {options.rounds} interleaved rounds, medians; float32.", ""]
    for clock in ("wall", "cpu"):
        time = {name: timing.median(clock) for name, timing in timings.items()}
        text = time["text, 77 positions"] / time["text, cut to the longest"]
        video = {name: time["video, torch, eager"] / time[name] for name in time if "exported" in name}
        sections += [*table(timings, "video, torch, eager", clock), "",
                     f"- {clock}: cut to the longest sentence, the text tower is {text:.1f} times as fast",
                     *(f"- {clock}: {name.removeprefix('video, ')}, the video graph is {ratio:.2f} times as fast as "
                       "the torch twin in eager mode" for name, ratio in video.items()), ""]
    write(options.report, f"{system}_{options.arch.replace('/', '')}_threads_{options.threads}".lower(),
          f"{system}, forward", sections, {name: asdict(timing) for name, timing in timings.items()})
    print("\n".join(sections))
