"""The library on two small networks: a clean port passes, every planted mistake is found where it is."""
from __future__ import annotations

import copy
import subprocess
import sys

import numpy as np
import paddle
import pytest
import torch

import alignment
from alignment.own import comparison

NAMES = {"head": "classifier"}


class Reference(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 4, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(4)
        self.act = torch.nn.ReLU(inplace=True)
        self.classifier = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.GELU(), torch.nn.Linear(4, 3))

    def forward(self, x):
        return self.classifier(self.act(self.norm(self.conv(x))).mean((2, 3)))


class Port(paddle.nn.Layer):
    def __init__(self, eps=1e-5, momentum=0.9, gelu="none", bias=None, scale=1.0):
        super().__init__()
        self.scale = scale
        self.conv = paddle.nn.Conv2D(2, 4, 3, padding=1, bias_attr=bias)
        self.norm = paddle.nn.BatchNorm2D(4, momentum=momentum, epsilon=eps)
        self.act = paddle.nn.ReLU()
        self.head = paddle.nn.Sequential(paddle.nn.Linear(4, 4), paddle.nn.GELU(approximate=gelu == "tanh"),
                                         paddle.nn.Linear(4, 3))

    def forward(self, x):
        return self.head(self.act(self.norm(self.conv(x))).mean((2, 3)) * self.scale)


@pytest.fixture
def reference():
    torch.manual_seed(3)
    network = Reference()
    network.norm.running_mean.uniform_(-0.5, 0.5)
    network.norm.running_var.uniform_(0.5, 1.5)
    return network


@pytest.fixture
def batch():
    return [np.random.default_rng(0).normal(size=(5, 2, 7, 6))]


def ported(reference, **options):
    network = Port(**options)
    alignment.copy_weights(reference, network, NAMES)
    return network


SGD = (lambda network: torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01),
       lambda network: paddle.optimizer.Momentum(0.1, 0.9, network.parameters(), weight_decay=0.01))
VARIANCE = [alignment.Allowance("running_var$", "biased", float32=0.2, float64=0.2)]


def test_a_clean_port_agrees_in_every_step_and_nothing_is_changed(reference, batch):
    port = ported(reference)
    before = copy.deepcopy(reference.state_dict()), {name: t.numpy().copy() for name, t in port.state_dict().items()}
    forward = alignment.compare_forward(reference, port, batch, NAMES)
    assert forward.passed and forward.first is None and forward.faulty_alone == []
    assert len(forward.alone) == 6 and not forward.apart
    assert alignment.compare_backward(reference, port, batch, NAMES).passed
    assert alignment.compare_training(reference, port, batch, NAMES, optimizer=SGD, allowances=VARIANCE).passed
    assert all(torch.equal(tensor, before[0][name]) for name, tensor in reference.state_dict().items())
    assert all(np.array_equal(tensor.numpy(), before[1][name]) for name, tensor in port.state_dict().items())


@pytest.mark.parametrize(("fault", "first", "alone"), [
    ({"eps": 1e-4}, "forward64/norm", ["norm"]),
    ({"gelu": "tanh"}, "forward64/classifier.1", ["classifier.1"]),
    ({"scale": 1.001}, "forward64/input of classifier", []),
])
def test_a_mistake_is_located_and_told_from_its_consequences(reference, batch, fault, first, alone):
    found = alignment.compare_forward(reference, ported(reference, **fault), batch, NAMES)
    assert found.first.key == first
    assert found.faulty_alone == alone


def test_a_square_matrix_that_was_not_transposed_is_a_wrong_weight(reference, batch):
    port = ported(reference)
    port.head[0].weight.set_value(port.head[0].weight.t())
    found = alignment.compare_forward(reference, port, batch, NAMES)
    assert found.first.key == "weights/classifier.0.weight"
    assert "copy_weights first" in str(found)


def test_a_wrong_statistics_rate_shows_only_in_training_mode(reference, batch):
    port = ported(reference, momentum=0.99)
    assert alignment.compare_forward(reference, port, batch, NAMES).passed
    found = alignment.compare_forward(reference, port, batch, NAMES, training=True, allowances=VARIANCE)
    assert found.first.key == "forward64/buffer:norm.running_mean"


