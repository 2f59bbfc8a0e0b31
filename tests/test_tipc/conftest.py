"""A copy of test_tipc in a folder of its own, with a stub in place of the interpreter."""
import json
import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]
STUB = Path(__file__).with_name("stub_python.sh")


@pytest.fixture
def tipc(tmp_path):
    """``tipc.run(script, *arguments, config=text, **environment)`` and the calls that the stub saw."""
    shutil.copytree(ROOT / "test_tipc", tmp_path / "test_tipc", ignore=shutil.ignore_patterns("output", "data"))
    calls = tmp_path / "calls.txt"

    def config(name: str = "mvf/train_infer_python.txt", **lines: str) -> Path:
        """The project's config with the stub as interpreter and lines changed by number: ``line4="x:y"``."""
        text = (ROOT / "test_tipc" / "configs" / name).read_text().splitlines()
        text[2] = f"python:{STUB}"
        for key, value in lines.items():
            text[int(key.removeprefix("line")) - 1] = value
        path = tmp_path / "config.txt"
        path.write_text("\n".join(text))
        return path

    def run(script: str, *arguments: str, **environment: str):
        calls.write_text("")
        done = subprocess.run(["bash", str(tmp_path / "test_tipc" / script), *map(str, arguments)], cwd=tmp_path,
                              capture_output=True, text=True, check=False,
                              env={**os.environ, "STUB_LOG": str(calls), **environment})
        output = tmp_path / "test_tipc" / "output" / "mvf"
        results = {path.parent.name: json.loads(path.read_text()) for path in output.glob("*/results.json")}
        return SimpleNamespace(status=done.returncode, out=done.stdout, err=done.stderr,
                               calls=calls.read_text().splitlines(), results=results, output=output)

    return SimpleNamespace(config=config, run=run, folder=tmp_path)
