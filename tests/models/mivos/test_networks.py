"""Sizes and names of the published networks."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import paddle
import pytest

from models import conversion
from models.layers import batch_norms
from models.mivos import fusion, initial, propagation, s2m

GOLDEN = Path(__file__).parents[3] / "alignment" / "golden" / "mivos"


@pytest.mark.parametrize(("make", "module", "bundle", "parameters"), [
    (propagation.PropagationNetwork, propagation, "propagation_steps", 53_685_953),
    (fusion.FusionNet, fusion, "fusion", 39_905), (s2m.S2M, s2m, "s2m", 39_766_113)])
def test_published_names_shapes_and_counts(make, module, bundle, parameters):
    network = make()
    statistics = 2 * len(batch_norms(network))
    values = conversion.arrays(network)
    assert sum(v.size for n, v in values.items() if not n.endswith(("_mean", "_variance"))) == parameters
    published = json.loads((GOLDEN / bundle / "manifest.json").read_text())["state"]
    assert len(published) == len(values) + statistics // 2  # and num_batches_tracked
    upstream = conversion.to_upstream(values, network, module.upstream_name)
    wanted = {name: shape for name, shape, _ in published if not name.endswith("num_batches_tracked")}
    assert {name: list(value.shape) for name, value in upstream.items()} == wanted


def test_attention_network_takes_the_propagation_file():
    whole, part = propagation.PropagationNetwork(depth=18, width=64), propagation.AttentionReadNetwork(
        depth=18, width=64)
    upstream = conversion.to_upstream(conversion.arrays(whole), whole, propagation.upstream_name)
    state = conversion.from_upstream(upstream, part, propagation.upstream_name, propagation.ATTENTION_DROPPED)
    assert conversion.load(part, state) == len(state)


def test_imagenet_goes_into_both_encoders():
    rng = np.random.default_rng(0)
    network = propagation.PropagationNetwork(depth=18, width=64)
    base = conversion.to_upstream(conversion.arrays(network), network, propagation.upstream_name)
    imagenet = {name.removeprefix("rgb_encoder.").replace("res2.", "layer1."): rng.normal(size=value.shape)
                for name, value in base.items() if name.startswith("rgb_encoder.")}
    state = initial.propagation_from_imagenet(imagenet, base, rng)
    assert set(state) == set(base)
    for ours, theirs in (("rgb_encoder.res2.0.conv1.weight", "layer1.0.conv1.weight"),
                         ("mask_rgb_encoder.layer1.0.conv1.weight", "layer1.0.conv1.weight"),
                         ("mask_rgb_encoder.layer3.1.bn2.running_var", "layer3.1.bn2.running_var")):
        np.testing.assert_array_equal(state[ours], imagenet[theirs])
    assert not state["mask_rgb_encoder.layer2.0.conv1.bias"].any()
    first = state["mask_rgb_encoder.conv1.weight"]
    np.testing.assert_array_equal(first[:, :3], imagenet["conv1.weight"])
    np.testing.assert_array_equal(state["decoder.pred.weight"], base["decoder.pred.weight"])
    with pytest.raises(ValueError, match="input channels"):
        initial.widened(first, 4, rng)


def test_without_a_file_both_encoders_start_alike():
    network = propagation.PropagationNetwork(depth=10, base_channels=8, width=64)
    base = conversion.to_upstream(conversion.arrays(network), network, propagation.upstream_name)
    state = initial.propagation_from_nothing(base, np.random.default_rng(0))
    for ours, theirs in (("mask_rgb_encoder.layer1.0.conv1.weight", "rgb_encoder.res2.0.conv1.weight"),
                         ("mask_rgb_encoder.layer3.0.conv2.weight", "rgb_encoder.layer3.0.conv2.weight"),
                         ("kv_m_f16.key_proj.weight", "kv_q_f16.key_proj.weight")):
        np.testing.assert_array_equal(state[ours], base[theirs])
    for name in ("rgb_encoder.res2.0.bn2.weight", "mask_rgb_encoder.layer3.0.bn2.weight"):
        assert not state[name].any()
    assert state["rgb_encoder.res2.0.bn1.weight"].all() and set(state) == set(base)
    assert (state["kv_m_f16.val_proj.weight"] != state["kv_q_f16.val_proj.weight"]).all()
    np.testing.assert_array_equal(state["mask_rgb_encoder.conv1.weight"][:, :3], base["rgb_encoder.conv1.weight"])


def test_moved_masks_follow_the_attention():
    paddle.seed(0)
    network = propagation.PropagationNetwork(depth=10, base_channels=8, width=64)
    network.eval()
    rgb, gt = paddle.rand([2, 3, 3, 32, 48]), (paddle.rand([2, 3, 1, 32, 48]) > 0.5).astype("float32")
    out = network(rgb, gt, 1 - gt, paddle.ones([2, 2]), moved=True)
    assert out["moved_1"].shape == out["moved_2"].shape == [2, 2, 6]
    key, _ = network.encode_memory(rgb[:, 0], gt[:, 0], 1 - gt[:, 0])
    query_key = network.get_query_values(rgb[:, 1])[3]
    same = propagation.get_attention(key, gt[:, 0], 1 - gt[:, 0], query_key)[:, :1, 8::16, 8::16]
    cells = out["moved_1"][:, 0].reshape([2, 1, 2, 3])
    assert (cells > 0).all() and abs(float(cells.mean()) - float(same.mean())) < 0.05
    assert "moved_1" not in network(rgb, gt)
    np.testing.assert_array_equal(network(rgb, gt, 1 - gt, paddle.ones([2, 2]))["logits_2"], out["logits_2"])


def test_voc_weights_become_s2m():
    rng = np.random.default_rng(0)
    voc = {"backbone.conv1.weight": rng.normal(size=(64, 3, 7, 7)),
           "classifier.classifier.3.weight": rng.normal(size=(21, 256, 1, 1)),
           "classifier.classifier.3.bias": np.ones(21)}
    state = initial.s2m_from_voc(voc, 1, rng)
    assert state["backbone.conv1.weight"].shape == (64, 6, 7, 7)
    assert state["classifier.classifier.3.weight"].shape == (1, 256, 1, 1) and not state["classifier.classifier.3.bias"]
    assert np.linalg.norm(state["classifier.classifier.3.weight"]) == pytest.approx(1.0)
