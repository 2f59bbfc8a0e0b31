import mmap
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.memory import peak_memory, reset_peak_memory

CHILD = "from deploy.memory import peak_memory; print(peak_memory())"


def test_the_peak_rises_stays_and_is_not_the_parents():
    before = peak_memory()
    block = b"x" * (300 << 20)
    with_block = peak_memory()
    assert with_block >= max(before, 300)
    child = subprocess.run([sys.executable, "-c", CHILD], check=True, capture_output=True, text=True).stdout
    assert 1 < float(child) < 200
    del block
    assert peak_memory() >= with_block - 1, "it must not fall (the kernel counts in batches of pages)"


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux forgets an earlier peak")
def test_an_earlier_peak_is_forgotten():
    # Straight from the system: what malloc hands out may stay with the process when it is freed.
    with mmap.mmap(-1, 320 << 20) as large:
        for _ in range(320):
            large.write(b"x" * (1 << 20))
        high = peak_memory()
    assert reset_peak_memory() and peak_memory() < high - 200
