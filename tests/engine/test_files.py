import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine import files
from engine.files import atomic_folder, atomic_write, recover_folder

ROOT = Path(__file__).parents[2]


def test_atomic_write_replaces_and_creates_folders(tmp_path):
    path = tmp_path / "a" / "b.txt"
    for text in ("one", "two"):
        with atomic_write(path) as file:
            file.write(text)
        assert path.read_text() == text
    assert [p.name for p in path.parent.iterdir()] == ["b.txt"]


def test_atomic_write_keeps_the_old_file_after_an_error(tmp_path):
    path = tmp_path / "b.bin"
    path.write_bytes(b"old")
    with pytest.raises(KeyError), atomic_write(path, "wb") as file:
        file.write(b"half")
        raise KeyError
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["b.bin"]


def test_atomic_write_refuses_appending(tmp_path):
    with pytest.raises(ValueError, match="'a'"), atomic_write(tmp_path / "x", "a"):
        pass


def fill(path, value):
    with atomic_folder(path) as folder:
        (folder / "one").write_text(value)
        (folder / "two").write_text(value)


def read(path):
    recover_folder(path)
    return {p.name: p.read_text() for p in path.iterdir()}


@pytest.mark.parametrize("exchange", [True, False])
def test_atomic_folder_replaces(tmp_path, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    path = tmp_path / "latest"
    for value in ("a", "b", "c"):
        fill(path, value)
        assert read(path) == {"one": value, "two": value}
    assert [p.name for p in tmp_path.iterdir()] == ["latest"]


def test_atomic_folder_keeps_the_old_one_after_an_error(tmp_path):
    path = tmp_path / "latest"
    fill(path, "a")
    with pytest.raises(KeyError), atomic_folder(path) as folder:
        (folder / "one").write_text("half")
        raise KeyError
    assert read(path) == {"one": "a", "two": "a"}
    assert [p.name for p in tmp_path.iterdir()] == ["latest"]


@pytest.mark.parametrize("killed_at", range(4))
def test_atomic_folder_survives_a_kill_between_any_two_renames(tmp_path, monkeypatch, killed_at):
    """Without the one-step exchange: stop dead at the n-th file-system change of the swap."""
    path = tmp_path / "latest"
    fill(path, "a")
    monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    steps = iter(range(10))

    class Killed(BaseException):
        pass

    def limited(function):
        def call(*args, **kwargs):
            if next(steps) == killed_at:
                raise Killed
            return function(*args, **kwargs)
        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", limited(os.rename))
        real = files.shutil.rmtree
        patch.setattr(files.shutil, "rmtree", lambda p, ignore_errors=False: None if ignore_errors
                      else limited(real)(p))
        with contextlib.suppress(Killed):
            fill(path, "b")
    assert read(path) in ({"one": "a", "two": "a"}, {"one": "b", "two": "b"})
    fill(path, "c")
    assert read(path) == {"one": "c", "two": "c"}
    assert [p.name for p in tmp_path.iterdir()] == ["latest"]


WRITER = """
import sys
from engine.files import atomic_folder
n = 0
while True:
    with atomic_folder(sys.argv[1]) as folder:
        for name in ("one", "two"):
            (folder / name).write_text(str(n) * 1000)
    n += 1
    print(n, flush=True)
"""


def test_atomic_folder_is_whole_after_real_kills(tmp_path):
    path = tmp_path / "latest"
    for attempt in range(5):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE)
        for _ in range(3):
            writer.stdout.readline()
        time.sleep(0.0007 * attempt)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        # On Linux the folder is whole without any recovery.
        content = {p.name: p.read_text() for p in path.iterdir()} if sys.platform == "linux" else read(path)
        assert set(content) == {"one", "two"} and content["one"] == content["two"] != ""
