"""Fixtures of all tests."""
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real recordings and golden bundles beside the repository; tests that need it are skipped without."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs recordings and golden bundles in {folder}, which is absent")
    return folder
