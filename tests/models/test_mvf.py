import numpy as np
import paddle
import pytest

from models.mvf import MVFNet, average_views, inflate_input


def small(**options):
    paddle.seed(1)
    return MVFNet(**{"num_classes": 5, "num_frames": 4, "depth": 18, "dropout": 0.0,
                     "backbone": {"base_channels": 8}, **options})


def test_views_do_not_see_each_other():
    network = small()
    network.eval()
    frames = paddle.randn([1, 12, 3, 32, 32])
    together = network(frames).numpy()
    alone = np.concatenate([network(frames[:, k:k + 4]).numpy() for k in (0, 4, 8)])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6)


def test_order_of_frames_matters_with_fusion_only():
    frames = paddle.randn([1, 4, 3, 32, 32])
    for fused_stages, differs in (((1, 1, 1, 1), True), ((0, 0, 0, 0), False)):
        network = small(fused_stages=fused_stages)
        network.eval()
        change = np.abs(network(frames).numpy() - network(frames.flip([1])).numpy()).max()
        assert bool(change > 1e-5) is differs


def test_training_averages_all_frames_of_a_video():
    network = small()
    network.train()
    assert network(paddle.randn([2, 8, 3, 32, 32])).shape == [2, 5]
    network.eval()
    assert network(paddle.randn([2, 8, 3, 32, 32])).shape == [4, 5]


def test_frames_must_make_whole_clips():
    with pytest.raises(ValueError, match="6 frames do not make whole clips of 4"):
        small()(paddle.zeros([1, 6, 3, 32, 32]))


def test_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="THW, TH, T"):
        small(mode="HW")


def test_alpha_zero_and_one():
    plain, none, whole = small(fused_stages=(0, 0, 0, 0)), small(alpha=0.0), small(alpha=1.0)
    assert len(plain.state_dict()) == len(none.state_dict())
    whole.eval()
    assert np.isfinite(whole(paddle.randn([1, 4, 3, 32, 32])).numpy()).all()


@pytest.mark.parametrize("kind", ["score", "prob"])
def test_averages_are_per_video(kind):
    logits = paddle.randn([6, 5])
    averaged = average_views(logits, 2, kind).numpy()
    for video in range(2):
        np.testing.assert_allclose(averaged[video], average_views(logits[3 * video:3 * video + 3], 1, kind).numpy()[0],
                                   rtol=1e-6)
    assert average_views(logits, 2, None) is logits
    with pytest.raises(ValueError, match="score, prob"):
        average_views(logits, 2, "max")


def test_initialisation_follows_the_original():
    network = MVFNet(num_classes=400, num_frames=4, depth=50)
    network.init_weights()
    fusion = network.backbone.layer4[1].conv1
    np.testing.assert_allclose(fusion.shift_conv.weight.numpy().std(), (2 / (3 * 256)) ** 0.5, rtol=0.08)
    np.testing.assert_allclose(network.cls_head.new_fc.weight.numpy().std(), 0.01, rtol=0.01)
    assert not network.cls_head.new_fc.bias.numpy().any()
    np.testing.assert_allclose(fusion.net.weight.numpy().std(), (2 / 512) ** 0.5, rtol=0.01)


def test_published_entry_count():
    network = MVFNet(num_classes=101, num_frames=16)
    assert len(network.state_dict()) == 330


def test_inflated_input_kernel():
    weight = paddle.randn([4, 3, 7, 7])
    flow = inflate_input(weight, 10)
    assert flow.shape == [4, 10, 7, 7]
    np.testing.assert_allclose(flow[:, 9].numpy(), weight.mean(1).numpy(), rtol=1e-6)


@pytest.mark.parametrize(("options", "kept", "moved"), [
    ({"frozen_stages": 1}, ("backbone.bn1", "backbone.layer1.0.bn1"), "backbone.layer2.0.bn1"),
    ({"norm_eval": True}, ("backbone.bn1", "backbone.layer2.1.bn2"), None)])
def test_frozen_norms_keep_their_statistics_in_training(options, kept, moved):
    network = MVFNet(num_classes=3, num_frames=2, depth=18, fused_stages=(0, 0, 0, 0),
                     backbone={"num_stages": 2, "out_stages": (1,), **options})
    network.train()
    before = {name: layer._mean.numpy() for name, layer in network.named_sublayers() if hasattr(layer, "_mean")}
    network(paddle.randn([1, 2, 3, 32, 32]))
    after = {name: layer._mean.numpy() for name, layer in network.named_sublayers() if hasattr(layer, "_mean")}
    assert all((before[name] == after[name]).all() for name in kept)
    assert moved is None or (before[moved] != after[moved]).any()
