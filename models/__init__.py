"""Networks: one file each, over shared backbones, heads and layers."""
import os
from pathlib import Path

import paddle

# On a CPU the copies behind Paddle's strided views are slow: reshaping a transposed tensor, which every attention
# does, takes 5 to 10 times longer with them. Without them the same numbers come out.
paddle.set_flags({"FLAGS_use_stride_kernel": False})


def _name_kernels_for_amd(information: Path = Path("/proc/cpuinfo")) -> None:
    """Paddle's wheel holds an MKL of 2019 that knows Intel's processors by name and gives all others its slowest
    kernels: on an AMD EPYC float32 convolutions and products take 2.3 times as long. The variable is read at its first
    call and names the kernels for AVX2; one that the user has set stays."""
    if information.is_file():
        text = information.read_text("utf-8", "replace")
        if "AuthenticAMD" in text and " avx2" in text:
            os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")


_name_kernels_for_amd()
