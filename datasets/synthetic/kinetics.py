"""A miniature in the layout of Kinetics: short videos in one folder, lists of ``path label``, sentences as classes.

```
videos/0000_shapes sliding to the left.mp4 ...     train.txt val.txt     labels.csv (id,name)
```
The file names contain blanks, as those of Kinetics may; the lists separate path and label by a tab.
"""
from __future__ import annotations

from pathlib import Path

import numpy as np

from datasets.synthetic.motion import DIRECTIONS, draw_scene, play
from datasets.video import write_video

HEIGHT, WIDTH, FRAMES, FPS = 80, 112, 32, 25
SCENES = {"train": 16, "val": 6}
SPEEDS = (3, 4)


def write(folder: Path, seed: int) -> None:
    """Write the whole layout into the existing ``folder``."""
    (folder / "labels.csv").write_text(
        "id,name\n" + "".join(f"{label},{direction.sentence}\n" for label, direction in enumerate(DIRECTIONS)))
    number = 0
    for part, (name, scenes) in enumerate(SCENES.items()):
        lines = []
        for index in range(scenes):
            scene = draw_scene(np.random.default_rng([seed, part, index]), HEIGHT, WIDTH, SPEEDS)
            for label, direction in enumerate(DIRECTIONS):
                path = f"videos/{number:04}_{direction.sentence}.mp4"
                write_video(folder / path, play(scene, direction.step, FRAMES), FPS, quality=20)
                lines.append(f"{path}\t{label}\n")
                number += 1
        (folder / f"{name}.txt").write_text("".join(lines))
