"""Backbones: the same published weights serve several systems."""
