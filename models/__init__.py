"""Networks: one file each, over shared backbones, heads and layers."""
