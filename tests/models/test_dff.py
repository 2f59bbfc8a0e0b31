"""Deep feature flow: names, training mode, cached halves, the scheduler."""
import numpy as np
import paddle
import pytest
from paddle.static import InputSpec

from deploy.export import Graph, export
from deploy.inference import Predictor
from models import conversion
from models.backbones.flownet_s import FlowNetS
from models.dff import DFF, PSPNet, unwrap, upstream_name, upstream_names
from models.dff_video import CurrentGraph, NetworkSteps, VideoScheduler, pad_to_multiple

CHANNELS = (4, 4, 6, 6, 6, 8)


def small(**options) -> DFF:
    paddle.seed(0)
    flownet = options.pop("flownet", {"decoder_bias": True})
    pspnet = PSPNet(blocks=(1, 1, 1, 1), base=4, stem=(4, 4, 8), width=8, num_classes=5, **options.pop("pspnet", {}))
    network = DFF(pspnet=pspnet, flownet=FlowNetS(channels=CHANNELS, **flownet), num_classes=5, **options)
    network.init_task()
    return network


def test_names_are_upstreams():
    assert upstream_name("net_feat.backbone.conv1.3.weight") == "net_feat.model.backbone.stem.0.conv2.weight"
    assert upstream_name("net_feat.backbone.bn1.running_mean") == "net_feat.model.backbone.stem.0.bn3.running_mean"
    assert upstream_name("net_feat.backbone.layer1.0.conv1.weight").endswith("backbone.layer1.0.conv1.weight")
    assert upstream_name("flownet.upsampled_flow6_to_5.bias") == "flownet.upsample_flow6to5.bias"
    mmseg = upstream_names("mmseg_v1c", "full")
    assert mmseg("backbone.conv1.4.weight") == "backbone.stem.4.weight"
    assert mmseg("backbone.bn1.bias") == "backbone.stem.7.bias"
    assert mmseg("upsampled_flow3_to_2.weight") == "upsampled_flow3_to_2.weight"


@pytest.mark.parametrize("names", [upstream_names("csail", "slim"), upstream_names("mmseg_v1c", "full")])
def test_conversion_goes_both_ways(names):
    network = small()
    theirs = conversion.to_upstream(conversion.arrays(network), network, names)
    back = conversion.from_upstream(unwrap({f"module.{name}": a for name, a in theirs.items()}), network, names)
    for name, array in conversion.arrays(network).items():
        np.testing.assert_array_equal(array, back[name])
    theirs.pop("net_task.bias")
    with pytest.raises(conversion.WeightMismatch, match=r"net_task\.bias"):
        conversion.from_upstream(theirs, network, names)


def test_training_leaves_the_feature_network_alone():
    network = small()
    network.set_train()
    network.train()
    assert network.training and network.flownet.training and not network.net_feat.training
    free = {name for name, p in network.named_parameters() if not p.stop_gradient}
    assert {name for name in free if name.startswith("net_feat.")} == {
        "net_feat.decode_head.conv_seg.weight", "net_feat.decode_head.conv_seg.bias"}
    assert len(network.trained_parameters()) == len(free)


