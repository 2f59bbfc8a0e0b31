"""The example finds its mistake, and the documentation shows what it prints."""
from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def printed() -> str:
    done = subprocess.run([sys.executable, "-W", "ignore", "-m", "examples.port_a_network"], cwd=ROOT, check=True,
                          capture_output=True, text=True)
    return done.stdout


def steady(text: str) -> str:
    """Without what rounding changes from machine to machine: tiny numbers, late digits."""
    text = re.sub(r"\b\d\.\de-1\d", "tiny", text)
    return re.sub(r"(\d\.\d{6})\d+", r"\1", text)


def test_the_mistake_is_found_in_the_function_between_the_layers(printed):
    wrong, right = printed.split("== The same, corrected")
    assert "first divergence: forward64/input of mix" in wrong
    assert "DO NOT AGREE" in wrong and "each of 9 layers is right by itself" in wrong
    assert "FAIL" not in right and right.rstrip().endswith("the port and its reference agree")


def test_the_documentation_shows_what_the_example_prints(printed):
    page = (ROOT / "docs" / "alignment_your_own.md").read_text(encoding="utf-8")
    shown = re.search(r"```console\n\$ python -m examples\.port_a_network\n(.*?)```", page, re.S)[1]
    assert steady(shown) == steady(printed)
