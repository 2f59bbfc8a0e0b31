"""The six systems: the only place where parts meet."""
