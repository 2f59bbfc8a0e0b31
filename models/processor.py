"""What Paddle's wheel leaves at a bad default on a CPU. Neither changes a result beyond rounding."""
from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path

AVX512 = {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
KEPT = 2**31 - 1  # bytes of freed memory that stay with the process: the largest that mallopt takes


def name_kernels(information: Path = Path("/proc/cpuinfo")) -> None:
    """Let MKL use the vector units of a processor that is not Intel's.

    Paddle's wheel holds an MKL of 2019 that knows Intel's processors by name and gives all others its slowest kernels:
    on an AMD EPYC float32 convolutions and products take 2.3 times as long. The variable is read at MKL's first call;
    5 names its kernels for AVX2, 7 those for AVX-512. A value that the user has set stays.
    """
    if not information.is_file():
        return
    text = information.read_text("utf-8", "replace")
    flags = set(text.partition("flags")[2].partition("\n")[0].split())
    if "AuthenticAMD" in text and "avx2" in flags:
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "7" if flags >= AVX512 else "5")


def keep_freed_memory() -> None:
    """Let the C library keep up to 2 GB of freed memory for the next tensor.

    Paddle takes every tensor on a CPU from malloc, which asks the system for each large one and gives it back at once:
    all its pages are then mapped and cleared again by the next tensor, which takes longer than most operations on it.
    Only glibc can be asked; MALLOC_TRIM_THRESHOLD_ in the environment leaves everything to the user.
    """
    if _may_be_asked():
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, KEPT)


def release_freed_memory() -> None:
    """Give freed memory back to the system now; for a long loop that keeps something small of every step.

    What is kept comes to lie in the holes that large tensors left. The next tensor of that size no longer fits there
    and is put on top: without this the process grows by several MB a step although it holds next to nothing.
    """
    if _may_be_asked():
        ctypes.CDLL(None).malloc_trim(0)


def _may_be_asked() -> bool:
    return platform.libc_ver()[0] == "glibc" and "MALLOC_TRIM_THRESHOLD_" not in os.environ
