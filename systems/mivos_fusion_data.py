"""Generate what FusionNet learns from: propagations of a video from every so many of its annotated frames.

``python -m systems.mivos_fusion_data -c CONFIG --run NAME --separation 5`` writes
``DATA_ROOT/fusion_data/NAME/VIDEO/REF/OBJECT/FRAME.png`` (grey, probability times 255, truncated). hkchengrex/MiVOS
f2600a6 ``generate_fusion.py``.
"""
from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from datasets.davis import Sequence
from engine.progress import progress
from systems.command_line import one_line_errors, parse
from systems.mivos_video import Images, label_probabilities, start_core

LEAST_PIXELS, MOST_OBJECTS = 100, 5


def generate(video: Sequence, networks: dict, options, folder: Path, *, separation: int, reach: int = 0) -> int:
    """Propagate from every ``separation``-th annotated frame.

    Args:
        folder: of this video; complete references in it are left as they are.
        reach: frames on both sides (BL30K), or 0 for the whole video.

    Returns:
        references written.
    """
    written = 0
    for reference in sorted(video.annotations)[::separation]:
        target = folder / f"{reference:05d}"
        labels = video.labels(reference)
        objects = [int(i) for i in np.unique(labels) if i and (labels == i).sum() > LEAST_PIXELS][:MOST_OBJECTS]
        if target.is_dir() or not objects:
            continue
        low, high = (max(reference - reach, 0), min(reference + reach + 1, len(video.frames))) if reach else (
            0, len(video.frames))
        part = Sequence(video.name, video.frames[low:high], {})
        images = Images.of_sequence(part, options.short_side)
        core = start_core(networks, images, len(objects), options, fuse=False)
        numbered = sum((labels == label) * np.uint8(place) for place, label in enumerate(objects, 1))
        core.interact(label_probabilities(numbered, len(objects), images.size), reference - low, soften=True)
        _write(target, core, objects, labels.shape, low, reference)
        written += 1
    return written


def _write(target: Path, core, objects: list[int], shape: tuple[int, int], low: int, reference: int) -> None:
    """All or nothing: a folder is there only when it is complete."""
    temporary = target.with_name(f".{target.name}.part")
    for place, label in enumerate(objects, 1):
        own = temporary / f"{label:05d}"
        own.mkdir(parents=True, exist_ok=True)
        for t in range(core.length):
            if t + low == reference:
                continue
            prob = core.unpadded(core.prob(t))[place, 0]
            picture = Image.fromarray((prob * 255).astype(np.uint8))
            picture.resize(shape[::-1], Image.Resampling.BILINEAR).save(own / f"{t + low:05d}.png")
    temporary.rename(target)


def _options(parser, system_class) -> None:
    parser.add_argument("--run", required=True, help="name of the folder below DATA_ROOT/fusion_data")
    parser.add_argument("--separation", type=int, default=30, help="frames from one reference to the next")
    parser.add_argument("--reach", type=int, default=0, help="frames propagated on both sides (0: all)")


def main() -> None:
    command = parse("systems.mivos_fusion_data", "Generate training data of the fusion.", extra=_options)
    with one_line_errors():
        system, config, options = command.system, command.config, command.options
        if config.pretrained is None or config.part != "propagation":
            raise ValueError("a trained propagation network generates the data: use a configuration with "
                             "part: propagation and name its weights, --pretrained FILE")
        if options.separation < 1 or options.reach < 0:
            raise ValueError(f"--separation {options.separation} must be 1 or more, --reach {options.reach} 0 or more")
        network = system.network()
        system.load_weights(network, config.pretrained)
        networks, source = system.companions(network), system.dataset("val").source
        for index in progress(range(len(source)), "videos", len(source)):
            video = source[index]
            folder = Path(config.data.root) / "fusion_data" / options.run / video.name
            generate(video, networks, config.inference, folder, separation=options.separation, reach=options.reach)


if __name__ == "__main__":
    main()