@pytest.mark.parametrize("size", [(64, 64), (72, 136)])
def test_cached_half_equals_the_joined_convolution(size):
    network = small()
    network.eval()
    images = paddle.to_tensor(np.random.default_rng(0).random((2, 6, *size)).astype("float32"))
    with paddle.no_grad():
        joined = network.flownet(images)
        halved = network.flownet.decode(network.flownet.first_level(images[:, :3],
                                                                    network.flownet.key_half(images[:, 3:])))[0]
    assert [flow.shape[2] for flow in joined] == [-(-size[0] // 2**k) for k in range(2, 7)]
    for one, other in zip(joined, halved, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=0, atol=1e-5)


def test_scale_map_starts_as_ones_and_half_flow_keeps_the_size():
    network = small(scale_map=True, flow_input_scale=0.5)
    network.set_train()
    clip = paddle.to_tensor(np.random.default_rng(0).random((1, 3, 2, 64, 64)).astype("float32"))
    flow, scale = network.flow(clip[:, :, -1], network.key_half(clip[:, :, 0]))
    assert flow.shape == [1, 2, 16, 16] and (scale.numpy() == 1).all()
    assert network(clip, clip).shape == [1, 5, 64, 64]
    assert network.scale_map.bias.stop_gradient


def test_an_identity_as_task_layer_leaves_the_scores_alone():
    network = small()
    assert not np.allclose(network.net_task.weight.numpy()[:, :, 0, 0], np.eye(5))
    network.init_task("identity")
    scores = paddle.to_tensor(np.random.default_rng(0).random((1, 5, 3, 4)).astype("float32"))
    np.testing.assert_array_equal(network.net_task(scores).numpy(), scores.numpy())
    with pytest.raises(ValueError, match="zeros"):
        network.init_task("zeros")


class Recorded:
    """Steps that say what was asked of them."""

    def __init__(self, motion=0.0):
        self.calls, self.motion = [], motion

    def key(self, seg, flow):
        self.calls.append("key")
        return np.zeros((len(flow), *flow.shape[2:]), np.int64), "scores", "half"

    def current(self, flow, scores, half):
        self.calls.append(f"current {scores} {half}")
        return np.ones((len(flow), *flow.shape[2:]), np.int64), "moved", self.motion

    def half(self, flow):
        return "half of it"


def walk(steps, frames=6, **options):
    prepare = lambda image: image.transpose(2, 0, 1).astype("float32")  # noqa: E731
    scheduler = VideoScheduler(steps, prepare, prepare, **options)
    return scheduler, [scheduler.step(np.zeros((2, 13, 21, 3), np.uint8)) for _ in range(frames)]


def test_every_third_frame_is_a_key_frame_and_reset_begins_anew():
    scheduler, results = walk(Recorded(), key_interval=3)
    assert [result.key for result in results] == [True, False, False, True, False, False]
    assert results[1].labels.shape == (2, 13, 21)
    scheduler.reset()
    assert scheduler.step(np.zeros((2, 13, 21, 3), np.uint8)).key


def test_chained_goes_from_frame_to_frame():
    steps = Recorded()
    walk(steps, 3, key_interval=5, propagation="chained")
    assert steps.calls == ["key", "current scores half", "current moved half of it"]


def test_large_motion_makes_a_key_frame():
    for motion, keys in ((3.0, [True, True, True]), (1.0, [True, False, False])):
        results = walk(Recorded(motion), 3, key_interval=9, adaptive="flow", threshold=2.0)[1]
        assert [result.key for result in results] == keys


def test_network_steps_equal_evaluate():
    network = small()
    network.eval()
    rng = np.random.default_rng(0)
    seg, flow = (rng.random((1, 3, 2, 64, 64)).astype("float32") for _ in range(2))
    key, current = network.evaluate(paddle.to_tensor(seg), paddle.to_tensor(flow))
    steps = NetworkSteps(network)
    labels, scores, half = steps.key(seg[:, :, 0], flow[:, :, 0])
    np.testing.assert_array_equal(labels, key.numpy())
    np.testing.assert_array_equal(steps.current(flow[:, :, 1], scores, half)[0], current.numpy())


def test_the_other_frames_graph_runs_under_onednn(tmp_path):
    network = small()
    network.eval()
    rng = np.random.default_rng(0)
    given = {"flow": rng.random((1, 3, 64, 64)), "scores": rng.random((1, 5, 16, 16)),
             "half": rng.random((1, CHANNELS[0], 32, 32))}
    given = {name: array.astype("float32") for name, array in given.items()}
    # Free sides, as export_model.py writes them: with known ones Paddle 3.3's oneDNN overwrites the warp's places.
    specs = [InputSpec([-1, array.shape[1], -1, -1], "float32", name) for name, array in given.items()]
    export({"current": Graph(CurrentGraph(network), specs, ["labels", "moved", "motion"])}, tmp_path, {})
    made = Predictor(tmp_path, onednn=True).run(given)
    labels, moved, _ = NetworkSteps(network).current(given["flow"], *(paddle.to_tensor(given[name])
                                                                      for name in ("scores", "half")))
    np.testing.assert_allclose(made["moved"], moved.numpy(), rtol=0, atol=1e-5)
    assert (made["labels"] == labels).mean() > 0.999


def test_padding_repeats_the_border():
    frames = np.arange(2 * 3 * 5 * 3, dtype=np.uint8).reshape(2, 3, 5, 3)
    padded = pad_to_multiple(frames, 4)
    assert padded.shape == (2, 4, 8, 3) and (padded[:, 3, :5] == frames[:, 2]).all()


@pytest.mark.parametrize("options", [{"key_interval": 0}, {"propagation": "sideways"}, {"adaptive": "luck"}])
def test_impossible_schedules_are_refused(options):
    with pytest.raises(ValueError):
        VideoScheduler(Recorded(), None, None, **options)
