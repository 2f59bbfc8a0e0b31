"""A second reference: transformers' own CLIPModel and XCLIPModel, in float64, with our weights under their names."""
import numpy as np
import paddle
import pytest

from models import conversion
from models.actionclip import ActionCLIP, canonical
from models.actionclip import upstream_name as actionclip_name
from models.backbones.clip import unit
from models.backbones.clip_names import from_hugging_face, to_hugging_face
from models.xclip import XCLIP
from models.xclip import upstream_name as xclip_name

transformers = pytest.importorskip("transformers", reason="transformers, the second reference, is not installed")
torch = pytest.importorskip("torch", reason="PyTorch is not installed")

SIZES = {"embed_dim": 128, "image_resolution": 32, "vision_layers": 2, "vision_width": 128, "vision_patch_size": 8,
         "context_length": 20, "vocab_size": 60, "transformer_width": 64, "transformer_layers": 2}
TEXT = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 1, "vocab_size": 60,
        "max_position_embeddings": 20, "eos_token_id": 59, "bos_token_id": 58, "pad_token_id": 59}
VISION = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 2,
          "image_size": 32, "patch_size": 8}
FRAMES = 4
IDS = np.array([[58, 3, 5, 59, *[0] * 16], [58, 9, 8, 7, 6, 59, *[0] * 14], [58, 11, 59, *[0] * 17]])


@pytest.fixture(autouse=True)
def double():
    before = paddle.get_default_dtype()
    paddle.set_default_dtype("float64")
    paddle.seed(0)
    yield
    paddle.set_default_dtype(before)


def lively(network):
    """Weights away from their start, so that nothing is hidden by a 0 or a 1."""
    rng = np.random.default_rng(0)
    for parameter in network.parameters():
        noise = rng.normal(size=parameter.shape, scale=0.05)
        parameter.set_value(parameter + paddle.to_tensor(noise))
    network.eval()
    return network


def loaded(theirs, network, upstream_name, *, video):
    """``theirs`` with our weights, every entry of it."""
    state = conversion.to_upstream(conversion.arrays(network), network, upstream_name)
    renamed = {name: torch.from_numpy(np.array(array)) for name, array in to_hugging_face(state, video=video).items()}
    theirs = theirs.double().eval()
    theirs.load_state_dict(renamed, strict=True)
    return theirs, state


def close(ours, theirs):
    theirs = theirs.detach().numpy()
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=0, atol=1e-9 * np.abs(theirs).max())


def test_clip():
    network = lively(ActionCLIP(fusion="meanP", segments=FRAMES, **SIZES))
    theirs, state = loaded(transformers.CLIPModel(transformers.CLIPConfig(
        text_config=TEXT, vision_config=VISION, projection_dim=128)), network, actionclip_name, video=False)
    images = np.random.default_rng(1).normal(size=(3, 3, 32, 32))
    with torch.no_grad():
        found = theirs(input_ids=torch.from_numpy(IDS), pixel_values=torch.from_numpy(images))
    close(network.clip(paddle.to_tensor(images), paddle.to_tensor(IDS)), found.logits_per_image)
    close(unit(network.encode_text(paddle.to_tensor(IDS))), found.text_embeds)
    back = canonical({name: tensor.numpy() for name, tensor in theirs.state_dict().items()})
    assert all(np.array_equal(back[name], state[name]) for name in state) and back.keys() == state.keys()


def test_xclip():
    network = lively(XCLIP(frames=FRAMES, **SIZES))
    theirs, state = loaded(transformers.XCLIPModel(transformers.XCLIPConfig(
        text_config=TEXT, projection_dim=128, prompt_layers=2, prompt_num_attention_heads=2,
        vision_config={**VISION, "num_frames": FRAMES, "mit_hidden_size": 128, "mit_intermediate_size": 512,
                       "mit_num_hidden_layers": 1, "mit_num_attention_heads": 2})), network, xclip_name, video=True)
    clips = np.random.default_rng(2).normal(size=(2, FRAMES, 3, 32, 32))
    with torch.no_grad():
        found = theirs(input_ids=torch.from_numpy(IDS), pixel_values=torch.from_numpy(clips))
    logits = network(paddle.to_tensor(clips), network.encode_text(paddle.to_tensor(IDS)))
    close(logits, found.logits_per_video)
    back = from_hugging_face({name: tensor.numpy() for name, tensor in theirs.state_dict().items()})
    assert all(np.array_equal(back[name], state[name]) for name in state) and back.keys() == state.keys()
