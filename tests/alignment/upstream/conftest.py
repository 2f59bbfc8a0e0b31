"""A checkout that these tests write themselves: two metrics, one of them wrong."""
from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

FILES = {
    "codes/__init__.py": "",
    "codes/models/__init__.py": "import mmcv\nfrom torchvision.models import vgg16\n\n"
                                "def build_recognizer(config, train, test):\n    raise RuntimeError('no network')\n",
    "codes/models/builder.py": "",
    "codes/core/__init__.py": "",
    "codes/core/evaluation/__init__.py": "from .accuracy import mean_class_accuracy, top_k_accuracy\n",
    # Top-k is right; a class that is never right is forgotten in the mean.
    "codes/core/evaluation/accuracy.py": """
import numpy as np

def top_k_accuracy(scores, labels, k):
    order = np.argsort(scores, 1)
    return [np.mean([label in row[-n:] for row, label in zip(order, labels)]) for n in k]

def mean_class_accuracy(scores, labels):
    guess = scores.argmax(1)
    rates = [np.mean(guess[labels == c] == c) for c in np.unique(labels)]
    return np.mean([rate for rate in rates if rate > 0])
""",
}


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e", *words], check=True,
                          capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A made-up repository in the place of whwu95/MVFNet."""
    folder = tmp_path / "made up"  # with a blank, which commands must quote
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    return folder
