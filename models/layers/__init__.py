"""Blocks shared by the networks."""
from models.layers.batch_norm import BatchNorm1D, BatchNorm2D, BatchNorm3D, batch_norms
from models.layers.conv import Conv2D, conv2d
from models.layers.layer_norm import LayerNorm
from models.layers.resize import resize

__all__ = ["BatchNorm1D", "BatchNorm2D", "BatchNorm3D", "Conv2D", "LayerNorm", "batch_norms", "conv2d", "resize"]
