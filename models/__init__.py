"""Networks: one file each, over shared backbones, heads and layers."""
import paddle

from models import processor

# On a CPU the copies behind Paddle's strided views are slow: reshaping a transposed tensor, which every attention
# does, takes 5 to 10 times longer with them. Without them the same numbers come out.
paddle.set_flags({"FLAGS_use_stride_kernel": False})

processor.name_kernels()
processor.keep_freed_memory()
