"""Label files, typed labels, sentences."""
import pytest

from datasets.labels import TEMPLATES, read_labels, read_templates, sentences, typed_labels


@pytest.mark.parametrize(("name", "count"), [("kinetics_400", 400), ("kinetics_600", 600), ("ucf_101", 101),
                                             ("hmdb_51", 51)])
def test_built_in_lists(name, count):
    assert len(set(read_labels(name))) == count


def test_row_order_is_the_class_and_line_ends_do_not_matter(tmp_path):
    (tmp_path / "l.csv").write_bytes(b"id,name\r\n7,\"wash, dry\"\r\n3,play\r\n")
    assert read_labels(tmp_path / "l.csv") == ["wash, dry", "play"]


def test_bad_rows_name_file_and_line(tmp_path):
    (tmp_path / "l.csv").write_text("id,name\n0,a\n1\n")
    with pytest.raises(ValueError, match=r"l\.csv:3: no class name"):
        read_labels(tmp_path / "l.csv")
    (tmp_path / "m.csv").write_text("number,title\n")
    with pytest.raises(ValueError, match=r"m\.csv:1: the header"):
        read_labels(tmp_path / "m.csv")


def test_typed_labels():
    assert typed_labels('shooting a bow, "wash, dry" ,跑步') == ["shooting a bow", "wash, dry", "跑步"]
    assert len(typed_labels(",".join(f"class {i}" for i in range(1000)))) == 1000
    assert len(typed_labels(", ".join(["very long name " + "x" * 300]))) == 1
    assert len(typed_labels("ucf_101")) == 101
    for nothing in ("", " , ,", "\n"):
        with pytest.raises(ValueError, match="no class names"):
            typed_labels(nothing)
    with pytest.raises(ValueError, match="more than once: a"):
        typed_labels("a,b,a")


def test_sentences_are_template_major(tmp_path):
    made = sentences(["run", "eat {x}"])
    assert len(TEMPLATES) == 16 and made[:3] == ["a photo of action run", "a photo of action eat {x}",
                                                "a picture of action run"]
    (tmp_path / "t.txt").write_text("a {}\n\nnothing\n")
    with pytest.raises(ValueError, match=r"t\.txt:3"):
        read_templates(tmp_path / "t.txt")
