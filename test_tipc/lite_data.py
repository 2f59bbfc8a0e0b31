"""Make a miniature data set for TIPC, or check that the one that is there is whole.

    python test_tipc/lite_data.py LAYOUT FOLDER [--seed N]

``FOLDER.sha256`` lists every file with its sum. A folder that fits its list is left alone; anything else is made anew
under another name and moved into place.
"""
from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

LARGEST = 20 << 20  # bytes that a lite data set may have


def sums(folder: Path) -> dict[str, str]:
    """Relative path -> SHA-256 of every file below ``folder``."""
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}


def text(layout: str, seed: int, listed: dict[str, str]) -> str:
    return "".join([f"# {layout} seed {seed}\n", *(f"{digest}  {name}\n" for name, digest in listed.items())])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("layout", help="one of python -m datasets.synthetic --help")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = options.folder
    record = folder.with_name(folder.name + ".sha256")
    if record.is_file() and folder.is_dir() and record.read_text("utf-8") == text(
            options.layout, options.seed, sums(folder)):
        print(f"{folder} is whole")
        return 0
    new = folder.with_name(f".{folder.name}-new")
    shutil.rmtree(new, ignore_errors=True)
    new.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "datasets.synthetic", options.layout, str(new), "--seed", str(options.seed)]
    if subprocess.run(command, cwd=Path.cwd(), check=False).returncode:
        shutil.rmtree(new, ignore_errors=True)
        return 1
    size = sum(path.stat().st_size for path in new.rglob("*") if path.is_file())
    if not 0 < size <= LARGEST:
        shutil.rmtree(new)
        print(f"lite_data: {options.layout} has {size} bytes, allowed are 1 to {LARGEST}", file=sys.stderr)
        return 1
    record.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)
    listed = sums(folder)
    record.write_text(text(options.layout, options.seed, listed), "utf-8")
    print(f"{folder}: {len(listed)} files, {size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
