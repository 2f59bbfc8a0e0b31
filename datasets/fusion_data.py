"""Training samples of FusionNet from generated propagations.

hkchengrex/MiVOS f2600a6 ``dataset/fusion_dataset.py``. Layout: ``RUN/VIDEO/REF/OBJECT/FRAME.png``, grey, probability
times 255: what the object was predicted as in FRAME when only REF was annotated. RUN is one setting of the generator.
"""
from __future__ import annotations

from collections.abc import Sequence as Sized
from pathlib import Path

import numpy as np
from PIL import Image

from datasets import mivos_transforms as tf
from datasets.davis import Sequence
from datasets.static_masks import read_grey

TRIES, SAME_VIDEO_TRIES, STRICT_TRIES = 20, 5, 15
LEAST_DIFFERENT = 100  # pixels of the crop in which the two propagations must differ


class FusionSamples:
    """Two propagations of a frame from two references, and the annotation.

    Args:
        runs: folders of generated data.
        videos: collections with ``names`` and ``[i] -> Sequence`` that hold the annotations.
        size: side of the square crop.
        repeats: samples per video and epoch.

    Raises:
        FileNotFoundError: if no run holds a video of ``videos``.
    """

    def __init__(self, runs: Sized[str | Path], videos: Sized, *, size: int = 384, repeats: int = 100):
        sequences = {name: (source, place) for source in videos for place, name in enumerate(source.names)}
        self.size, self.repeats = size, repeats
        self.entries: list[tuple[Path, Sequence]] = []
        for run in map(Path, runs):
            for folder in sorted(path for path in run.glob("*") if path.is_dir()):
                if folder.name in sequences:
                    source, place = sequences[folder.name]
                    self.entries.append((folder, source[place]))
        if not self.entries:
            raise FileNotFoundError(f"{', '.join(map(str, runs))}: no folder of a known video; expected "
                                    "RUN/VIDEO/REF/OBJECT/FRAME.png (systems.mivos_fusion_data writes them)")

    def __len__(self) -> int:
        return len(self.entries) * self.repeats

    def get(self, index: int, rng: np.random.Generator) -> dict:
        """A sample.

        Returns:
            float32 ``rgb src2_ref_im [3, S, S]``; ``seg1 seg2 src2_ref src2_ref_gt gt [1, S, S]`` of object 1 and
            ``seg12 seg22 src2_ref2 src2_ref_gt2 gt2`` of object 2 (zeros without one); ``dist [2]``,
            ``selector [2]``; int64 ``cls_gt [S, S]``; ``name``.

        Raises:
            ValueError: if no two references of any video tried see an object in common.
        """
        found = None
        for attempt in range(TRIES):
            place = index // self.repeats if attempt < SAME_VIDEO_TRIES else int(rng.integers(0, len(self.entries)))
            drawn = self._draw(rng, *self.entries[place])
            if drawn is None:
                continue
            found = drawn
            if attempt >= STRICT_TRIES or (np.abs(found["seg1"] - found["seg2"]) > 0.1).sum() >= LEAST_DIFFERENT:
                break
        if found is None:
            raise ValueError(f"{self.entries[index // self.repeats][0]}: {TRIES} draws found no two references that "
                             "propagate a common object to a common frame; generate with a smaller separation")
        return found

    def _draw(self, rng, folder: Path, video: Sequence) -> dict | None:
        """One try; None if the choices do not meet."""
        choose = lambda paths: paths[int(rng.integers(0, len(paths)))] if paths else None  # noqa: E731
        first = choose(sorted(folder.iterdir()))
        own = choose(sorted(first.iterdir())) if first else None
        target = choose(sorted(own.glob("*.png"))) if own else None
        if target is None:
            return None
        seconds = [ref for ref in sorted(folder.iterdir()) if ref != first and (own / f"{ref.name}.png").is_file()
                   and (ref / own.name / target.name).is_file()]
        second = choose(seconds)
        if second is None:
            return None
        others = [label for label in sorted(first.iterdir()) if label != own
                  and (label / target.name).is_file() and (label / f"{second.name}.png").is_file()
                  and (second / label.name / target.name).is_file()]
        return self._load(rng, video, first, second, [own, *([choose(others)] if others else [])], target)

    def _load(self, rng, video: Sequence, first: Path, second: Path, objects: list[Path], target: Path) -> dict:
        t, r1, r2 = int(target.stem), int(first.name), int(second.name)
        flipped = rng.random() < 0.5
        image = video.image(t)
        crop = tf.Crop.plain(rng, tf.pad_to(image, self.size).size, self.size)
        jitter = tf.Jitter.draw(rng, 0.1, 0.03, 0.03, 0.01)

        def place(picture: Image.Image, fill=0) -> Image.Image:
            return crop(tf.pad_to(tf.flip(picture) if flipped else picture, self.size, fill), tf.NEAREST)

        def mask(path: Path) -> np.ndarray:
            return np.asarray(place(read_grey(path)), np.float32)[None] / 255.0

        made = {"rgb": tf.normalize(jitter(place(image, tf.FILL))),
                "src2_ref_im": tf.normalize(jitter(place(video.image(r2), tf.FILL)))}
        labels = {frame: np.asarray(place(Image.fromarray(video.labels(frame)))) for frame in (t, r2)}
        for place_, suffix in enumerate(("", "2")):
            names = (f"seg1{suffix}", f"seg2{suffix}", f"src2_ref{suffix}", f"src2_ref_gt{suffix}", f"gt{suffix}")
            if place_ < len(objects):
                label = objects[place_]
                values = (mask(label / target.name), mask(second / label.name / target.name),
                          mask(label / f"{second.name}.png"), tf.one_mask(labels[r2], int(label.name)),
                          tf.one_mask(labels[t], int(label.name)))
            else:
                values = (np.zeros((1, self.size, self.size), np.float32),) * 5
            made |= dict(zip(names, values, strict=True))
        span = abs(r1 - r2)
        made |= {"dist": np.array([abs(r1 - t) / span, abs(r2 - t) / span], np.float32),
                 "selector": np.array([1.0, float(len(objects) > 1)], np.float32),
                 "cls_gt": np.where(made["gt2"][0] > 0.5, 2, made["gt"][0] > 0.5).astype(np.int64),
                 "name": str(target)}
        # Under the names of the network's arguments: object 2's propagations are seg12 and seg22.
        return made
