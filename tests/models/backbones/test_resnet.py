import numpy as np
import paddle
import pytest

from alignment import paddle_tools, recipe, torch_tools
from models.backbones.resnet import ResNet

torch = pytest.importorskip("torch")
from alignment.reference.resnet import ResNet as Twin  # noqa: E402

FORMS = [
    {"depth": 18}, {"depth": 34, "out_stages": (0, 1, 2, 3)}, {"depth": 50, "num_stages": 3, "out_stages": (1, 2)},
    {"depth": 50, "conv_bias": True, "in_channels": 5, "num_stages": 3, "out_stages": (2,)},
    {"depth": 50, "stem_widths": (16, 16, 32), "strides": (1, 2, 1, 1), "dilations": (1, 1, 2, 4),
     "contract_dilation": True},
    {"depth": 50, "style": "caffe"}, {"depth": 50, "average_down": True}, {"depth": 50, "average_stride": "after"},
    {"depth": 50, "average_stride": "before", "average_down": True}, {"depth": 18, "base_channels": 8},
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(map(str, form.values())))
def test_forms_equal_torch_in_float64(form):
    twin = Twin(**form).double().eval()
    state = recipe.state_dict({"state": torch_tools.state_entries(twin)})
    twin.load_state_dict({name: torch.from_numpy(np.array(array)).double() if array.dtype.kind == "f"
                          else torch.from_numpy(np.array(array)) for name, array in state.items()})
    network = paddle_tools.build(lambda: ResNet(**form), state, "float64")
    x = np.random.default_rng(0).normal(size=(2, form.get("in_channels", 3), 37, 45))
    ours, theirs = network(paddle.to_tensor(x)), twin(torch.from_numpy(x))
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        b = b.detach().numpy()
        np.testing.assert_allclose(a.numpy(), b, rtol=0, atol=1e-10 * np.abs(b).max())
    assert [o.shape[1] for o in ours] == [network.channels[k] for k in form.get("out_stages", (3,))]


@pytest.mark.parametrize(("options", "trained", "in_eval"), [
    ({"frozen_stages": 1}, "layer2.0.conv1.weight", "layer1.0.bn1"),
    ({"norm_eval": True}, "bn1.weight", "layer4.0.bn2"),
    ({"norm_eval": True, "norm_frozen": True}, "conv1.weight", "layer4.0.bn2"),
    ({"frozen_stages": 2, "partial_norm": True}, "layer3.0.bn1.weight", "layer2.1.bn2")])
def test_frozen_parts_equal_torch(options, trained, in_eval):
    network, twin = ResNet(depth=18, **options), Twin(depth=18, **options)
    network.train()
    twin.train()
    ours = {name: not p.stop_gradient for name, p in network.named_parameters()
            if not name.endswith(("_mean", "_variance"))}
    assert ours == {name: p.requires_grad for name, p in twin.named_parameters()}
    assert ours[trained]
    assert not dict(network.named_sublayers())[in_eval].training
    assert not dict(twin.named_modules())[in_eval].training


def test_unknown_forms_are_refused():
    with pytest.raises(ValueError, match="depth 51"):
        ResNet(depth=51)
    with pytest.raises(ValueError, match="style"):
        ResNet(depth=18, style="torch")
