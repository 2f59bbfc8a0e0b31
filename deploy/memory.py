"""How much memory a process took at most."""
from __future__ import annotations

import resource
import sys
from pathlib import Path


def peak_memory() -> float:
    """Largest resident memory of this process so far, MB.

    Linux counts into ``ru_maxrss`` what the parent held when it started this process, so the kernel's own mark of
    this process is read there.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text("utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024  # kB
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / (1 << 20 if sys.platform == "darwin" else 1 << 10)  # bytes on macOS, KB elsewhere


def reset_peak_memory() -> bool:
    """Let :func:`peak_memory` start from what is resident now; False where the system cannot (only Linux can)."""
    switch = Path("/proc/self/clear_refs")
    try:
        switch.write_text("5", "ascii")
    except OSError:
        return False
    return True
