"""Heads used by more than one network."""