def test_a_gradient_that_exists_on_one_side_only_is_a_finding(reference, batch):
    port = ported(reference)
    port.norm.bias.stop_gradient = True
    found = alignment.compare_backward(reference, port, batch, NAMES)
    assert found.first.key == "backward64/grad:norm.bias"
    assert found.first.finding == "missing"


def test_a_gradient_of_rounding_only_does_not_widen_what_is_allowed(reference, batch):
    found = alignment.compare_backward(reference, ported(reference, eps=1e-3), batch, NAMES, training=True,
                                       dtypes=("float32",))
    wrong = {verdict.key for verdict in found.verdicts if not verdict.passed}
    assert "backward/grad:conv.weight" in wrong and "backward/grad:conv.bias" not in wrong
    assert max(verdict.allowed for verdict in found.verdicts) < 1e-4


def test_gradients_come_from_the_layer_that_ran_last_to_the_first(reference, batch):
    keys = [verdict.key for verdict in alignment.compare_backward(reference, ported(reference), batch, NAMES).verdicts]
    names = [key.removeprefix("backward64/grad:") for key in keys if key.startswith("backward64/grad:")]
    assert [name.rsplit(".", 1)[0] for name in names[:-1:2]] == ["classifier.2", "classifier.0", "norm", "conv"]
    assert names[-1] == "input 0"


def test_a_wrong_optimizer_shows_in_the_parameters_and_not_in_the_first_loss(reference, batch):
    wrong = (SGD[0], lambda network: paddle.optimizer.Momentum(0.1, 0.9, network.parameters()))
    found = alignment.compare_training(reference, ported(reference), batch, NAMES, optimizer=wrong, steps=3,
                                       allowances=VARIANCE)
    assert found.first.key == "train64/losses"
    assert {"train64/param:conv.weight", "train/param:conv.weight"} <= {v.key for v in found.verdicts if not v.passed}


def test_a_schedule_steps_with_the_optimizer(reference, batch):
    def torch_side(network):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        return optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 2)

    def paddle_side(network):
        schedule = paddle.optimizer.lr.StepDecay(0.1, 2)
        return paddle.optimizer.SGD(schedule, network.parameters()), schedule
    found = alignment.compare_training(reference, ported(reference), batch, NAMES, optimizer=(torch_side, paddle_side),
                                       allowances=VARIANCE)
    assert found.passed
    assert np.unique(found.kept["ref"]["train64/rates"]).size == 3


def test_not_a_number_never_agrees(reference, batch):
    port = ported(reference)
    for network in (reference, port):
        network.conv.bias.data.fill_(float("nan")) if network is reference else network.conv.bias.set_value(
            paddle.full([4], float("nan")))
    found = alignment.compare_forward(reference, port, batch, NAMES)
    assert found.first.key == "weights/conv.bias"
    assert found.first.finding == "finite"


def test_one_settings_do_not_reach_the_next_comparison(reference, batch):
    port = ported(reference, eps=1e-4)
    loose = alignment.Allowance(".", "everything", float32=1.0, float64=1.0)
    assert alignment.compare_forward(reference, port, batch, NAMES, allowances=[loose]).passed
    assert not alignment.compare_forward(reference, port, batch, NAMES).passed


def test_a_table_that_fits_nothing_is_refused(reference, batch):
    with pytest.raises(ValueError, match=r"the table of names is wrong.*conv.*norm"):
        alignment.compare_forward(reference, ported(reference), batch, lambda name: f"net.{name}")


def test_dropout_in_training_mode_is_refused(batch):
    reference = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 1), torch.nn.Dropout(0.5))
    port = paddle.nn.Sequential(paddle.nn.Conv2D(2, 2, 1), paddle.nn.Dropout(0.5))
    alignment.copy_weights(reference, port)
    assert alignment.compare_forward(reference, port, batch).passed
    with pytest.raises(ValueError, match="set p = 0 in 1"):
        alignment.compare_forward(reference, port, batch, training=True)


