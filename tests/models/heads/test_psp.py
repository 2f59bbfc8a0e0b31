"""Pyramid head: the closed form is the plain form."""
import numpy as np
import paddle
import pytest

from alignment.paddle_tools import default_dtype
from models.heads.psp import PSPHead


@pytest.mark.parametrize("size", [(9, 13), (6, 6), (2, 5)])
def test_closed_form_is_exact(size):
    with default_dtype("float64"):
        paddle.seed(0)
        closed, plain = (PSPHead(in_channels=6, width=5, num_classes=4, closed_form=form) for form in (True, False))
    plain.set_state_dict(closed.state_dict())
    closed.eval()
    plain.eval()
    x = paddle.to_tensor(np.random.default_rng(0).normal(size=(2, 6, *size)))
    np.testing.assert_allclose(closed(x).numpy(), plain(x).numpy(), rtol=0, atol=1e-13)
