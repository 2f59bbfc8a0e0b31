"""``python -m datasets.ucf101_lists SPLITS ROOT``: our lists from the official split files of UCF-101.

SPLITS holds ``trainlist0N.txt`` (``Class/v_Class_g01_c01.avi 1``), ``testlist0N.txt`` (without a number) and the class
names, ``classInd.txt`` (``1 Class``) or ``category.txt`` (``Class``). Written to ROOT:
``ucf101_{train,val}_split_N_rawframes.txt``, with the frames counted in ``ROOT/rawframes/Class/video``; or with
``--layout videos`` ``..._videos.txt`` for the files in ``ROOT/videos``.
"""
from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from datasets.files import complete_file
from datasets.video_list import ListError

PARTS = {"train": "trainlist", "val": "testlist"}
SPLITS = (1, 2, 3)
SHOWN = 10  # missing videos an error names


def read_classes(folder: str | Path) -> list[str]:
    """Class names in label order.

    Raises:
        FileNotFoundError, ListError: if they are missing or badly numbered.
    """
    for name in ("classInd.txt", "category.txt"):
        path = Path(folder) / name
        if path.is_file():
            lines = [line.split() for line in path.read_text().splitlines() if line.strip()]
            for number, words in enumerate(lines, start=1):
                if words[:-1] not in ([], [str(number)]):
                    raise ListError(f"{path}:{number}: expected '{number} Class' or 'Class', found {' '.join(words)!r}")
            return [words[-1] for words in lines]
    raise FileNotFoundError(f"{folder} holds neither classInd.txt nor category.txt with the class names; "
                            "unpack UCF101TrainTestSplits-RecognitionTask.zip there")


def read_split(folder: str | Path, split: int, part: str, classes: Sequence[str]) -> list[tuple[str, int]]:
    """Videos of one half of a split: (``Class/v_Class_g01_c01``, label from 0), in the file's order.

    Labels follow from the class names; where the file numbers its lines (from 1), both must agree.

    Args:
        part: ``train`` or ``val``.

    Raises:
        FileNotFoundError, ListError: naming file and line.
    """
    path = Path(folder) / f"{PARTS[part]}{split:02}.txt"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; unpack UCF101TrainTestSplits-RecognitionTask.zip there")
    labels = {name: label for label, name in enumerate(classes)}
    found = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        form = re.fullmatch(r"((\w+)/\w+)\.\w+(?:\s+(\d+))?", line.strip())
        if form is None:
            raise ListError(f"{path}:{number}: expected 'Class/video.avi' and perhaps a number, found {line!r}")
        name, kind, stated = form.groups()
        if kind not in labels:
            raise ListError(f"{path}:{number}: {kind} is none of the {len(classes)} classes")
        if stated is not None and int(stated) != labels[kind] + 1:
            raise ListError(f"{path}:{number}: {kind} has number {stated} here, but is name {labels[kind] + 1} "
                            "of the class list")
        found.append((name, labels[kind]))
    return found


def count_frames(folder: Path, template: str) -> int:
    """Frames of a folder numbered from 1 without a gap; 0 if there is no such folder.

    Raises:
        ListError: naming the first missing frame.
    """
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    count = 0
    while template.format(count + 1) in names:
        count += 1
    prefix, suffix = re.split(r"\{.*?\}", template, maxsplit=1)
    held = sum(name.startswith(prefix) and name.endswith(suffix) for name in names)
    if held > count:
        raise ListError(f"{folder} holds {held} frames, but {template.format(count + 1)} is missing; extract it again")
    return count


def build_lists(splits: Path, root: Path, *, layout: str = "rawframes", template: str = "img_{:05}.jpg",
                suffix: str = ".avi", skip_missing: bool = False, progress=tqdm) -> dict[str, int]:
    """Write the six lists into ``root``.

    Args:
        layout: ``rawframes`` or ``videos``, also the folder below ``root``.
        template: file name of a frame.
        suffix: of the video files.
        skip_missing: leave out videos that are not there instead of stopping.

    Returns:
        Lines by file name.

    Raises:
        FileNotFoundError: listing the missing videos.
    """
    classes = read_classes(splits)
    parts = {(split, part): read_split(splits, split, part, classes) for split in SPLITS for part in PARTS}
    names = sorted({name for videos in parts.values() for name, _ in videos})
    base = root / layout
    if not base.is_dir():
        raise FileNotFoundError(f"{base} does not exist; put the {layout} there"
                                + (", for example by python -m datasets.extract_frames" * (layout == "rawframes")))
    frames = {name: count_frames(base / name, template) if layout == "rawframes"
              else int((base / f"{name}{suffix}").is_file())
              for name in progress(names, desc="looking at videos", unit="video")}
    missing = [name for name in names if frames[name] == 0]
    if missing and not skip_missing:
        more = f"\n  and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise FileNotFoundError(f"{len(missing)} of {len(names)} videos are missing in {base}:\n  "
                                + "\n  ".join(missing[:SHOWN]) + more
                                + "\nadd them, or leave them out with --skip-missing")
    written = {}
    for (split, part), videos in parts.items():
        lines = [f"{name} {frames[name]} {label}\n" if layout == "rawframes" else f"{name}{suffix} {label}\n"
                 for name, label in videos if frames[name]]
        target = root / f"ucf101_{part}_split_{split}_{layout}.txt"
        with complete_file(target) as temporary:
            temporary.write_text("".join(lines))
        written[target.name] = len(lines)
    return written


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m datasets.ucf101_lists", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("splits", type=Path, help="folder of the official split files")
    parser.add_argument("root", type=Path, help="data set folder, which holds rawframes/ or videos/")
    parser.add_argument("--layout", choices=("rawframes", "videos"), default="rawframes")
    parser.add_argument("--template", default="img_{:05}.jpg", help="file name of a frame (default %(default)s)")
    parser.add_argument("--suffix", default=".avi", help="of video files (default %(default)s)")
    parser.add_argument("--skip-missing", action="store_true", help="leave out videos that are not there")
    options = parser.parse_args(arguments)
    try:
        written = build_lists(options.splits, options.root, layout=options.layout, template=options.template,
                              suffix=options.suffix, skip_missing=options.skip_missing)
    except (FileNotFoundError, ListError) as error:
        sys.exit(str(error))
    for name, lines in written.items():
        sys.stdout.write(f"{options.root / name}: {lines} videos\n")


if __name__ == "__main__":
    main()
