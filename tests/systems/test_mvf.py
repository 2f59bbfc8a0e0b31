from pathlib import Path

import numpy as np
import paddle
import pytest

from engine import config as configuration
from engine.config import ConfigError
from models import conversion
from systems.mvf import MVF, MVFConfig

ROOT = Path(__file__).parents[2]
torch = pytest.importorskip("torch")

SMALL = ["network.base_channels=8", "data.clip_len=4", "data.train_size=32", "data.short_side=32", "data.test_size=32",
         "train.workers=0", "train.batch_size=2"]


@pytest.fixture
def system(miniature):
    return make(miniature)


def make(miniature, *overrides):
    return MVF(configuration.load(MVFConfig, ROOT / "configs/mvf/mini.yaml",
                                  [*SMALL, f"data.root={miniature('ucf101')}", *overrides]))


def test_items_of_every_split(system):
    shapes = {}
    for split in ("train", "val", "test"):
        dataset = system.dataset(split)
        item = dataset.get(3, np.random.default_rng(0))
        shapes[split] = item["frames"].shape
        assert item["frames"].dtype == np.float32 and item["name"] and 0 <= item["label"] < 8
    assert shapes == {"train": (4, 3, 32, 32), "val": (4, 3, 32, 32), "test": (2 * 3 * 4, 3, 32, 32)}


def test_views_in_parts_equal_all_at_once(miniature):
    frames = paddle.randn([2, 24, 3, 32, 32])
    whole, parts = make(miniature, "views_per_forward=6"), make(miniature, "views_per_forward=1")
    network = whole.network()
    network.eval()
    np.testing.assert_allclose(whole.scores(network, frames), parts.scores(network, frames), rtol=0, atol=1e-6)


def test_upstream_checkpoint_round_trip(system, tmp_path):
    network = system.network()
    state = conversion.to_upstream(conversion.arrays(network), network)
    file = {f"module.{name}": torch.from_numpy(array) for name, array in state.items()}
    file["module.backbone.bn1.num_batches_tracked"] = torch.tensor(3)
    file["module.cls_head.new_cls.weight"] = torch.zeros(3)
    torch.save({"state_dict": file, "meta": {}}, tmp_path / "R18.pth")
    other = system.network()
    system.load_weights(other, str(tmp_path / "R18.pth"))
    for name, array in conversion.arrays(network).items():
        np.testing.assert_array_equal(conversion.arrays(other)[name], array)


def test_classifier_of_another_size_starts_afresh_in_training_only(miniature, tmp_path):
    kinetics = make(miniature, "network.num_classes=11")
    source = kinetics.network()
    path = tmp_path / "kinetics.pdparams"
    paddle.save(source.state_dict(), str(path))
    system = make(miniature, f"pretrained={path}")
    network = system.network()
    head = network.cls_head.new_fc.weight.numpy()
    system.initial_weights(network)
    np.testing.assert_array_equal(network.cls_head.new_fc.weight.numpy(), head)
    np.testing.assert_array_equal(network.backbone.conv1.weight.numpy(), source.backbone.conv1.weight.numpy())
    with pytest.raises(conversion.WeightMismatch, match="new_fc"):
        system.load_weights(network, str(path))


def test_imagenet_backbone(miniature, tmp_path):
    plain = make(miniature, "network.mvf_freq=[0,0,0,0]").network()
    state = conversion.to_upstream(conversion.arrays(plain.backbone), plain.backbone)
    state["fc.weight"], state["fc.bias"] = np.zeros((1000, 32), "float32"), np.zeros(1000, "float32")
    torch.save({name: torch.from_numpy(array) for name, array in state.items()}, tmp_path / "resnet.pth")
    system = make(miniature, f"network.backbone_weights={tmp_path / 'resnet.pth'}")
    network = system.network()
    system.initial_weights(network)
    np.testing.assert_array_equal(network.backbone.layer2[0].conv1.net.weight.numpy(),
                                  plain.backbone.layer2[0].conv1.weight.numpy())


def test_groups_by_name(miniature):
    system = make(miniature, "optimizer.norm_decay_mult=0.0", "optimizer.bias_lr_mult=2.0", "optimizer.warmup_epochs=0")
    optimizer = system.optimizer(system.network(), 4)
    rates = optimizer.rates()
    assert rates["classifier biases"] == pytest.approx(2 * rates["weights"])
    # the norm inside downsample is no "bn" by name: the original gives it the weights' decay
    assert set(rates) == {"weights", "norms", "biases", "classifier weights", "classifier biases"}


def test_labels_must_fit(miniature):
    with pytest.raises(ConfigError, match="names 8 classes, the network has 5"):
        make(miniature, "network.num_classes=5").labels()


def test_predict_on_a_video_file(system, miniature):
    video = sorted((miniature("ucf101") / "videos").rglob("*.avi"))[0]
    network = system.network()
    prediction = system.predict(network, str(video))
    assert prediction.summary().startswith("Top1 class:Drift")
    assert prediction.scores.sum() == pytest.approx(1.0, abs=1e-5)


def test_real_recordings(shared, miniature):
    system = make(miniature, "data.clip_len=4")
    network = system.network()
    for name in ("archery.avi", "singer.mp4", "frames"):
        prediction = system.predict(network, str(shared / "data" / name))
        assert prediction.scores.shape == (8,)


def test_precise_batch_norm_replaces_statistics(miniature):
    system = make(miniature, "train.precise_bn_every=1", "train.precise_bn_batches=2")
    network = system.network()
    network.train()
    before = network.backbone.bn1._mean.numpy()
    system.after_epoch(network, 0)
    assert np.abs(network.backbone.bn1._mean.numpy() - before).max() > 0
