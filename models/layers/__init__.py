"""Blocks shared by the networks."""
from models.layers.batch_norm import BatchNorm1D, BatchNorm2D, BatchNorm3D, batch_norms
from models.layers.layer_norm import LayerNorm
from models.layers.resize import resize

__all__ = ["BatchNorm1D", "BatchNorm2D", "BatchNorm3D", "LayerNorm", "batch_norms", "resize"]
