"""Export, inference and what a prediction looks like. It knows no system."""
import warnings

# Paddle tells at every import that a compiler cache for custom operators is absent; nothing here compiles any.
warnings.filterwarnings("ignore", message="No ccache found")
