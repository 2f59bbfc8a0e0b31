"""The whole system on the miniature with untrained small networks: every way in and out works and is consistent."""
from __future__ import annotations

import json

import numpy as np
import paddle
import pytest
from PIL import Image

from datasets.davis import read_labels, write_labels
from datasets.synthetic.davis import write
from deploy.export import export
from engine import config as configuration
from engine.progress import progress
from models import conversion
from models.mivos.inference_core import InferenceCore
from systems.mivos import Mivos, MivosConfig
from systems.mivos_export import GraphNetwork, GraphPropagation, exported_networks
from systems.mivos_fusion_data import generate
from systems.mivos_prediction import Session, parse_clicks
from systems.mivos_video import Images, label_probabilities

SMALL = ["network.depth=18", "network.width=64", "train.workers=0", "data.youtube=null", "data.size=48",
         "inference.mem_freq=3", "network.top_k=20"]


@pytest.fixture(scope="module")
def mini(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mivos")
    write(folder, 0)
    paddle.seed(0)
    for part in ("propagation", "fusion", "s2m"):
        system = make(folder, part, "network.calibrate_batches=2", "train.batch_size=2")
        network = system.network()
        system.initial_weights(network)  # sane statistics: else activations explode and rounding with them
        paddle.save(network.state_dict(), str(folder / f"{part}.pdparams"))
    return folder


def make(folder, part="propagation", *more):
    overrides = [f"data.root={folder}", f"part={part}", f"output_dir={folder / 'out'}", *SMALL, *more]
    return Mivos(configuration.load(MivosConfig, None, overrides))


def with_all(folder, *more):
    files = [f"network.{part}_weights={folder / part}.pdparams" for part in ("fusion", "s2m")]
    system = make(folder, "propagation", "data.val_videos=1", *files, *more)
    network = system.network()
    system.load_weights(network, str(folder / "propagation.pdparams"))
    network.eval()
    return system, network


@pytest.mark.parametrize(("part", "more"), [("propagation", ()), ("propagation", ("data.stage=static",)),
                                            ("fusion", ("data.fusion_runs=[fusion_data/sep5_m5]",)), ("s2m", ())])
def test_a_training_step_changes_the_part(mini, part, more):
    system = make(mini, part, "train.batch_size=2", f"network.propagation_weights={mini}/propagation.pdparams",
                  "optimizer.hard_start=0", "optimizer.hard_end=5", *more)
    network, loader = system.network(), system.loader("train")
    system.initial_weights(network)
    network.train()
    optimizer = system.optimizer(network, len(loader))
    before = {name: value.copy() for name, value in conversion.arrays(network).items()}
    out = system.training_step(network, next(iter(loader.epoch(0))))
    out["loss"].backward()
    optimizer.step()
    assert np.isfinite(out["loss"].item()) and out["p"].item() == 1.0
    moved = {name for name, value in conversion.arrays(network).items() if not np.array_equal(value, before[name])}
    statistics = {name for name in before if name.endswith(("_mean", "_variance"))}
    assert len(moved) > 0.9 * (len(before) - len(statistics))
    assert (statistics <= moved) if part == "s2m" else not statistics & moved


def test_evaluation_protocols(mini):
    system, network = with_all(mini)
    found = system.evaluate(network, system.loader("val"), progress)
    assert set(found) >= {"J&F", "J_mean", "F_decay"} and (mini / "out" / "per_object.csv").is_file()
    system, network = with_all(mini, "inference.protocol=youtube", "data.davis=YouTubeVOS/valid")
    system.evaluate(network, system.loader("val"), progress)
    written = sorted((mini / "out" / "Annotations" / "video0").glob("*.png"))
    assert len(written) == 12 and read_labels(written[0]).shape == (96, 128)


def test_interactive_protocol(mini, monkeypatch):
    monkeypatch.setattr("systems.mivos_evaluation.INTERACTIONS", 4)
    system, network = with_all(mini, "inference.protocol=interactive")
    monkeypatch.setattr("datasets.davis.Davis.scribbles",
                        lambda self, name: [self.root / "Scribbles" / name / "001.json"])
    found = system.evaluate(network, system.loader("val"), progress)
    assert 0 <= found["AUC-J&F"] <= 1 and len((mini / "out" / "interactive.csv").read_text().splitlines()) >= 2


def test_prediction_from_mask_clicks_and_scribbles(mini, tmp_path):
    system, network = with_all(mini)
    frames = mini / "DAVIS" / "JPEGImages" / "480p" / "val00"
    labels = read_labels(mini / "DAVIS" / "Annotations" / "480p" / "val00" / "00000.png")
    labels[:2, :2] = 255
    Image.fromarray(labels[::2, ::2]).save(tmp_path / "half.png")  # another size, with void
    scribbles = mini / "DAVIS" / "Scribbles" / "val00" / "001.json"
    found = system.predict(network, str(frames), interactions=[
        ("mask", f"{tmp_path / 'half.png'}@0"), ("clicks", "7,60,40,2,+; 7,5,5,2,-"), ("scribbles", str(scribbles))])
    assert found.masks.shape == (12, 96, 128) and max(labels.max() for labels in found.masks) <= 2
    saved = found.save(tmp_path / "out")
    assert json.loads(saved.read_text())["source"] == str(frames)
    assert (tmp_path / "out" / "overlay.mp4").is_file() and len(list((tmp_path / "out" / "masks").iterdir())) == 12
    write_labels(tmp_path / "wide.png", np.ones((10, 100), np.uint8))
    with pytest.raises(ValueError, match=r"wide\.png has 100 x 10 pixels, the video 128 x 96: another shape"):
        system.predict(network, str(frames), interactions=[("mask", str(tmp_path / "half.png")),
                                                           ("mask", f"{tmp_path / 'wide.png'}@3")])
    with pytest.raises(ValueError, match="nothing was marked"):
        system.predict(network, str(frames))


def test_click_texts():
    assert parse_clicks("0,1,2,3; 4,5.5,6,1,-") == [(0, 1.0, 2.0, 3, True), (4, 5.5, 6.0, 1, False)]
    for wrong in ("", "1,2", "a,1,2,1", "0,1,2,0,+", "0,1,2,1,?"):
        with pytest.raises(ValueError, match="click"):
            parse_clicks(wrong)


def test_session_undo_and_commit(mini):
    system, network = with_all(mini)
    source = system.dataset("val").source[0]
    session = Session(system.companions(network), Images.of_sequence(source, 0), 2, system.config.inference)
    stroke = [(1, np.array([[0.2, 0.2], [0.4, 0.4]]))]
    first = session.scribble(3, stroke).copy()
    session.scribble(3, [(2, np.array([[0.7, 0.7], [0.8, 0.8]]))])
    assert session.undo() and (session._current() == first).all()
    session.commit()
    assert (session._base == first).all() and not session._strokes
    session.propagate()
    assert (session.masks[3] == first).all()
    assert session.undo() and not session.masks.any() and not session.undo()
    with pytest.raises(ValueError, match="nothing to propagate"):
        session.propagate()


def test_exported_graphs_run_the_whole_loop(mini, tmp_path):
    system, network = with_all(mini)
    video = system.dataset("val").source[1]  # three objects
    fusion = system.companions(network)["fusion"]
    export(system.inference_graphs(network), tmp_path / "propagation", system.description())
    other = make(mini, "fusion")
    export(other.inference_graphs(fusion), tmp_path / "fusion", other.description())
    images, results = Images.of_sequence(video, 0), []
    graphs = (GraphPropagation(tmp_path / "propagation", onednn=False), GraphNetwork(tmp_path / "fusion", onednn=False))
    for propagation, fuse in ((network, fusion), graphs):
        core = InferenceCore(propagation=propagation, fusion=fuse, frames=images, num_objects=3, mem_freq=3)
        for frame in (0, 5):
            core.interact(label_probabilities(video.labels(frame), 3, images.size), frame)
        results.append(np.stack([core.prob(t) for t in range(core.length)]))
    np.testing.assert_allclose(results[0], results[1], rtol=0, atol=2e-4)
    write_labels(tmp_path / "first.png", video.labels(0))
    folders, frames = [str(tmp_path / part) for part in ("propagation", "fusion")], str(video.frames[0].parent)
    eager, by_graphs = (system.predict(network, frames, interactions=[("mask", str(tmp_path / "first.png"))],
                                       exported=exported) for exported in ((), folders))
    assert np.mean(np.stack(list(eager.masks)) == np.stack(list(by_graphs.masks))) > 0.999
    with pytest.raises(ValueError, match="second export of the part fusion"):
        exported_networks([folders[1], folders[1]])


def test_s2m_export_equals_eager(mini, tmp_path):
    system = make(mini, "s2m")
    network = system.network()
    network.eval()
    export(system.inference_graphs(network), tmp_path, system.description())
    x = np.random.default_rng(0).normal(size=(2, 6, 40, 56)).astype(np.float32)
    eager = network(paddle.to_tensor(x)).numpy()
    np.testing.assert_allclose(GraphNetwork(tmp_path, onednn=False)(paddle.to_tensor(x)).numpy(), eager,
                               atol=1e-5 * np.abs(eager).max())


def test_fusion_data_are_generated_whole(mini, tmp_path):
    system, network = with_all(mini)
    video = system.dataset("val").source[0]
    made = generate(video, system.companions(network), system.config.inference, tmp_path / "val00", separation=6)
    assert made == 2 and len(list((tmp_path / "val00" / "00006" / "00001").glob("*.png"))) == 11
    assert generate(video, system.companions(network), system.config.inference, tmp_path / "val00", separation=6) == 0


def test_published_names_convert_both_ways(mini):
    system = make(mini)
    network = system.network()
    ours = conversion.arrays(network)
    from models.mivos import propagation

    upstream = conversion.to_upstream(ours, network, propagation.upstream_name)
    assert "rgb_encoder.res2.0.conv1.weight" in upstream and "mask_rgb_encoder.layer1.0.conv1.bias" in upstream
    back = system.convert(upstream, network)
    assert all(np.array_equal(ours[name], back[name]) for name in ours)
    stage0 = {**upstream, "mask_rgb_encoder.conv1.weight": upstream["mask_rgb_encoder.conv1.weight"][:, :4]}
    with pytest.raises(conversion.WeightMismatch):
        system.convert(stage0, network)
    paddle.save({name: paddle.to_tensor(value) for name, value in stage0.items()}, str(mini / "stage0.pdparams"))
    system.load_weights(network, str(mini / "stage0.pdparams"), widen=True)
    extra = network.mask_rgb_encoder.conv1.weight.numpy()[:, 4].reshape(64, -1)
    np.testing.assert_allclose(extra.T @ extra, np.eye(49), atol=1e-5)


def test_frames_of_a_video_are_decoded_a_stretch_at_a_time(tmp_path):
    from datasets.video import VideoReader, write_video

    pictures = [np.full((32, 48, 3), 8 * t, np.uint8) for t in range(30)]
    write_video(tmp_path / "v.mp4", pictures, 10.0)
    images = Images.of_reader(VideoReader(tmp_path / "v.mp4"), 16)
    asked = []
    read = images._read._reader.frames
    images._read._reader.frames = lambda indices: (asked.append(list(indices)), read(indices))[1]
    for t in (3, 4, 15, 29, 16, 0):
        assert abs(images.picture(t).mean() - 8 * t) < 3
    assert [(part[0], part[-1]) for part in asked] == [(0, 15), (16, 29), (0, 15)]
    assert images.picture(2).shape == (16, 24, 3) and images.full_size().pictures()[2].shape == (32, 48, 3)
    assert len(list(images.pictures())) == 30
