"""Read a training log's TIPC lines: the mandatory keys, loss and speed. Exit status 1 if they are not there.

    python test_tipc/training_log.py LOG [--skip_steps 0]

Prints JSON: the number of lines, first and last loss, averages of the costs and of the speed.
"""
from __future__ import annotations

import argparse
import json
import math
import re
import sys
from pathlib import Path

MANDATORY = ("loss", "avg_reader_cost", "avg_batch_cost", "avg_ips")
PAIR = re.compile(r"\b(loss|avg_reader_cost|avg_batch_cost|avg_samples|avg_ips|lr|epoch|iter|batch_id)[:=]\s*"
                  r"([-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|nan|inf))", re.IGNORECASE)


class LogError(ValueError):
    """A log that does not show what a training must show."""


def read(text: str) -> list[dict[str, float]]:
    """Numbers of each line that has all mandatory keys."""
    lines = []
    for line in text.splitlines():
        numbers = {key: float(value) for key, value in PAIR.findall(line)}
        if all(key in numbers for key in MANDATORY):
            lines.append(numbers)
    return lines


def summarise(lines: list[dict[str, float]], skip: int = 0) -> dict[str, float]:
    """Averages over the lines after the first ``skip``.

    Raises:
        LogError: no line, or a loss that is not finite.
    """
    if not lines:
        raise LogError(f"no line has all of {', '.join(MANDATORY)}")
    for number, line in enumerate(lines):
        if not all(math.isfinite(line[key]) for key in MANDATORY):
            raise LogError(f"training line {number + 1} is not finite: {line}")
    counted = lines[skip:] or lines[-1:]
    means = {key: sum(line[key] for line in counted) / len(counted) for key in MANDATORY[1:]}
    return {"lines": len(lines), "first_loss": lines[0]["loss"], "last_loss": lines[-1]["loss"], **means}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("log", type=Path)
    parser.add_argument("--skip_steps", type=int, default=0)
    options = parser.parse_args()
    try:
        print(json.dumps(summarise(read(options.log.read_text("utf-8", "replace")), options.skip_steps)))
    except (LogError, FileNotFoundError) as error:
        print(f"training_log: {options.log}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
