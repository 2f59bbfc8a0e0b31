import os
from pathlib import Path

import pytest

from deploy.files import atomic_files, atomic_write, sha256


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_atomic_write_replaces_or_leaves(tmp_path):
    path = tmp_path / "new" / "a.json"
    with atomic_write(path) as temporary:
        temporary.write_text("one")
        assert temporary.suffix == ".json"
    assert contents(path.parent) == {"a.json": "one"}
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_text("two")
        raise RuntimeError
    assert contents(path.parent) == {"a.json": "one"}
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_atomic_files_come_back_when_a_move_fails(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("old a")
    (tmp_path / "b").write_text("old b")
    (tmp_path / "stale").write_text("old stale")
    move = Path.replace

    def fail_on_b(self, target):
        if self.name == "b" and ".new-" in self.parent.name:
            raise OSError("disk gone")
        return move(self, target)

    monkeypatch.setattr(Path, "replace", fail_on_b)
    before = contents(tmp_path)
    with pytest.raises(OSError, match="disk gone"), atomic_files(tmp_path, stale=["stale"]) as work:
        (work / "a").write_text("new a")
        (work / "b").write_text("new b")
    assert contents(tmp_path) == before
    monkeypatch.undo()
    with atomic_files(tmp_path, last="a", stale=["stale"]) as work:
        (work / "a").write_text("new a")
    assert contents(tmp_path) == {"a": "new a", "b": "old b"}


def test_sha256(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
