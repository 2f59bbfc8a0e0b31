"""TPAVI against its definition, the decoder's shapes, names of checkpoints."""
import json
from pathlib import Path

import numpy as np
import paddle
import pytest

from models import conversion
from models.avs import MODES, TPAVI, AVSNet, DilatedSum, resnet_from_torchvision, upstream_name
from models.avs_listener import Listener, random_vggish
from models.layers import row_attention

PVT = {"embed_dims": [8, 8, 8, 8], "num_heads": [1, 2, 2, 2], "mlp_ratios": [2, 2, 2, 2], "depths": [1, 1, 1, 1],
       "sr_ratios": [8, 4, 2, 1]}


@pytest.fixture
def float64():
    paddle.set_default_dtype("float64")
    yield
    paddle.set_default_dtype("float32")


def block(mode, bn_layer, **options):
    made = TPAVI(in_channels=6, inter_channels=3, mode=mode, bn_layer=bn_layer, **options)
    rng = np.random.default_rng(1)
    for name, parameter in made.named_parameters():
        low, high = (0.2, 0.9) if name.endswith("_variance") else (-0.5, 0.5)
        parameter.set_value(rng.uniform(low, high, parameter.shape))
    made.eval()
    return made


def by_definition(made, x, audio):
    """Every position against every position, in NumPy, channels last."""
    def conv(layer, values):
        return values @ layer.weight.numpy().reshape(layer.weight.shape[0], -1).T + layer.bias.numpy()
    B, C, T = x.shape[:3]
    tokens = x.reshape(B, C, -1).swapaxes(1, 2)
    P = tokens.shape[1]
    other = tokens
    if audio is not None:
        sound = audio @ made.align_channel.weight.numpy() + made.align_channel.bias.numpy()
        other = np.repeat(sound, P // T, axis=1)
    theta, phi = (tokens, other) if made.mode == "gaussian" else (conv(made.theta, tokens), conv(made.phi, other))
    if made.mode == "concatenate":
        pairs = np.concatenate([np.repeat(theta[:, :, None], P, 2), np.repeat(phi[:, None], P, 1)], -1)
        f = np.maximum(conv(made.W_f[0], pairs)[..., 0], 0)
    else:
        f = theta @ phi.swapaxes(1, 2)
    if made.mode in ("gaussian", "embedded"):
        f = np.exp(f - f.max(-1, keepdims=True))
        f = f / f.sum(-1, keepdims=True)
    else:
        f = f / P
    y = f @ conv(made.g, tokens)
    if made.bn_layer:
        norm = made.W_z[1]
        z = conv(made.W_z[0], y)
        z = (z - norm._mean.numpy()) / np.sqrt(norm._variance.numpy() + 1e-5) * norm.weight.numpy() + norm.bias.numpy()
    else:
        z = conv(made.W_z, y)
    z = z + tokens
    z = (z - z.mean(-1, keepdims=True)) / np.sqrt(z.var(-1, keepdims=True) + 1e-5)
    z = z * made.norm_layer.weight.numpy() + made.norm_layer.bias.numpy()
    return z.swapaxes(1, 2).reshape(x.shape)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bn_layer", [True, False])
@pytest.mark.parametrize("with_sound", [True, False])
def test_tpavi_equals_its_definition(float64, monkeypatch, mode, bn_layer, with_sound):
    monkeypatch.setattr(row_attention, "CHUNK", 50)  # several row chunks
    made, rng = block(mode, bn_layer), np.random.default_rng(0)
    x, audio = rng.normal(size=(2, 6, 3, 2, 2)), rng.uniform(size=(2, 3, 128)) if with_sound else None
    z, _ = made(paddle.to_tensor(x), None if audio is None else paddle.to_tensor(audio))
    assert np.isfinite(z.numpy()).all()
    np.testing.assert_allclose(z.numpy(), by_definition(made, x, audio), rtol=0, atol=1e-10)


def test_a_gradient_through_row_chunks_is_that_of_one_piece(float64, monkeypatch):
    made, gradients = block("embedded", True), []
    for chunk in (1 << 20, 30):
        monkeypatch.setattr(row_attention, "CHUNK", chunk)
        x = paddle.to_tensor(np.random.default_rng(0).normal(size=(1, 6, 2, 3, 2)), stop_gradient=False)
        (made(x)[0] ** 3).sum().backward()
        gradients.append(x.grad.numpy())
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=0, atol=1e-12)


def test_a_plane_is_a_clip_of_one_frame(float64):
    flat, deep = block("dot", True, dimension=2), block("dot", True, dimension=3)
    for ours, theirs in zip(flat.parameters(), deep.parameters(), strict=True):
        theirs.set_value(ours.reshape(theirs.shape))
    rng = np.random.default_rng(2)
    x, audio = rng.normal(size=(2, 6, 3, 4)), paddle.to_tensor(rng.uniform(size=(2, 1, 128)))
    plane, _ = flat(paddle.to_tensor(x), audio)
    clip, _ = deep(paddle.to_tensor(x[:, :, None]), audio)
    np.testing.assert_allclose(plane.numpy(), clip.numpy()[:, :, 0], rtol=0, atol=1e-12)


