import os
import subprocess
import sys

import pytest

from models import processor

AMD = "vendor_id\t: AuthenticAMD\nflags\t\t: fpu sse2 avx avx2 fma\nbugs\t\t: sysret\n"
WIDE = AMD.replace("fma", "fma " + " ".join(sorted(processor.AVX512)))


def chosen(tmp_path, monkeypatch, text, before=None):
    monkeypatch.delenv("MKL_DEBUG_CPU_TYPE", raising=False)
    if before:
        monkeypatch.setenv("MKL_DEBUG_CPU_TYPE", before)
    path = tmp_path / "cpuinfo"
    if text:
        path.write_text(text)
    processor.name_kernels(path)
    return os.environ.pop("MKL_DEBUG_CPU_TYPE", None)


def test_only_an_amd_is_told_its_vector_units(tmp_path, monkeypatch):
    assert chosen(tmp_path / "none", monkeypatch, "") is None
    assert chosen(tmp_path, monkeypatch, AMD) == "5"
    assert chosen(tmp_path, monkeypatch, WIDE) == "7"
    assert chosen(tmp_path, monkeypatch, WIDE.replace("avx512vl", "")) == "5"
    assert chosen(tmp_path, monkeypatch, AMD, before="4") == "4"
    assert chosen(tmp_path, monkeypatch, AMD.replace(" avx2", "")) is None
    assert chosen(tmp_path, monkeypatch, WIDE.replace("AuthenticAMD", "GenuineIntel")) is None


FAULTS = """
import resource
import models, paddle
x = paddle.ones([4, 1024, 1024])
for _ in range(3):
    y = x * 2
    del y
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    y = x * 2
    del y
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(processor.platform.libc_ver()[0] != "glibc", reason="only glibc can be asked to keep memory")
def test_a_tensor_takes_the_memory_of_the_one_before():
    def pages(**variables):
        done = subprocess.run([sys.executable, "-c", FAULTS], env=os.environ | variables, capture_output=True,
                              text=True, check=True)
        return int(done.stdout.split()[-1])
    tensor = 4096  # pages; in some runs one of the twenty takes a second place in the heap, which stays too
    assert pages() < 2 * tensor < 20 * tensor <= pages(MALLOC_TRIM_THRESHOLD_="131072", MALLOC_MMAP_THRESHOLD_="131072")


HOLES = """
import models, paddle
from models import processor
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6
large, small = [], []
for _ in range(20):
    large.append(paddle.ones([10, 1024, 256]))
    small.append(bytes(4000))  # lies between two large ones and stays
full = resident()
large.clear()
kept = resident()
processor.release_freed_memory()
print(full - kept, full - resident())
"""


@pytest.mark.skipif(processor.platform.libc_ver()[0] != "glibc", reason="only glibc keeps what is freed")
def test_freed_memory_is_given_back_when_asked():
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    before, after = map(float, done.stdout.split())
    assert before < 60 and after > 150  # MB of about 210
