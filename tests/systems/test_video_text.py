"""Both video-text systems from configuration to prediction, conversion and export, on tiny towers."""
import dataclasses

import numpy as np
import paddle
import pytest

from datasets.video import write_video
from deploy.export import export
from deploy.inference import Predictor
from engine import config as configuration
from models import conversion
from models.actionclip import upstream_name as actionclip_name
from models.backbones.clip_names import to_hugging_face
from models.xclip import upstream_name as xclip_name
from systems import find_system
from systems import video_text as shared

TINY = ["network.arch=custom", "network.custom={image_resolution: 16, vision_width: 64, vision_layers: 1, "
        "transformer_layers: 1, vocab_size: 49408}", "data.size=16", "data.frames=4", "data.test_clips=1",
        "data.test_crops=1", "data.labels=hmdb_51"]
NAMES = {"actionclip": actionclip_name, "xclip": xclip_name}


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    rng = np.random.default_rng(0)
    for name in ("first one.mp4", "second.mp4"):
        write_video(folder / name, rng.integers(0, 255, (9, 32, 40, 3)).astype(np.uint8), 10)
    return folder / "first one.mp4"


@pytest.fixture(params=["actionclip", "xclip"])
def system(request, tmp_path):
    made = find_system(request.param)
    return made(configuration.load(made.Config, None, [*TINY, f"output_dir={tmp_path}"]))


@pytest.fixture
def network(system):
    paddle.seed(1)
    network = system.network()
    network.eval()
    return network


@pytest.mark.parametrize("labels", ["shooting a bow,playing chess", "跑步, жонглирование, 😀", "one",
                                    ",".join(f"class {i}" for i in range(1000))], ids=["two", "unicode", "one", "1000"])
def test_typed_labels(system, network, video, labels):
    prediction = system.predict(network, str(video), labels=labels)
    assert len(prediction.scores) == len(labels.split(","))
    assert prediction.scores.sum() == pytest.approx(1, abs=1e-4)
    assert "Top1 class:" in prediction.summary()


@pytest.mark.parametrize(("labels", "message"), [("", "no class names"), ("word " * 200, "tokens with its markers")])
def test_unusable_labels(system, network, video, labels, message):
    with pytest.raises(ValueError, match=message):
        system.predict(network, str(video), labels=labels)


def test_long_labels_are_cut_if_asked(system, network, video):
    data = dataclasses.replace(system.config.data, truncate=True)
    asked = type(system)(dataclasses.replace(system.config, data=data))
    assert len(asked.predict(network, str(video), labels="word " * 200 + ",short").scores) == 2


def test_label_features_are_kept_on_disk_by_weights(system, network, video, tmp_path):
    system.predict(network, str(video), labels="a,b")
    system.predict(network, str(video), labels="a,b")
    assert system.label_features.computed == 1
    again = type(system)(system.config)
    again.predict(network, str(video), labels="a,b")
    assert again.label_features.computed == 0
    tower = network.clip if hasattr(network, "clip") else network
    tower.ln_final.bias.set_value(tower.ln_final.bias + 1)
    again.predict(network, str(video), labels="a,b")
    again.predict(network, str(video), labels="a,c")
    assert again.label_features.computed == 2


def test_retrieval_ranks_the_videos_of_a_folder(system, network, video, tmp_path):
    ranking = system.predict(network, str(video.parent), text="somebody runs")
    assert sorted(entry["video"] for entry in ranking.to_dict()["videos"]) == sorted(map(str, video.parent.iterdir()))
    assert (np.diff([entry["cosine"] for entry in ranking.to_dict()["videos"]]) <= 0).all()
    assert ranking.save(tmp_path / "out").is_file()
    with pytest.raises(FileNotFoundError, match="holds no videos"):
        system.predict(network, str(tmp_path), text="x")
    with pytest.raises(ValueError, match="sentence to rank the videos by is empty"):
        system.predict(network, str(video.parent), text=" ")


def test_exported_graphs_equal_the_network(system, network, video, tmp_path):
    folder = tmp_path / "exported"
    export(system.inference_graphs(network), folder, system.description())
    description = {**system.description(), "folder": str(folder)}
    inputs = type(system).inference_inputs(description, video)
    shared_text = {**inputs, "text": inputs["text"][:1]}
    frames = np.concatenate([inputs["frames"]] * 3)
    for feed in (inputs, {**shared_text, "frames": frames}):
        got = Predictor(folder, onednn=False).run(feed)["logits"]
        want = system.inference_graphs(network)["inference"].run(**feed)["logits"]
        np.testing.assert_allclose(got, want, atol=2e-5 * np.abs(want).max())
    probabilities = np.exp(got[0] - got[0].max()) / np.exp(got[0] - got[0].max()).sum()
    eager = system.predict(network, str(video)).scores
    np.testing.assert_allclose(probabilities, eager, atol=1e-4)


def test_published_files_convert_and_another_length_is_refused(system, network):
    state = conversion.to_upstream(conversion.arrays(network), network, NAMES[system.config.system])
    half = {name: array.astype("float16") for name, array in state.items()}
    conversion.load(network, system.convert(half, network))
    if system.config.system == "xclip":
        conversion.load(network, system.convert(to_hugging_face(state, video=True), network))
        data = dataclasses.replace(system.config.data, frames=8)
        longer = type(system)(dataclasses.replace(system.config, data=data))
        with pytest.raises(ValueError, match=r"clips of 4 frames, this run has data\.frames=8"):
            longer.convert(state)


def test_groups_cover_what_trains(system, network):
    optimizer = system.optimizer(network, 10)
    trained = {name for name, parameter in network.named_parameters() if not parameter.stop_gradient}
    assert set(optimizer.parameters) == trained


def test_auto_sizes_need_a_file():
    with pytest.raises(ValueError, match="name it in pretrained"):
        shared.tower_sizes("auto", shared.TowerSizes(), None)
