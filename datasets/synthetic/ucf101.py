"""A miniature of UCF-101: 8 classes of motion, 32 clips each, as frame folders and as videos, with three splits.

```
rawframes/DriftLeft/v_DriftLeft_g01_c01/img_00001.jpg ...      videos/DriftLeft/v_DriftLeft_g01_c01.avi
ucf101_{train,val}_split_{1,2,3}_rawframes.txt   ucf101_{train,val}_split_{1,2,3}_videos.txt
ucfTrainTestlist/{trainlist,testlist}0{1,2,3}.txt  ucfTrainTestlist/classInd.txt  labels.txt
```
As in the original, clips of one group share their look and a group is never in both halves of a split.
Here moreover the clips of all classes with the same group and clip number show the same scene.
"""
from __future__ import annotations

from pathlib import Path

import numpy as np

from datasets.images import write_image
from datasets.synthetic.motion import DIRECTIONS, draw_scene, play
from datasets.video import write_video

HEIGHT, WIDTH, FRAMES, FPS = 64, 80, 24, 25
GROUPS, CLIPS, TEST_GROUPS = 16, 2, 4
SPEEDS = (4, 4)


def write(folder: Path, seed: int) -> None:
    """Write the whole layout into the existing ``folder``."""
    clips = []
    for group in range(1, GROUPS + 1):
        for clip in range(1, CLIPS + 1):
            scene = draw_scene(np.random.default_rng([seed, group, clip]), HEIGHT, WIDTH, SPEEDS)
            for label, direction in enumerate(DIRECTIONS):
                name = f"{direction.name}/v_{direction.name}_g{group:02}_c{clip:02}"
                _write_clip(folder, name, play(scene, direction.step, FRAMES))
                clips.append((label, group, name))
    _write_lists(folder, sorted(clips))


def _write_clip(folder: Path, name: str, frames: np.ndarray) -> None:
    target = folder / "rawframes" / name
    target.mkdir(parents=True)
    for number, pixels in enumerate(frames, start=1):
        write_image(target / f"img_{number:05}.jpg", pixels, quality=85)
    write_video(folder / "videos" / f"{name}.avi", frames, FPS, quality=24)


def _write_lists(folder: Path, clips: list[tuple[int, int, str]]) -> None:
    official = folder / "ucfTrainTestlist"
    official.mkdir()
    names = [direction.name for direction in DIRECTIONS]
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in names))
    (official / "classInd.txt").write_text("".join(f"{number} {name}\n" for number, name in enumerate(names, 1)))
    for split in (1, 2, 3):
        tested = range((split - 1) * TEST_GROUPS + 1, split * TEST_GROUPS + 1)
        parts = {"train": [clip for clip in clips if clip[1] not in tested],
                 "val": [clip for clip in clips if clip[1] in tested]}
        for part, chosen in parts.items():
            (folder / f"ucf101_{part}_split_{split}_rawframes.txt").write_text(
                "".join(f"{name} {FRAMES} {label}\n" for label, _, name in chosen))
            (folder / f"ucf101_{part}_split_{split}_videos.txt").write_text(
                "".join(f"{name}.avi {label}\n" for label, _, name in chosen))
        (official / f"trainlist0{split}.txt").write_text(
            "".join(f"{name}.avi {label + 1}\n" for label, _, name in parts["train"]))
        (official / f"testlist0{split}.txt").write_text("".join(f"{name}.avi\n" for _, _, name in parts["val"]))