def test_taps_beyond_the_border_change_nothing(float64):
    layer = DilatedSum(2, 3)
    x = paddle.to_tensor(np.random.default_rng(3).normal(size=(1, 2, 5, 14)))
    whole = sum(conv(x) for conv in layer.conv2d_list)
    np.testing.assert_allclose(layer(x).numpy(), whole.numpy(), rtol=0, atol=1e-14)


def test_any_number_of_frames_and_any_multiple_of_32():
    network = AVSNet(backbone="pvt", channel=8, num_frames=3, pvt=PVT, vv=True, head=(4, 4))
    network.eval()
    pred, maps, sounds = network(paddle.rand([6, 3, 32, 64]), paddle.rand([6, 128]))
    assert pred.shape == [6, 1, 32, 64]
    assert [x.shape[2:] for x in maps] == [[8, 16], [4, 8], [2, 4], [1, 2]]
    assert sounds[0].shape == [2, 3, 8] and float(maps[0].min()) == 0.0


@pytest.mark.parametrize(("image", "audio", "words"), [
    ([5, 3, 48, 64], [5, 128], "multiples of 32"), ([4, 3, 32, 32], [4, 128], "whole number of videos"),
    ([5, 3, 32, 32], [4, 128], "5 images need 5"), ([5, 3, 32, 32], None, "none")])
def test_inputs_that_do_not_fit_are_refused(image, audio, words):
    network = AVSNet(backbone="pvt", channel=8, pvt=PVT, head=(4, 4))
    with pytest.raises(ValueError, match=words):
        network(paddle.rand(image), None if audio is None else paddle.rand(audio))


@pytest.mark.parametrize("options", [{"backbone": "vgg"}, {"tpavi_stages": (4,)}, {"va": False}])
def test_networks_that_cannot_be_are_refused(options):
    with pytest.raises(ValueError):
        AVSNet(**{"backbone": "pvt", "pvt": PVT, "channel": 8, **options})


def test_names_are_the_originals_and_go_both_ways():
    network = AVSNet(backbone="pvt", channel=8, pvt=PVT, head=(4, 4))
    ours = conversion.arrays(network)
    theirs = conversion.to_upstream(ours, network, upstream_name)
    assert {"tpavi_b1.W_z.1.running_var", "path4.resConfUnit1.conv1.weight", "conv4.conv2d_list.3.bias",
            "encoder_backbone.block1.0.mlp.dwconv.dwconv.weight", "output_conv.4.bias"} <= set(theirs)
    again = conversion.from_upstream(theirs, network, upstream_name)
    assert all(np.array_equal(again[name], ours[name]) for name in ours)
    assert upstream_name("resnet.layer3.0.conv1.weight") == "resnet.layer3_1.0.conv1.weight"
    assert upstream_name("resnet.layer3_2.0.conv1.weight") == "resnet.layer3_2.0.conv1.weight"


@pytest.mark.parametrize(("case", "backbone", "count"), [
    ("resnet50-ms3", "resnet", 630), ("pvtv2-b5-s4", "pvt", 1190)])
def test_a_published_checkpoint_has_exactly_these_entries(case, backbone, count):
    golden = Path(__file__).parents[2] / "alignment/golden/avs" / case / "manifest.json"
    recorded = {name: tuple(shape) for name, shape, _ in json.loads(golden.read_text("utf-8"))["state"]}
    network = AVSNet(backbone=backbone)
    ours = conversion.arrays(network)
    theirs = conversion.to_upstream(ours, network, upstream_name)
    counters = {name for name in recorded if name.endswith("num_batches_tracked")}
    assert len(recorded) == count
    assert {name: array.shape for name, array in theirs.items() if name not in counters} == \
        {name: shape for name, shape in recorded.items() if name not in counters}
    again = conversion.from_upstream(theirs, network, upstream_name)
    assert again.keys() == ours.keys() and all(np.array_equal(again[name], ours[name]) for name in ours)


def test_random_ears_hear_nothing_in_silence_and_tell_sounds_apart():
    widths = (4, "M", 4, "M", 4, 4, "M", 8, 8, "M")
    listener = Listener(random_vggish(0, widths=widths, hidden=32))
    patches = np.full((3, 1, 96, 64), np.log(0.01), np.float32)
    patches[1, :, :, :20] = 2.0
    patches[2, :, :, 40:] = 2.0
    silence, low, high = listener.features(paddle.to_tensor(patches)).numpy()
    np.testing.assert_allclose(silence, 0.0, atol=1e-5)
    assert np.abs(low - high).max() > 0.1
    again = Listener(random_vggish(0, widths=widths, hidden=32)).features(paddle.to_tensor(patches)).numpy()
    np.testing.assert_array_equal(again[1], low)


def test_both_branches_of_the_resnet_start_from_one_file():
    state = resnet_from_torchvision({"conv1.weight": 1, "layer3.0.bn1.bias": 2, "fc.weight": 3})
    assert state == {"conv1.weight": 1, "layer3_1.0.bn1.bias": 2, "layer3_2.0.bn1.bias": 2}
