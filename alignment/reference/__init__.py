"""The torch twins: the originals, restated plainly."""
