"""Scribbles, the robot and the four data sets, on the miniature."""
from __future__ import annotations

import json
import sys
import types

import numpy as np
import pytest
from PIL import Image

from datasets import davis, scribbles
from datasets import mivos_transforms as tf
from datasets.davis_robot import Robot, make_robot, thin
from datasets.fusion_data import FusionSamples
from datasets.s2m_data import S2MSamples, perturbed
from datasets.static_masks import StaticClips
from datasets.synthetic.davis import write
from datasets.vos import VOSClips, frame_triple, jump_at


@pytest.fixture(scope="module")
def mini(tmp_path_factory):
    folder = tmp_path_factory.mktemp("davis")
    write(folder, 0)
    return folder


def test_readers(mini, tmp_path):
    source = davis.Davis(mini / "DAVIS", "val")
    video = source[0]
    assert len(video.frames) == 12 and video.objects() == [1, 2] and len(source.scribbles(video.name)) == 3
    assert davis.Davis(mini / "DAVIS", "val", year="2016")[0].objects() == [1]
    with pytest.raises(FileNotFoundError, match="2017/val"):
        davis.Davis(mini / "DAVIS", "test-dev")
    Image.fromarray(np.uint8([[0, 255], [1, 0]])).save(tmp_path / "void.png")
    assert davis.read_labels(tmp_path / "void.png").tolist() == [[0, 0], [1, 0]]
    Image.fromarray(np.uint8([[0, 255], [255, 0]])).save(tmp_path / "binary.png")
    assert davis.read_labels(tmp_path / "binary.png").tolist() == [[0, 1], [1, 0]]
    Image.new("RGB", (2, 2)).save(tmp_path / "colour.png")
    with pytest.raises(ValueError, match="RGB"):
        davis.read_labels(tmp_path / "colour.png")


def test_training_clips(mini):
    clips = VOSClips([(davis.Davis(mini / "DAVIS", "train"), 2, 1)], epochs=10, size=48)
    clips.begin_epoch(0)
    one, again = (clips.get(3, np.random.default_rng(5)) for _ in range(2))
    assert len(clips) == 24 and one["rgb"].shape == (3, 3, 48, 48) and one["cls_gt"].dtype == np.int64
    assert all(np.array_equal(one[name], again[name]) for name in one)
    assert one["gt"][0].sum() > 0 and one["selector"].tolist() == [1, 1]
    np.testing.assert_array_equal(one["cls_gt"] == 1, one["gt"][:, 0] > 0.5)
    static = StaticClips([(mini / "static" / "fss", 1), (mini / "static" / "ecssd", 5)], size=48)
    item = static.get(0, np.random.default_rng(0))
    assert len(static) == 12 + 20 and item["rgb"].shape == (3, 3, 48, 48) and item["gt"].max() > 0.9
    with pytest.raises(FileNotFoundError, match=r"X\.jpg"):
        StaticClips([(mini / "DAVIS" / "ImageSets", 1)])


def test_fusion_samples(mini):
    samples = FusionSamples([mini / "fusion_data" / "sep5_m5"], [davis.Davis(mini / "DAVIS", "train")], size=64)
    item = samples.get(150, np.random.default_rng(0))
    assert len(samples) == 400 and item["seg12"].shape == (1, 64, 64) and item["selector"].tolist() == [1, 1]
    assert set(np.unique(item["gt"])) <= {0.0, 1.0}


def test_scribble_samples(mini):
    samples = S2MSamples([(mini / "static" / "fss", 2)], size=64)
    item = samples.get(0, np.random.default_rng(1))
    assert len(samples) == 24 and item["input"].shape == (6, 64, 64) and item["cls_gt"].any()
    assert set(np.unique(item["input"][3:])) <= {0.0, 1.0}
    mask = np.zeros((64, 64), bool)
    mask[10:40, 10:40] = True
    changed = perturbed(np.random.default_rng(0), mask, 0.8)
    assert (changed & mask).sum() / (changed | mask).sum() < 0.8


def test_scribble_samples_of_lvis(tmp_path, monkeypatch):
    Image.new("RGB", (90, 70), (10, 120, 30)).save(tmp_path / "1.jpg")
    boxes = [[5, 5, 65, 5, 65, 65, 5, 65], [20, 10, 85, 10, 85, 60, 20, 60], [0, 0, 9, 0, 9, 9]]
    (tmp_path / "lvis.json").write_text(json.dumps({
        "images": [{"id": 7, "coco_url": "http://images/train2017/1.jpg"}],
        "annotations": [{"image_id": 7, "area": area, "segmentation": [box]}
                        for box, area in zip(boxes, (3600, 3250, 40), strict=True)]}))
    samples = S2MSamples([], size=64, lvis=tmp_path / "lvis.json", lvis_images=tmp_path)
    scales, draw = [], tf.Affine.draw
    monkeypatch.setattr(tf.Affine, "draw", lambda rng, degrees, shear, scale: scales.append(scale) or draw(
        rng, degrees, shear, scale))
    item = samples.get(1, np.random.default_rng(0))
    assert len(samples) == 2 and item["input"].shape == (6, 64, 64) and 0.1 < item["cls_gt"].mean() < 0.8
    assert scales == [(0.8, 1.0)]  # smaller than for the static images


