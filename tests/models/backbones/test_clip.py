"""CLIP's short cuts are exact, its sizes can be read from weights, its names translate both ways."""
import numpy as np
import paddle
import pytest

from models import conversion
from models.backbones import clip
from models.backbones.clip_names import from_hugging_face, to_hugging_face

SIZES = {"embed_dim": 64, "image_resolution": 32, "vision_layers": 2, "vision_width": 128, "vision_patch_size": 16,
         "context_length": 12, "vocab_size": 50, "transformer_width": 64, "transformer_layers": 2}
IDS = np.array([[48, 3, 49, 0, 0, 0, 0, 0, 0, 0, 0, 0], [48, 7, 9, 11, 49, 49, 0, 0, 0, 0, 0, 0]])


@pytest.fixture
def network():
    paddle.seed(0)
    before = paddle.get_default_dtype()
    paddle.set_default_dtype("float64")
    yield clip.CLIP(**SIZES)
    paddle.set_default_dtype(before)


def test_cut_sentences_give_the_same_features_and_gradients(network):
    ids, found = paddle.to_tensor(IDS), []
    for shorten in (True, False):
        features = network.encode_text(ids, shorten=shorten)
        network.clear_gradients()
        (features**2).sum().backward()
        found.append((features.numpy(), network.positional_embedding.grad.numpy()))
    for short, whole in zip(*found, strict=True):
        np.testing.assert_allclose(short, whole, rtol=0, atol=1e-13 * np.abs(whole).max())


def test_read_out_token_only_equals_the_whole_last_block(network):
    x = paddle.randn([3, 5, 128], dtype="float64")
    tower = network.visual.transformer
    np.testing.assert_allclose(tower(x, read=0).numpy(), tower(x)[:, :1].numpy(), atol=1e-13)


def test_sizes_are_read_from_upstream_entries(network):
    state = conversion.to_upstream(conversion.arrays(network), network, clip.upstream_name)
    assert clip.sizes(state) == SIZES
    with pytest.raises(ValueError, match="ResNet image tower"):
        clip.sizes({"visual.layer1.0.conv1.weight": np.zeros(1)})


def test_another_resolution_is_refused(network):
    with pytest.raises(ValueError, match="48x48 pixels: these weights belong to 32x32"):
        network.encode_image(paddle.zeros([1, 3, 48, 48], dtype="float64"))


def test_hugging_face_names_round_trip(network):
    state = conversion.to_upstream(conversion.arrays(network), network, clip.upstream_name)
    theirs = to_hugging_face(state)
    assert "vision_model.encoder.layers.1.self_attn.q_proj.weight" in theirs
    assert theirs["visual_projection.weight"].shape == (64, 128)
    back = from_hugging_face({**theirs, "text_model.embeddings.position_ids": np.arange(12)})
    assert sorted(back) == sorted(state)
    for name, array in state.items():
        np.testing.assert_array_equal(back[name], array)


@pytest.mark.parametrize(("per", "axis"), [("sample", (1, 2)), ("token", (0, 2))])
def test_stochastic_depth_drops_whole_samples_or_tokens(per, axis):
    paddle.seed(3)
    kept = clip.drop_path(paddle.ones([40, 30, 4]), 0.5, per).numpy()
    assert set(np.unique(kept)) == {0.0, 2.0}
    assert (kept.max(axis) == kept.min(axis)).all()
