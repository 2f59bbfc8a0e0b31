"""Compare inference logs with a reference log: the same items, classes and, within tolerances, scores.

    python test_tipc/compare_results.py --gt_file REFERENCE --log_file 'LOGS*' [--atol 1e-5] [--rtol 1e-5]

Both options are file names or patterns. Unlike the original, a pattern without a file, a log without a result and a
reference without one are failures, and a difference ends with status 1. The tolerances are a hundredth of TIPC's.
"""
from __future__ import annotations

import argparse
import glob
import re
import sys
from collections.abc import Mapping
from pathlib import Path

NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|nan|inf)"
ITEM = re.compile(r"^Current video file: (?P<item>.*)$")
FACT = re.compile(rf"^\s+(?P<key>top-1 class|top-1 score): (?P<value>{NUMBER})\s*$")
OUTPUT = re.compile(rf"^\s+(?P<key>\w+): shape (?P<shape>\[.*\]), (?P<low>{NUMBER}) to (?P<high>{NUMBER}), "
                    rf"mean (?P<mean>{NUMBER})\s*$")

Results = dict[str, dict[str, float | str]]


class Difference(ValueError):
    """Results that are missing or not equal."""


def read_results(path: Path) -> Results:
    """Item -> facts of a log that ``deploy/infer.py`` or ``eager_outputs.py`` wrote."""
    results: Results = {}
    item = None
    for line in path.read_text("utf-8", "replace").splitlines():
        if match := ITEM.match(line):
            item = match["item"]
            results[item] = {}
        elif item is not None and (match := FACT.match(line)):
            results[item][match["key"]] = float(match["value"])
        elif item is not None and (match := OUTPUT.match(line)):
            results[item][f"{match['key']} shape"] = match["shape"]
            results[item].update({f"{match['key']} {part}": float(match[part]) for part in ("low", "high", "mean")})
    if not results or not all(results.values()):
        raise Difference(f"{path} holds no results")
    return results


def compare(found: Mapping, wanted: Mapping, atol: float, rtol: float, where: str) -> None:
    """Raise ``Difference`` unless both hold the same items with equal facts."""
    if sorted(found) != sorted(wanted):
        raise Difference(f"{where}: the items differ: {sorted(set(found) ^ set(wanted))}")
    for item, facts in wanted.items():
        if sorted(found[item]) != sorted(facts):
            raise Difference(f"{where}: {item} tells {sorted(found[item])}, the reference {sorted(facts)}")
        for key, value in facts.items():
            other = found[item][key]
            exact = isinstance(value, str) or key == "top-1 class"
            # Written so that a NaN on either side is a difference.
            if not (other == value if exact else abs(other - value) <= atol + rtol * abs(value)):
                raise Difference(f"{where}: {item}: {key} is {other}, the reference has {value}")


def matching(pattern: str) -> list[Path]:
    paths = [Path(name) for name in sorted(glob.glob(pattern))]
    if not paths:
        raise Difference(f"no file matches {pattern}")
    return paths


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--gt_file", required=True, help="the reference")
    parser.add_argument("--log_file", required=True, help="the logs to judge")
    parser.add_argument("--atol", type=float, default=1e-5)
    parser.add_argument("--rtol", type=float, default=1e-5)
    options = parser.parse_args()
    try:
        for reference in matching(options.gt_file):
            wanted = read_results(reference)
            for path in matching(options.log_file):
                compare(read_results(path), wanted, options.atol, options.rtol, str(path))
                print(f"Assert allclose passed! The results of {path} and {reference} are consistent!")
    except Difference as difference:
        print(f"compare_results: {difference}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