def test_the_networks_must_be_one_of_each(reference, batch):
    with pytest.raises(TypeError, match=r"the reference is a torch\.nn\.Module"):
        alignment.compare_forward(ported(reference), ported(reference), batch)


class TorchAttention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = torch.nn.MultiheadAttention(8, 2, batch_first=True)
        self.lstm = torch.nn.LSTM(8, 5, batch_first=True)

    def forward(self, x, keep):
        return {"words": self.lstm(self.attn(x, x, x, need_weights=False)[0])[0] * keep[..., None]}


class PaddleAttention(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.attn = paddle.nn.MultiHeadAttention(8, 2)
        self.lstm = paddle.nn.LSTM(8, 5)

    def forward(self, x, keep):
        return {"words": self.lstm(self.attn(x, x, x))[0] * keep.astype(x.dtype).unsqueeze(-1)}


def unpack(state):
    """Packed projections of queries, keys and values as three."""
    made = dict(state)
    for kind in ("weight", "bias"):
        parts = np.split(made.pop(f"attn.in_proj_{kind}"), 3) if f"attn.in_proj_{kind}" in made else []
        made.update({f"attn.{letter}_proj.{kind}": part for letter, part in zip("qkv", parts, strict=False)})
    return made


def test_attention_and_recurrent_layers_with_named_inputs_and_packed_weights():
    torch.manual_seed(0)
    reference, port = TorchAttention(), PaddleAttention()
    assert alignment.copy_weights(reference, port, prepare=unpack) == 12
    draw = np.random.default_rng(1)
    batch = {"x": draw.normal(size=(3, 4, 8)), "keep": draw.integers(0, 2, (3, 4))}
    found = alignment.compare_forward(reference, port, batch, prepare=unpack)
    assert found.passed, str(found)
    assert "forward64/output.words" in {verdict.key for verdict in found.verdicts}
    found = alignment.compare_backward(reference, port, batch, prepare=unpack)
    assert found.passed, str(found)
    assert "backward64/grad:input x" in {verdict.key for verdict in found.verdicts}


def test_captures_written_by_two_processes_are_compared(reference, batch, tmp_path):
    alignment.capture(reference, batch, dtype="float64").save(tmp_path / "reference.npz")
    alignment.capture(ported(reference, eps=1e-4), batch, NAMES, dtype="float64").save(tmp_path / "port.npz")
    read = [alignment.Capture.load(tmp_path / f"{name}.npz") for name in ("reference", "port")]
    found = alignment.compare_captures(*read)
    assert found.first.key == "captures/norm"
    assert read[0].layers == ["conv", "norm", "act", "classifier", "classifier.0", "classifier.1", "classifier.2"]


def test_a_capture_in_place_layers_is_a_copy(reference, batch):
    found = alignment.capture(reference, batch)
    assert found.arrays["norm"].min() < 0 <= found.arrays["act"].min()


def test_a_flip_by_rounding_is_judged_by_further_draws(reference, batch, monkeypatch):
    port, draws = ported(reference), []
    real = comparison.Side.forward

    def forward(side, dtype):
        made = real(side, dtype)
        if not side.torch and dtype == "float32":
            made["classifier.0"] = made["classifier.0"] * np.float32(1 + 3e-6)
        elif dtype == "float32":
            draws.append(1)
            if len(draws) == 3:  # the second further draw of the reference scatters as much
                made["classifier.0"] = made["classifier.0"] * np.float32(1 + 3e-6)
        return made
    monkeypatch.setattr(comparison.Side, "forward", forward)
    assert alignment.compare_forward(reference, port, batch, NAMES).passed
    assert len(draws) == 3


def test_importing_the_library_imports_no_framework():
    code = ("import sys, alignment; alignment.__all__; dir(alignment); "
            "sys.exit(bool({'torch', 'paddle'} & set(sys.modules)))")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'compare_everything'"):
        alignment.compare_everything  # noqa: B018
