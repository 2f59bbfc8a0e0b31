from pathlib import Path

import pytest


@pytest.fixture
def golden():
    """The repository's own copies of the golden bundles."""
    return Path(__file__).parents[2] / "alignment" / "golden"
