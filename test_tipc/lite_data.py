"""Make a miniature data set for TIPC, or check that the one that is there is whole.

    python test_tipc/lite_data.py LAYOUT FOLDER [--seed N] [--samples 16] [--clips 3]

``FOLDER.sha256`` lists every file with its sum. A folder that fits its list is left alone; anything else is made anew
under another name and moved into place. Its lists are cut to a few evenly spaced lines, as TIPC's lite data have 8 to
16 samples. ``FOLDER_infer`` gets a few of its clips (folders of frames, video files), evenly spaced, for inference.
"""
from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

if __name__ == "__main__" and not __package__:  # started as a file: imports begin at the repository
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from deploy.inputs import find_sources

LARGEST = 20 << 20  # bytes that a lite data set may have


def sums(folder: Path) -> dict[str, str]:
    """Relative path -> SHA-256 of every file below ``folder``."""
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}


def text(options: argparse.Namespace, listed: dict[str, str]) -> str:
    head = f"# {options.layout} seed {options.seed} samples {options.samples}\n"
    return head + "".join(f"{digest}  {name}\n" for name, digest in listed.items())


def evenly(items: list, count: int) -> list:
    """``count`` of the items, from the first to the last."""
    return [items[number * (len(items) - 1) // max(count - 1, 1)] for number in range(min(count, len(items)))]


def cut_lists(folder: Path, count: int) -> None:
    """Shorten the lists of samples: text files in ``folder`` itself that have a split in their name."""
    for path in sorted(folder.glob("*.txt")):
        if {"train", "val", "test"} & set(path.stem.split("_")):
            lines = path.read_text("utf-8").splitlines(keepends=True)
            path.write_text("".join(evenly(lines, count)), "utf-8")


def copy_clips(folder: Path, count: int) -> Path:
    """Copy ``count`` of the clips in ``folder`` to ``FOLDER_infer``, which is made anew."""
    target = folder.with_name(folder.name + "_infer")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    clips = list(find_sources(folder))
    if len(clips) < count:
        raise ValueError(f"{folder} holds {len(clips)} clips, {count} are needed")
    for number, clip in enumerate(evenly(clips, count)):
        copy = target / f"{number}_{clip.name}"
        shutil.copytree(clip, copy) if clip.is_dir() else shutil.copy(clip, copy)
    return target


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("layout", help="one of python -m datasets.synthetic --help")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=16, help="lines of each list of samples")
    parser.add_argument("--clips", type=int, default=3, help="clips for inference")
    options = parser.parse_args()
    if not made(options):
        return 1
    copy_clips(options.folder, options.clips)
    return 0


def made(options: argparse.Namespace) -> bool:
    """Make the data set unless it is whole; False if it could not be made."""
    folder = options.folder
    record = folder.with_name(folder.name + ".sha256")
    if record.is_file() and folder.is_dir() and record.read_text("utf-8") == text(options, sums(folder)):
        print(f"{folder} is whole")
        return True
    new = folder.with_name(f".{folder.name}-new")
    shutil.rmtree(new, ignore_errors=True)
    new.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "datasets.synthetic", options.layout, str(new), "--seed", str(options.seed)]
    if subprocess.run(command, cwd=Path.cwd(), check=False).returncode:
        shutil.rmtree(new, ignore_errors=True)
        return False
    size = sum(path.stat().st_size for path in new.rglob("*") if path.is_file())
    if not 0 < size <= LARGEST:
        shutil.rmtree(new)
        print(f"lite_data: {options.layout} has {size} bytes, allowed are 1 to {LARGEST}", file=sys.stderr)
        return False
    cut_lists(new, options.samples)
    record.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)
    listed = sums(folder)
    record.write_text(text(options, listed), "utf-8")
    print(f"{folder}: {len(listed)} files, {size / 1e6:.1f} MB")
    return True


if __name__ == "__main__":
    sys.exit(main())
