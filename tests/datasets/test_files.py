import pytest

from datasets.files import complete_file, complete_folder, natural_key


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "list.txt"
    with complete_file(path) as temporary:
        assert temporary.suffix == ".txt" and temporary.parent == path.parent and not path.exists()
        temporary.write_text("first")
    with pytest.raises(RuntimeError), complete_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "first" and list(path.parent.iterdir()) == [path]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "clip"
    (tmp_path / ".clip.part").mkdir()
    (tmp_path / ".clip.part" / "left").touch()  # by a killed run
    with pytest.raises(RuntimeError), complete_folder(path) as temporary:
        (temporary / "half").touch()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with complete_folder(path) as temporary:
        (temporary / "frame").touch()
    assert [file.name for file in path.iterdir()] == ["frame"]
    with pytest.raises(FileExistsError, match="clip exists already"), complete_folder(path):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["clip"]


def test_natural_order():
    names = ["img_10.jpg", "img_9.jpg", "a2b10", "a2b9", "7.png", "000001.png", "x²"]
    assert sorted(names, key=natural_key) == ["000001.png", "7.png", "a2b9", "a2b10", "img_9.jpg",
                                              "img_10.jpg", "x²"]
