"""Proof that each network equals its PyTorch original."""
