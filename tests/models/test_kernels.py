import os

import models


def chosen(tmp_path, monkeypatch, text, before=None):
    monkeypatch.delenv("MKL_DEBUG_CPU_TYPE", raising=False)
    if before:
        monkeypatch.setenv("MKL_DEBUG_CPU_TYPE", before)
    path = tmp_path / "cpuinfo"
    if text:
        path.write_text(text)
    models._name_kernels_for_amd(path)
    return os.environ.pop("MKL_DEBUG_CPU_TYPE", None)


def test_only_an_amd_with_avx2_is_told(tmp_path, monkeypatch):
    amd = "vendor_id\t: AuthenticAMD\nflags\t\t: fpu sse2 avx avx2 fma\n"
    assert chosen(tmp_path / "none", monkeypatch, "") is None
    assert chosen(tmp_path, monkeypatch, amd) == "5"
    assert chosen(tmp_path, monkeypatch, amd, before="4") == "4"
    assert chosen(tmp_path, monkeypatch, amd.replace(" avx2", "")) is None
    assert chosen(tmp_path, monkeypatch, amd.replace("AuthenticAMD", "GenuineIntel")) is None
