"""Blocks shared by the networks."""
from models.layers.batch_norm import BatchNorm1D, BatchNorm2D, BatchNorm3D, batch_norms
from models.layers.resize import resize

__all__ = ["BatchNorm1D", "BatchNorm2D", "BatchNorm3D", "batch_norms", "resize"]
