"""The AVS system on a miniature of a miniature: a step, an evaluation, predictions, export."""
import json

import numpy as np
import paddle
import pytest
from PIL import Image

from datasets.synthetic import avs as miniature
from deploy.export import export
from deploy.inference import Predictor
from engine import config as configuration
from systems.avs import AVS
from systems.avs_config import AVSConfig

TINY = ["network.channel=8", "network.head=[8,4]", "network.pvt_dims=[8,8,8,8]", "network.pvt_heads=[1,1,1,1]",
        "train.batch_size=2", "train.workers=0", "data.size=32"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder, counts = tmp_path_factory.mktemp("avsbench"), miniature.COUNTS
    miniature.COUNTS = {"train": 2, "val": 1, "test": 1}
    try:
        miniature.write(folder, 0)
    finally:
        miniature.COUNTS = counts
    return folder


def make(root, task="ms3", *overrides):
    config = configuration.load(AVSConfig, f"configs/avs/mini_{task}.yaml", [*TINY, f"data.root={root}", *overrides])
    return AVS(config)


@pytest.mark.parametrize(("task", "loss"), [("s4", []), ("s4", ["loss.sound=true"]), ("ms3", ["loss.sound=true"])])
def test_a_step_and_an_evaluation(root, tmp_path, task, loss):
    system = make(root, task, *loss, f"output_dir={tmp_path}", "save_masks=true")
    network = system.network()
    optimizer = system.optimizer(network, 1)
    values = system.training_step(network, next(iter(system.loader("train").epoch(0))))
    values["loss"].backward()
    optimizer.step()
    assert np.isfinite(values["loss"].item()) and ("sa_loss" in values) == bool(loss)
    network.eval()
    with paddle.no_grad():
        metrics = system.evaluate(network, system.loader("val"), lambda items, *_: items)
    assert {"miou", "f_score", "dataset_miou", "dataset_f_score"} == set(metrics)
    masks = sorted((tmp_path / "pred_masks").rglob("*.png"))
    assert [path.stem[-2:] for path in masks] == ["_0", "_1", "_2", "_3", "_4"]
    assert Image.open(masks[0]).mode == "P"


def test_prediction_stream_and_export(root, tmp_path):
    system = make(root)
    network = system.network()
    video = str(root / "Multi-sources/ms3_data/raw_videos/test_000.mp4")
    prediction = system.predict(network, video)
    document = json.loads(prediction.save(tmp_path / "out").read_text())
    assert len(document["share_by_second"]) == 5 and (tmp_path / "out/overlay.mp4").is_file()
    export(system.inference_graphs(network), tmp_path / "export", system.description())
    predictor = Predictor(tmp_path / "export", onednn=False)
    inputs = AVS.inference_inputs(system.description(), video)
    logits = predictor.run(inputs)["logits"]
    np.testing.assert_array_equal(1 / (1 + np.exp(-logits[0])) > 0.5, prediction.masks > 0)
    large = {"image": np.random.rand(2, 5, 3, 64, 32).astype("float32"),
             "log_mel": np.random.rand(2, 5, 1, 96, 64).astype("float32")}
    eager = next(iter(system.inference_graphs(network).values())).run(**large)["logits"]
    np.testing.assert_allclose(predictor.run(large)["logits"], eager, atol=1e-5)


def test_flags_without_effect_are_named(root, caplog):
    with caplog.at_level("WARNING", "paddletwin"):
        make(root, "s4", "unread.wt_dec=5e-4")
    assert "unread.wt_dec" in caplog.text or not caplog.records  # the console logger may not propagate


@pytest.mark.parametrize(("override", "words"), [
    ("data.size=100", "multiple of 32"), ("network.tpavi_va=false", "tpavi"), ("s4_weights=a.pth", "MS3")])
def test_impossible_configurations_are_refused(override, words):
    with pytest.raises(configuration.ConfigError, match=words):
        configuration.load(AVSConfig, "configs/avs/mini_s4.yaml", [override])
