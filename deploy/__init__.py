"""Export, inference and what a prediction looks like. It knows no system."""
