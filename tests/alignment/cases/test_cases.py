"""What the built-in cases promise, without running them."""
from __future__ import annotations

import importlib

import numpy as np
import pytest

pytest.importorskip("torch")

from alignment import short_training
from alignment.align import available_systems
from alignment.bundle import Run
from alignment.cases import clip_outputs
from alignment.cases.dff import in_order, recorded, trained_term
from alignment.cases.mivos import inputs, manifests
from datasets.synthetic import LAYOUTS
from engine import config as configuration
from systems import SYSTEMS, find_system


@pytest.mark.parametrize("system", available_systems())
def test_only_cases_without_a_network_say_that_they_have_none(system):
    twin = importlib.import_module(f"alignment.cases.{system}.twin")
    for manifest in importlib.import_module(f"alignment.cases.{system}").manifests():
        if manifest.get("state") == []:
            assert twin.state_entries(manifest) == [], manifest["case"]


def test_every_system_has_cases():
    assert available_systems() == sorted(SYSTEMS)


@pytest.mark.parametrize("system", sorted(SYSTEMS))
def test_the_first_steps_of_every_mini_run_can_be_trained_on_both_sides(system):
    sides = [importlib.import_module(f"alignment.cases.{system}.{side}") for side in ("ours", "twin")]
    found = [one for one in importlib.import_module(f"alignment.cases.{system}").manifests() if "prepare" in one]
    assert found[0]["case"] == "mini_50_steps"
    for manifest in found:
        _check_short_training(system, manifest, sides)


def _check_short_training(system, manifest, sides):
    for side in sides:
        assert short_training.STAGE in side.stages(manifest["network"])
    request = manifest["prepare"]
    assert request["steps"] == 50 and request["layout"] in LAYOUTS
    config = configuration.load(find_system(system).Config, request["run"],
                                [text.replace("{data}", "/prepared/data") for text in request["overrides"]])
    assert config.system == system and config.data.root == "/prepared/data"
    for about in ({"names": request["names"]}, *request["companions"].values()):
        for path in about.values():
            module, function = path.split(":")
            assert callable(getattr(importlib.import_module(module), function)), path


def test_a_single_object_needs_no_selector():
    manifest = next(one for one in manifests() if one["case"] == "single_object")
    batch = inputs.propagation_train(Run({**manifest, "state": []}, "forward", "float32"))
    assert set(batch) == {"rgb", "gt", "cls_gt"} and set(np.unique(batch["cls_gt"])) == {0, 1}


def test_a_tower_is_brought_into_our_layout():
    def tokens(batch):  # tokens first, as the twin has them
        return np.arange(4.0)[:, None, None] + 10 * np.arange(batch)[:, None] + np.zeros(3)
    arrays = {"transformer.resblocks.0.attn.0": tokens(2), "transformer.resblocks.1.ln_1": tokens(2),
              "transformer.resblocks.1": tokens(2), "visual.transformer.resblocks.0": tokens(5),
              "visual.transformer.resblocks.1.mlp.c_fc": tokens(5), "ln_final": tokens(2).transpose(1, 0, 2),
              "mit.resblocks.0": tokens(5), "visual.transformer.resblocks.0.message_fc": np.ones((5, 3)),
              "visual.proj": np.ones(2)}
    made = clip_outputs.twins(arrays, end=np.array([1, 2]), whole=("mit.resblocks",))
    shapes = {name: array.shape for name, array in made.items()}
    assert shapes == {
        "transformer.resblocks.0.attn": (2, 3, 3), "transformer.resblocks.1.ln_1": (2, 3, 3),  # cut behind the longest
        "transformer.resblocks.1": (2, 1, 3), "visual.transformer.resblocks.0": (5, 4, 3),  # the last: what is read
        "visual.transformer.resblocks.1.mlp.c_fc": (5, 1, 3), "ln_final": (2, 1, 3), "mit.resblocks.0": (5, 4, 3),
        "visual.transformer.resblocks.0.message_fc": (5, 3)}
    assert made["ln_final"][:, 0, 0].tolist() == [1.0, 12.0]  # token 1 of sentence 0, token 2 of sentence 1


def test_the_message_is_taken_from_the_tokens_of_a_frame():
    name = "visual.transformer.resblocks.0"
    made = clip_outputs.without_message({f"{name}.ln_1": np.zeros((2, 5, 3)), f"{name}.attn": np.zeros((2, 5, 3)),
                                         f"{name}.ln_2": np.zeros((2, 4, 3))})
    assert {key: array.shape[1] for key, array in made.items()} == {
        f"{name}.ln_1": 4, f"{name}.ln_1#2": 1, f"{name}.attn": 4, f"{name}.ln_2": 4}


def test_results_of_flow_features_stand_where_they_come_into_being():
    layers = {"net_feat.a": 0, "flownet.b": 1, "net_task": 2}
    assert list(in_order(layers, 3, 4, 5, 6)) == ["net_feat.a", "key", "flownet.b", "flow", "warped", "net_task",
                                                  "pred"]


def test_layers_and_blocks_of_flow_features_are_recorded():
    state = ["net_feat.model.backbone.layer1.0.conv1.weight", "net_feat.model.backbone.stem.0.bn1.running_mean",
             "net_feat.model.decode_head.bottleneck.conv.weight", "flownet.conv1.0.weight", "flownet.conv4_1.0.weight",
             "flownet.deconv5.0.weight"]
    assert recorded(state) == {
        "net_feat.model.backbone.layer1.0", "net_feat.model.backbone.layer1.0.conv1",
        "net_feat.model.backbone.stem.0.bn1", "flownet.conv4_1", "flownet.conv4_1.0"}


def test_an_auxiliary_head_rests_where_the_case_says_so():
    assert [trained_term({"auxiliary_steps": 2}, step) for step in range(4)] == ["total", "total", "decode", "decode"]
    assert [trained_term({}, step) for step in range(2)] == ["total", "total"]
