"""Features of sentences: order, what is computed anew, what a test of many views costs."""
import numpy as np
import paddle
import pytest

from engine import config as configuration
from models.backbones.clip import CLIP
from systems import find_system
from systems.label_features import LabelFeatures, encode_sentences

SIZES = {"embed_dim": 64, "image_resolution": 16, "vision_layers": 1, "vision_width": 64, "vision_patch_size": 8,
         "context_length": 12, "vocab_size": 50, "transformer_width": 64, "transformer_layers": 2}
IDS = np.array([[48, 7, 9, 11, 49, 49, 0, 0, 0, 0, 0, 0], [48, 3, 49, 0, 0, 0, 0, 0, 0, 0, 0, 0]])


@pytest.fixture
def tower():
    paddle.seed(0)
    return CLIP(**SIZES)


def test_sentences_come_back_in_their_order(tower):
    tower.eval()
    together = encode_sentences(tower, IDS, batch_size=1).numpy()
    np.testing.assert_allclose(together, tower.encode_text(paddle.to_tensor(IDS)).numpy(), atol=1e-5)


def test_a_damaged_file_is_computed_anew(tower, tmp_path, caplog):
    first = LabelFeatures(tmp_path).of(tower, IDS)
    file = next(tmp_path.glob("*.npy"))
    file.write_bytes(file.read_bytes()[:40])
    again = LabelFeatures(tmp_path)
    np.testing.assert_array_equal(again.of(tower, IDS), first)
    assert again.computed == 1 and "is damaged" in caplog.text


@pytest.mark.parametrize("name", ["actionclip", "xclip"])
def test_a_test_of_twelve_views_encodes_the_sentences_once(name, tmp_path, monkeypatch):
    system = find_system(name)
    system = system(configuration.load(system.Config, None, [
        "network.arch=custom", "network.custom={image_resolution: 16, vision_width: 64, vision_layers: 1, "
        "transformer_layers: 1}", "data.size=16", "data.frames=2", "data.test_clips=4", "data.test_crops=3",
        "data.labels=hmdb_51", f"output_dir={tmp_path}", "views_per_forward=5"]))
    network = system.network()
    network.eval()
    rng = np.random.default_rng(0)
    videos = [{"frames": paddle.to_tensor(rng.normal(size=(1, 12, 2, 3, 16, 16)).astype("float32")),
               "label": paddle.to_tensor([label])} for label in (3, 8)]

    class Loader:
        def __len__(self):
            return len(videos)

        def epoch(self, number):
            return iter(videos)

    encoded = []
    whole = system.text_tower(network).encode_text
    monkeypatch.setattr(system.text_tower(network), "encode_text",
                        lambda ids, **options: encoded.append(len(ids)) or whole(ids, **options))
    with paddle.no_grad():
        metrics = system.evaluate(network, Loader(), lambda batches, title, total: batches)
    assert sum(encoded) == 51 * len(system.templates)
    assert set(metrics) == {"top1", "top5"}
