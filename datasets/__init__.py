"""Readers of the on-disk layouts; they yield NumPy arrays."""
