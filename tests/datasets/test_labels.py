import pytest

from datasets.labels import TEMPLATES, read_labels, read_templates, sentences, typed_labels


@pytest.mark.parametrize(("name", "text"), [
    ("labels.txt", "ride a bike\n\njump\nbow"), ("classInd.txt", "1 ride a bike\n2 jump\n3 bow\n"),
    ("labels.csv", "id,name\n0,ride a bike\n1,jump\n2,bow\n"), ("labels.json", '["ride a bike", "jump", "bow"]'),
    ("labels.json", '{"1": "jump", "0": "ride a bike", "2": "bow"}'),
    ("labels.json", '{"jump": 1, "ride a bike": 0, "bow": 2}')])
def test_forms_of_label_files(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert read_labels(tmp_path / name) == ["ride a bike", "jump", "bow"]


def test_names_that_begin_with_a_number_stay_whole(tmp_path):
    (tmp_path / "labels.txt").write_text("1 on 1 football\n3 point throw\n")
    assert read_labels(tmp_path / "labels.txt") == ["1 on 1 football", "3 point throw"]


def test_built_in_lists():
    assert len(read_labels("kinetics_400")) == 400 and read_labels("ucf_101")[0] == "ApplyEyeMakeup"


def test_the_miniatures(miniature):
    assert read_labels(miniature("ucf101") / "labels.txt") == \
        read_labels(miniature("ucf101") / "ucfTrainTestlist" / "classInd.txt")
    assert read_labels(miniature("kinetics") / "labels.csv")[3] == "shapes sliding to the left"


@pytest.mark.parametrize(("name", "text", "message"), [
    ("labels.json", '{"0": "jump", "2": "bow"}', r"labels\.json: expected a list of class names, or an object"),
    ("labels.json", '["jump", 3]', "expected a list of class names"), ("labels.json", "3", "expected a list"),
    ("labels.json", '["jump",\n', r"labels\.json:2: this is no JSON"), ("labels.txt", "\n", "holds no class names"),
    ("labels.csv", "id,label\n0,jump", r"labels\.csv:1: the header must have a column 'name'"),
    ("labels.csv", "id,name\n0,jump\n1,", r"labels\.csv:3: no class name in column 2")])
def test_label_files_of_another_form(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_labels(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="no such label file"):
        read_labels(tmp_path / "none.txt")


def test_row_order_is_the_class_and_line_ends_do_not_matter(tmp_path):
    (tmp_path / "l.csv").write_bytes(b"id,name\r\n7,\"wash, dry\"\r\n3,play\r\n")
    assert read_labels(tmp_path / "l.csv") == ["wash, dry", "play"]


def test_typed_labels():
    assert typed_labels('shooting a bow, "wash, dry" ,跑步') == ["shooting a bow", "wash, dry", "跑步"]
    assert len(typed_labels(",".join(f"class {i}" for i in range(1000)))) == 1000
    assert len(typed_labels("very long name " + "x" * 300)) == 1
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
