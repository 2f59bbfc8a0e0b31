"""The dff system on a few frames of its miniature: training, testing, prediction, weights."""
import numpy as np
import paddle
import pytest

from datasets.synthetic.cityscapes import make_scene, write_pair, write_snippet
from deploy.export import export
from deploy.prediction import RESULT
from engine import config as configuration
from engine.trainer import evaluate
from models import conversion
from systems.dff import DFF
from systems.dff_config import DFFConfig

TINY = ["network.base=4", "network.stem=[4, 4, 8]", "network.blocks=[1, 1, 1, 1]", "network.head_width=8",
        "network.flow_channels=[4, 4, 6, 6, 6, 8]", "data.crop=[64, 64]", "data.images=leftImg8bit_sequence",
        "data.labels=gtFine", "train.batch_size=2", "train.workers=0", "test.distances=[1, 2]", "test.key_interval=2"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cityscapes")
    for split, count in (("train", 2), ("val", 1)):
        for index in range(count):
            scene = make_scene(np.random.default_rng(index), index)
            write_snippet(folder, split, "aachen", index, 0, scene)
            write_pair(folder / "flow" / split, index, scene)
    return folder


def system(root, *changes) -> DFF:
    return DFF(configuration.load(DFFConfig, None, [*TINY, f"data.root={root}", *changes]))


@pytest.mark.parametrize("part", ["dff", "pspnet", "flownets"])
def test_a_step_lowers_the_loss(root, part):
    paddle.seed(0)
    trained = system(root, f"part={part}", "optimizer.kind=adam", "optimizer.lr=1e-3", "optimizer.schedule=constant",
                     "network.dropout=0.0")
    network = trained.network()
    trained.initial_weights(network)
    network.train()
    optimizer = trained.optimizer(network, 1)
    batch = next(iter(trained.loader("train").epoch(0)))
    losses = []
    for _ in range(4):
        loss = trained.training_step(network, batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_the_test_reports_distances_copies_and_the_official_average(root):
    tested = system(root)
    found = evaluate(tested, tested.network(), "test")
    assert {"miou", "miou_frame", "miou_distance_1", "miou_distance_2", "miou_copy_1", "miou_copy_2", "miou_interval_2",
            "seconds_per_key_frame", "seconds_per_other_frame"} <= set(found)
    assert found["miou_interval_2"] == pytest.approx((found["miou_frame"] + found["miou_distance_1"]) / 2)


def test_prediction_of_a_folder_of_frames(root, tmp_path):
    predicting = system(root)
    frames = sorted((root / "leftImg8bit_sequence/val/aachen").glob("*.png"))[:3]
    folder = tmp_path / "frames"
    folder.mkdir()
    for frame in frames:
        (folder / frame.name).write_bytes(frame.read_bytes())
    prediction = predicting.predict(predicting.network(), str(folder), key_interval=2)
    assert prediction.labels.shape == (3, 96, 192) and prediction.facts["key_frames"] == [0, 2]
    assert sum(prediction.shares().values()) == pytest.approx(1)
    with pytest.raises(ValueError, match="key_interval 0"):
        predicting.predict(predicting.network(), str(folder), key_interval=0)
    assert prediction.save(tmp_path / "out").name == RESULT
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        RESULT, "overlay.mp4", "prediction.png", "labels", "label_ids"}


def test_published_names_load_strictly(root):
    ours = system(root)
    network = ours.network()
    theirs = ours.to_upstream(network)
    assert "flownet.upsample_flow6to5.bias" in theirs
    wrapped = {f"module.{name}": array for name, array in theirs.items()}
    for name, array in ours.convert(wrapped, network).items():
        np.testing.assert_array_equal(array, conversion.arrays(network)[name])
    with pytest.raises(conversion.WeightMismatch, match="unexpected"):
        ours.convert({**wrapped, "module.surplus": np.zeros(1)}, network)


def test_an_auxiliary_head_is_dropped_where_ours_has_none(root):
    with_head = system(root, "part=pspnet", "network.auxiliary=6", "network.backbone=mmseg_v1c")
    file = with_head.to_upstream(with_head.network())
    without = system(root, "part=pspnet", "network.backbone=mmseg_v1c")
    assert not any("auxiliary" in name for name in without.convert(file))


def test_exported_graphs_label_as_the_network_does(root, tmp_path):
    exporting = system(root, "test.propagation=chained")
    network = exporting.network()
    network.eval()
    export(exporting.inference_graphs(network), tmp_path / "graphs", exporting.description())
    folder = root / "leftImg8bit_sequence/val/aachen"
    eager = exporting.predict(network, str(folder), key_interval=3)
    graphs = exporting.predict(network, str(folder), key_interval=3, exported=str(tmp_path / "graphs"))
    assert (eager.labels == graphs.labels).mean() > 0.999  # oneDNN rounds differently where two classes tie
    assert eager.facts["key_frames"] == graphs.facts["key_frames"]
