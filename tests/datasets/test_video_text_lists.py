"""List files: blanks in paths, bad lines, few-shot and zero-shot lists."""
import json

import numpy as np
import pytest

from datasets.labels import read_labels
from datasets.video_text_lists import Entry, ListError, few_shot, read_list, write_list, zero_shot


def test_paths_with_blanks(tmp_path):
    (tmp_path / "l.txt").write_text('plain.mp4 3\n"with blank.mp4" 1\nit\'s/tab and blank.mp4\t2\n\n')
    assert [(e.name, e.label) for e in read_list(tmp_path / "l.txt")] == [
        ("plain.mp4", 3), ("with blank.mp4", 1), ("it's/tab and blank.mp4", 2)]


def test_counted_folders(tmp_path):
    (tmp_path / "l.txt").write_text("v/a 12 0\nv/b 7 1\n")
    assert [(e.frames, e.label, e.where) for e in read_list(tmp_path / "l.txt", counted=True)] == [
        (12, 0, f"{tmp_path}/l.txt:1"), (7, 1, f"{tmp_path}/l.txt:2")]


@pytest.mark.parametrize(("text", "message"), [
    ("a.mp4 1\nmy video.mp4 2\n", r"l\.txt:2: 2 fields expected"), ("a.mp4 one\n", r"l\.txt:1: a whole number"),
    ("a.mp4 5\n", r"l\.txt:1: label 5"), ("", "names no videos"), ('"a.mp4 1\n', r"l\.txt:1: No closing")])
def test_bad_lines_name_file_and_line(tmp_path, text, message):
    (tmp_path / "l.txt").write_text(text)
    with pytest.raises(ListError, match=message):
        read_list(tmp_path / "l.txt", classes=5)


def test_json_list(tmp_path):
    (tmp_path / "l.json").write_text(json.dumps([{"filename": "a b.mp4", "label": [4]}, {"filename": "c", "label": 0}]))
    assert [(e.name, e.label) for e in read_list(tmp_path / "l.json")] == [("a b.mp4", 4), ("c", 0)]
    (tmp_path / "l.json").write_text('[{"filename": "a"}]')
    with pytest.raises(ListError, match=r"l\.json\[0\]"):
        read_list(tmp_path / "l.json")


def entries(classes, each):
    return [Entry(f"v{i}.mp4", i % classes, None, f"l:{i}") for i in range(classes * each)]


def test_few_shot_is_balanced_and_seeded(tmp_path):
    first = few_shot(entries(5, 6), 2, seed=1)
    assert np.bincount([e.label for e in first]).tolist() == [2] * 5
    assert first == few_shot(entries(5, 6), 2, seed=1) != few_shot(entries(5, 6), 2, seed=2)
    (tmp_path / "l.txt").write_text(write_list(first))
    assert [e.name for e in read_list(tmp_path / "l.txt")] == [e.name for e in first]
    with pytest.raises(ListError, match="class 0 has 6"):
        few_shot(entries(5, 6), 7, seed=1)


def test_kinetics_600_zero_shot_has_220_unseen_classes():
    names, seen = read_labels("kinetics_600"), read_labels("kinetics_400")
    kept, unseen = zero_shot(entries(600, 1), names, seen, count=160, seed=1)
    assert len(unseen) == len(kept) == 160 and not set(unseen) & set(seen)
    assert [e.label for e in kept] == list(range(160))
