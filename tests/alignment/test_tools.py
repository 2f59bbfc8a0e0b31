"""What the two sides' tools hand to the cases."""
from __future__ import annotations

import numpy as np
import paddle
import pytest

torch = pytest.importorskip("torch")

from alignment import paddle_tools, torch_tools  # noqa: E402


def test_a_twin_is_built_without_drawing_and_filled_by_the_recipe():
    before, state = torch.get_rng_state(), {"weight": np.ones((2, 3), "float32"), "bias": np.zeros(2, "float32")}
    network = torch_tools.build(lambda: torch.nn.Linear(3, 2), state, "float64")
    assert torch.equal(before, torch.get_rng_state())
    assert network.weight.dtype == torch.float64 and network.weight.tolist() == [[1, 1, 1], [1, 1, 1]]
    assert torch.nn.Linear(3, 2).weight.unique().numel() > 1  # others are filled as ever


def test_fillers_come_back_after_an_error():
    fill = torch.nn.init.uniform_
    with pytest.raises(ValueError, match="no such width"), torch_tools.unfilled():
        raise ValueError("no such width")
    assert torch.nn.init.uniform_ is fill


def test_gradients_in_upstream_layout_without_copies():
    weight, x = np.arange(6, dtype="float32").reshape(2, 3), np.array([[1.0, 2.0, 3.0]], "float32")
    ours, twin = paddle.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    (ours(paddle.to_tensor(x)) * paddle.to_tensor([1.0, 2.0])).sum().backward()
    (twin(torch.from_numpy(x)) * torch.tensor([1.0, 2.0])).sum().backward()
    found, wanted = paddle_tools.gradients(ours), torch_tools.gradients(twin)
    assert found["weight"].shape == weight.shape and list(found) == list(wanted) == ["weight", "bias"]
    for name, gradient in wanted.items():
        np.testing.assert_array_equal(found[name], gradient)
    assert np.shares_memory(found["weight"], np.from_dlpack(ours.weight.grad.detach()))
    assert np.shares_memory(wanted["weight"], twin.weight.grad.numpy())
