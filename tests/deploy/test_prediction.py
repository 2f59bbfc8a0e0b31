import json

import av
import numpy as np
import pytest
from PIL import Image

from deploy.prediction import ClassPrediction, MaskVideoPrediction, Prediction

LABELS = ["Archery", "BaseballPitch", "Bowling", "Diving", "Fencing", "YoYo"]
SCORES = np.array([0.01, 0.973984, 0.004, 0.004, 0.003, 0.005016])


def test_class_summary_and_data():
    prediction = ClassPrediction("v.avi", SCORES, LABELS)
    assert isinstance(prediction, Prediction)
    lines = prediction.summary().splitlines()
    assert lines[0] == "Top1 class:BaseballPitch prob:0.973984"
    assert len(lines) == 6
    assert lines[1].startswith("BaseballPitch  █████") and lines[1].endswith("97.40 %")
    assert [line.split()[0] for line in lines[1:]] == ["BaseballPitch", "Archery", "YoYo", "Bowling", "Diving"]
    data = prediction.to_dict()
    assert data["top"][0] == {"class": "BaseballPitch", "index": 1, "prob": 0.973984}
    assert data["scores"] == SCORES.tolist()
    assert json.loads(json.dumps(data)) == data


def test_class_files(tmp_path):
    path = ClassPrediction("v.avi", SCORES, LABELS, frame=np.full((240, 320, 3), 90, np.uint8)).save(tmp_path / "p")
    assert sorted(file.name for file in path.parent.iterdir()) == ["prediction.json", "prediction.png"]
    assert json.loads(path.read_text())["source"] == "v.avi"
    assert Image.open(path.parent / "prediction.png").size == (427, 320)


def test_wrong_scores_are_refused():
    with pytest.raises(ValueError, match=r"v\.avi: scores of shape \[5\] for 6 labels"):
        ClassPrediction("v.avi", SCORES[:5], LABELS)
    with pytest.raises(ValueError, match="must be probabilities"):
        ClassPrediction("v.avi", SCORES * np.nan, LABELS)
    with pytest.raises(ValueError, match="must be probabilities"):
        ClassPrediction("v.avi", np.log(SCORES), LABELS)
    with pytest.raises(ValueError, match="without a frame"):
        ClassPrediction("v.avi", SCORES, LABELS).picture()


@pytest.fixture
def masks():
    frames = np.full((3, 10, 12, 3), 50, np.uint8)
    labels = np.zeros((3, 10, 12), np.uint8)
    labels[0, :2, :3], labels[1, :1, :4], labels[2, 5:7, 5:6], labels[2, 9, 11] = 1, 1, 2, 255
    return MaskVideoPrediction("singer.mp4", frames, labels, {1: "singer", 2: "guitar"}, fps=10.0,
                               audio=np.zeros(4800), rate=16000, scores={"J": 0.5})


def test_mask_areas(masks):
    assert isinstance(masks, Prediction)
    assert masks.areas() == {1: [6, 4, 0], 2: [0, 0, 2]}
    assert masks.summary().splitlines() == [
        "singer.mp4: 3 frames of 12x10", "  1 singer: in 2 frames, 2.78 % of the picture on average",
        "  2 guitar: in 1 frames, 0.56 % of the picture on average", "J: 0.5000"]
    labels = masks.to_dict()["labels"]
    assert labels[0] == {"label": 1, "name": "singer", "colour": [128, 0, 0], "area": [6, 4, 0]}


def test_mask_files_replace_earlier_ones(masks, tmp_path):
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "00007.png").write_text("of an earlier, longer video")
    (tmp_path / "notes.txt").write_text("mine")
    masks.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["masks", "notes.txt", "overlay.mp4", "prediction.json"]
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["00000.png", "00001.png", "00002.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "masks" / "00002.png")), masks.masks[2])
    with av.open(str(tmp_path / "overlay.mp4")) as container:
        assert len(container.streams.audio) == 1
        assert sum(1 for _ in container.decode(video=0)) == 3


def test_a_failure_keeps_the_earlier_files(masks, tmp_path):
    masks.save(tmp_path)
    before = (tmp_path / "prediction.json").read_bytes()
    broken = MaskVideoPrediction("other.mp4", masks.frames, masks.masks, masks.names, fps=10.0, audio=np.zeros(9))
    with pytest.raises(ValueError, match="needs its rate"):
        broken.save(tmp_path)
    assert (tmp_path / "prediction.json").read_bytes() == before
    assert len(list((tmp_path / "masks").iterdir())) == 3


def test_masks_must_fit(masks):
    with pytest.raises(ValueError, match=r"labels without a name: \[2\]"):
        MaskVideoPrediction("s", masks.frames, masks.masks, {1: "singer"}, fps=10.0)
    with pytest.raises(ValueError, match="do not fit masks"):
        MaskVideoPrediction("s", masks.frames[:2], masks.masks, masks.names, fps=10.0)
