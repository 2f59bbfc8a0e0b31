"""ActionCLIP and X-CLIP equal their PyTorch twins in float64, and refuse what their weights cannot do."""
import numpy as np
import paddle
import pytest

from alignment.bundle import Run
from alignment.cases.actionclip import manifests as actionclip_manifests
from alignment.cases.xclip import manifests as xclip_manifests
from deploy.export import Graph, export
from deploy.inference import Predictor
from models import conversion
from models.actionclip import ActionCLIP, shape_arguments, upstream_name
from models.xclip import XCLIP
from models.xclip import shape_arguments as xclip_arguments

CASES = [manifest for manifest in (*actionclip_manifests(), *xclip_manifests()) if manifest["config"]]


@pytest.mark.parametrize("manifest", CASES, ids=lambda manifest: f"{manifest['system']}-{manifest['case']}")
def test_forward_equals_the_twin(manifest):
    pytest.importorskip("torch")
    from importlib import import_module
    ours, twin = (import_module(f"alignment.cases.{manifest['system']}.{side}") for side in ("ours", "twin"))
    manifest["state"] = twin.state_entries(manifest)
    run = Run(manifest, "forward", "float64")
    want, got = twin.forward(run), ours.forward(run)
    assert sorted(got) == sorted(want)
    for name, array in want.items():
        assert got[name].shape == array.shape, name
        np.testing.assert_allclose(got[name], array, rtol=0, atol=1e-11 * max(np.abs(array).max(), 1e-12), err_msg=name)


TOWERS = {"embed_dim": 64, "image_resolution": 32, "vision_layers": 1, "vision_width": 64, "vision_patch_size": 16,
          "context_length": 8, "vocab_size": 20, "transformer_width": 64, "transformer_layers": 1}


@pytest.mark.parametrize(("fusion", "options"), [("meanP", {}), ("Transf", {"temporal_shift": True}), ("LSTM", {}),
                                                 ("Transf_cls", {}), ("meanP", {"joint": True})])
def test_checkpoint_shapes_tell_the_network(fusion, options):
    network = ActionCLIP(fusion=fusion, segments=3, **options, **TOWERS)
    state = conversion.to_upstream(conversion.arrays(network), network, upstream_name)
    told = shape_arguments(state)
    rebuilt = ActionCLIP(**{"segments": 3, **told})
    conversion.from_upstream(state, rebuilt, upstream_name)
    assert told["fusion"] == fusion and told["joint"] == options.get("joint", False)


def test_xclip_refuses_another_number_of_frames():
    network = XCLIP(frames=4, **TOWERS)
    with pytest.raises(ValueError, match="clips of 3 frames: this network integrates exactly 4"):
        network(paddle.zeros([1, 3, 3, 32, 32]), paddle.zeros([2, 64]))
    assert xclip_arguments(conversion.arrays(network))["frames"] == 4


def test_the_token_that_reads_frames_has_eight_heads_whatever_the_width():
    """As the original, which does not derive them from the width: seen with text towers that are not 512 wide."""
    network = ActionCLIP(fusion="Transf_cls", segments=3, **TOWERS)
    assert {layer.self_attn.heads for layer in network.fusion.transformer.transformer_enc.layers} == {8}


def test_joint_and_shift_exclude_each_other():
    with pytest.raises(ValueError, match="exclude each other"):
        ActionCLIP(fusion="meanP", segments=2, joint=True, temporal_shift=True, **TOWERS)


@pytest.mark.parametrize("patch", [32, 16])
def test_a_joint_network_is_the_same_exported(tmp_path, patch):
    """The engine fused the transpose before the frames are joined with the reshape behind it, to a wrong type."""
    clip = {"embed_dim": 32, "image_resolution": 32, "vision_patch_size": patch, "vision_width": 64, "vision_layers": 1,
            "transformer_width": 64, "transformer_layers": 1, "context_length": 8, "vocab_size": 50}
    network = ActionCLIP(fusion="meanP", segments=3, joint=True, **clip)
    network.eval()
    spec = paddle.static.InputSpec([-1, 3, 3, 32, 32], "float32", "frames")
    export({"inference": Graph(network, [spec], ["features"])}, tmp_path, {"system": "actionclip"})
    frames = np.random.default_rng(0).normal(size=(2, 3, 3, 32, 32)).astype("float32")
    with paddle.no_grad():
        wanted = network(paddle.to_tensor(frames)).numpy()
    assert wanted.shape == (2, 32)
    for onednn in (True, False):
        found = Predictor(tmp_path, onednn=onednn).run({"frames": frames})["features"]
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())
