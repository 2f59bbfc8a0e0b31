"""``python -m datasets.synthetic LAYOUT DIR [--seed N]``: write a miniature data set."""
from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from datasets.synthetic import LAYOUTS, write


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m datasets.synthetic", description=__doc__)
    parser.add_argument("layout", choices=sorted(LAYOUTS), help="which data set's files to imitate")
    parser.add_argument("folder", type=Path, help="new or empty folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="other seeds give other pictures (default 0)")
    options = parser.parse_args()
    begin = time.perf_counter()
    try:
        folder = write(options.layout, options.folder, options.seed)
    except FileExistsError as error:
        sys.exit(str(error))
    files = [path for path in folder.rglob("*") if path.is_file()]
    print(f"{folder}: {len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB, "
          f"{time.perf_counter() - begin:.1f} s")


if __name__ == "__main__":
    main()
