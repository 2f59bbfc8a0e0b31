"""The result of one training benchmark, with the keys of Paddle's benchmark tools, as JSON.

    python test_tipc/benchmark_result.py LOG --model_name mvf --batch_size 2 --fp_item fp32 --processes 1
"""
from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import paddle
from training_log import LogError, read, summarise

SPEED = re.compile(r"avg_ips: [\d.]+ (?P<unit>[\w/]+)")


def git(*arguments: str) -> str:
    """What git says about the repository; empty outside of one."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False,
                              cwd=Path(__file__).parent)
    except FileNotFoundError:  # no git on this machine
        return ""
    return done.stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("log", type=Path)
    parser.add_argument("--model_name", required=True)
    parser.add_argument("--batch_size", type=int, required=True)
    parser.add_argument("--fp_item", required=True)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--skip_steps", type=int, default=0)
    options = parser.parse_args()
    try:
        text = options.log.read_text("utf-8", "replace")
        summary = summarise(read(text), options.skip_steps)
    except (LogError, FileNotFoundError) as error:
        print(f"benchmark_result: {options.log}: {error}", file=sys.stderr)
        return 1
    unit = SPEED.search(text)
    print(json.dumps({
        "model_branch": git("rev-parse", "--abbrev-ref", "HEAD"), "model_commit": git("rev-parse", "HEAD"),
        "model_name": f"{options.model_name}_bs{options.batch_size}_{options.fp_item}_DP",
        "batch_size": options.batch_size, "fp_item": options.fp_item,
        "run_process_type": "SingleP" if options.processes == 1 else "MultiP", "run_mode": "DP",
        "convergence_value": summary["last_loss"], "convergence_key": "loss:",
        "ips": round(summary["avg_ips"] * options.processes, 4), "speed_unit": unit["unit"] if unit else "",
        "device_num": f"N1C{options.processes}", "model_run_time": summary["lines"] * summary["avg_batch_cost"],
        "frame_commit": paddle.__git_commit__, "frame_version": paddle.__version__}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
