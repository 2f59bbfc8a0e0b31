"""Fixtures of all tests."""
from pathlib import Path

import pytest

from datasets.synthetic import write


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real recordings and golden bundles beside the repository; tests that need it are skipped without."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs recordings and golden bundles in {folder}, which is absent")
    return folder


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the golden bundles that belong to the project, by system and case."""
    return Path(__file__).parents[1] / "alignment" / "golden"


@pytest.fixture(scope="session")
def miniature(tmp_path_factory):
    """``miniature("ucf101")``: folder of that synthetic data set, written once for all tests; don't change it."""
    made = {}

    def get(layout: str) -> Path:
        if layout not in made:
            made[layout] = write(layout, tmp_path_factory.mktemp("miniature") / layout)
        return made[layout]

    return get
