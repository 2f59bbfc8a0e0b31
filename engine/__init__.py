"""Training engine: configuration, optimization, checkpoints. It knows no system."""
