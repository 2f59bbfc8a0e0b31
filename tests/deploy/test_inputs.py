from pathlib import Path

import numpy as np
import pytest

from deploy.inputs import Item, array_items, batches, find_sources, read_items, split_by_item


def no_clip(path: Path):
    raise AssertionError(f"{path} is no clip")


def test_sources_of_a_folder_tree(tmp_path):
    for name in ("b/frames/img_00002.jpg", "b/frames/img_00001.jpg", "a/clip.avi", "a/notes.txt", "c.npy",
                 ".cache/x.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [str(path.relative_to(tmp_path)) for path in find_sources(tmp_path)]
    assert found == ["a/clip.avi", "b/frames", "c.npy"]


def test_rows_of_array_files(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(6.0).reshape(3, 2))
    items = read_items(tmp_path / "x.npy", ["imgs"], no_clip)
    assert [item.name for item in items] == [f"{tmp_path}/x.npy[{row}]" for row in range(3)]
    np.testing.assert_array_equal(items[1].arrays["imgs"], [[2.0, 3.0]])
    np.savez(tmp_path / "x.npz", a=np.zeros((2, 3)), b=np.ones((2, 4)))
    second = array_items(tmp_path / "x.npz", ["b", "a"])[1]
    assert {name: value.shape for name, value in second.arrays.items()} == {"b": (1, 4), "a": (1, 3)}


def test_clips_are_read_by_the_system(tmp_path):
    (tmp_path / "clip.avi").touch()
    item, = read_items(tmp_path / "clip.avi", ["imgs"], lambda path: {"imgs": np.zeros((3, 2))})
    assert (item.name, item.rows) == (str(tmp_path / "clip.avi"), 3)


def test_wrong_input_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_items(tmp_path / "none", ["imgs"], no_clip)
    with pytest.raises(FileNotFoundError, match=r"holds no \.npy"):
        read_items(tmp_path, ["imgs"], no_clip)
    (tmp_path / "bad.npy").write_text("text")
    with pytest.raises(ValueError, match=r"bad\.npy cannot be read"):
        read_items(tmp_path / "bad.npy", ["imgs"], no_clip)
    np.save(tmp_path / "bad.npy", np.zeros((2, 2)))
    with pytest.raises(ValueError, match="is one array but the graph takes"):
        array_items(tmp_path / "bad.npy", ["a", "b"])
    np.savez(tmp_path / "bad.npz", a=np.zeros((2, 2)), b=np.zeros((3, 2)))
    with pytest.raises(ValueError, match="unequal or no rows"):
        array_items(tmp_path / "bad.npz", ["a", "b"])
    with pytest.raises(ValueError, match=r"gives the arrays \['a', 'b'\], the graph takes \['a'\]"):
        array_items(tmp_path / "bad.npz", ["a"])
    np.save(tmp_path / "bad.npy", np.zeros((0, 2)))
    with pytest.raises(ValueError, match="no rows"):
        array_items(tmp_path / "bad.npy", ["a"])


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7])
def test_batches_and_back(batch_size):
    rng = np.random.default_rng(0)
    items = [Item(str(rows), {"x": rng.normal(size=(rows, 2))}) for rows in (1, 3, 2)]
    parts = list(batches(items, batch_size))
    rest = [6 % batch_size] if 6 % batch_size else []
    assert [len(part["x"]) for part in parts] == [batch_size] * (6 // batch_size) + rest
    split = split_by_item([{"y": 2 * part["x"]} for part in parts], items)
    for item, values in zip(items, split, strict=True):
        np.testing.assert_array_equal(values["y"], 2 * item.arrays["x"])


def test_outputs_without_rows_are_refused():
    items = [Item("a", {"x": np.zeros((2, 2))})]
    with pytest.raises(ValueError, match="1 rows for 2 input rows"):
        split_by_item([{"y": np.zeros((1, 5))}], items)