def test_jumps():
    assert [jump_at(p) for p in (0, 0.1, 0.11, 0.25, 0.35, 0.5, 0.95)] == [5, 5, 10, 15, 20, 25, 5]
    for seed in range(20):
        triple = frame_triple(np.random.default_rng(seed), 3, 25)
        assert all(0 <= t < 3 for t in triple)


def test_affine_identity_and_quarter_turn():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8))
    np.testing.assert_array_equal(np.asarray(tf.Affine()(image, tf.NEAREST)), np.asarray(image))
    turned = np.asarray(tf.Affine(angle=90)(image, tf.NEAREST))
    np.testing.assert_array_equal(turned, np.rot90(np.asarray(image), -1))
    np.testing.assert_allclose(tf.denormalize(tf.normalize(image)), np.asarray(image))


def test_scribble_files(tmp_path):
    path = tmp_path / "s.json"
    path.write_text(json.dumps({"sequence": "a", "scribbles": [[], [{"path": [[0, 0], [1, 1]], "object_id": 2}]]}))
    content = scribbles.read_scribbles(path)
    assert scribbles.annotated_frames(content) == [1]
    drawn = scribbles.scribble_map(scribbles.strokes_of(content, 1), 5, 5)
    np.testing.assert_array_equal(drawn, np.where(np.eye(5), 2, -1))
    path.write_text(json.dumps({"scribbles": [[{"path": [[0, 2]], "object_id": 2}]]}))
    with pytest.raises(ValueError, match="from 0 to 1"):
        scribbles.read_scribbles(path)


def test_clicks_are_crosses_and_outside_ones_refused():
    strokes = scribbles.from_clicks([(0, 10, 5, 1, True), (0, 3, 3, 2, False)], 1, 20, 30, radius=2)
    assert [label for label, _ in strokes[0]] == [1, 1, 0, 0]
    drawn = scribbles.scribble_map(strokes[0], 20, 30)
    assert drawn[5, 10] == 1 and drawn[3, 3] == 0 and (drawn >= 0).sum() in range(14, 20)
    with pytest.raises(ValueError, match="outside"):
        scribbles.from_clicks([(0, 30, 5, 1, True)], 1, 20, 30)


def test_robot_scribbles_inside_what_is_wrong():
    truth = np.zeros((60, 80), np.uint8)
    truth[20:40, 10:70] = 1
    (label, path), *rest = Robot().scribble(truth, np.zeros_like(truth), [0, 1])
    assert label == 1 and not rest
    pixels = (path * (80, 60)).astype(int)
    assert truth[pixels[:, 1], pixels[:, 0]].all() and np.ptp(path[:, 0]) > 0.4
    skeleton = thin(truth == 1)
    assert 20 < skeleton.sum() < 100 and not skeleton[truth == 0].any()
    assert Robot().scribble(truth, truth, [0, 1]) == []


def test_the_packages_robot_is_used_where_installed(monkeypatch):
    asked = []

    class Scribbles:
        def __init__(self, **options):
            asked.append(options)

        def interact(self, sequence, result, truth, nb_objects):
            if nb_objects == 3:
                raise AttributeError("module 'numpy' has no attribute 'bool'")
            asked.append((result.shape, truth.shape, nb_objects))
            strokes = [{"path": [[0.1, 0.2], [0.3, 0.4]], "object_id": label} for label in (1, 7)]
            return {"scribbles": [strokes], "sequence": sequence}

    for name in ("davisinteractive", "davisinteractive.robot"):
        monkeypatch.setitem(sys.modules, name, None)
    assert isinstance(make_robot("auto", None), Robot)
    with pytest.raises(ModuleNotFoundError, match=r"inference\.robot=own"):
        make_robot("davisinteractive", None)
    package = types.ModuleType("davisinteractive.robot")
    package.InteractiveScribblesRobot = Scribbles
    monkeypatch.setitem(sys.modules, "davisinteractive", types.ModuleType("davisinteractive"))
    monkeypatch.setitem(sys.modules, "davisinteractive.robot", package)
    assert isinstance(make_robot("own", None), Robot)
    robot, labels = make_robot("auto", None), np.zeros((6, 8), np.uint8)
    (label, path), = robot.scribble(labels, labels, [0, 1, 2])
    assert label == 1 and path.tolist() == [[0.1, 0.2], [0.3, 0.4]]
    assert asked == [{"kernel_size": 0.2, "max_kernel_radius": 16, "min_nb_nodes": 4, "nb_points": 1000},
                     ((1, 6, 8), (1, 6, 8), 2)]
    with pytest.raises(RuntimeError, match="does not run beside NumPy"):
        robot.scribble(labels, labels, [0, 1, 2, 3])
