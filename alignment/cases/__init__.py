"""What is compared: one package per system."""
