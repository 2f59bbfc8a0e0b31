import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def golden():
    """The repository's own copies of the golden bundles."""
    return ROOT / "alignment" / "golden"


@pytest.fixture(scope="session")
def tiny():
    """The module tiny.py beside this file."""
    spec = importlib.util.spec_from_file_location("tests_engine_tiny", Path(__file__).with_name("tiny.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def start_tiny():
    """Starts tiny.py as a process of its own; what is still running after the test is killed."""
    running = []

    def start(*arguments, launcher=()):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen([sys.executable, *launcher, str(ROOT / "tests" / "engine" / "tiny.py"),
                                    *map(str, arguments)], cwd=ROOT, env=environment, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()
