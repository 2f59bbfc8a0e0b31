import paddle
from paddle import nn

from models.layers import init


class Small(nn.Layer):
    def __init__(self):
        super().__init__()
        self.project = nn.Linear(3, 4)
        self.norm = nn.LayerNorm(4)
        init.torch_default_(self.project)
        init.trunc_normal_(self.norm.weight, 0.02)


def test_skipped_leaves_zeros_and_ends():
    with init.skipped():
        inside = Small()
        with init.skipped():
            pass
        inside_again = Small()
    after = Small()
    for network in (inside, inside_again):
        assert all(not parameter.numpy().any() for parameter in network.parameters())
    assert all(parameter.numpy().all() for parameter in (after.project.weight, after.project.bias, after.norm.weight))


def test_skipped_ends_after_an_error():
    class Fails(nn.Layer):
        def __init__(self):
            raise KeyError("no such size")

    try:
        with init.skipped():
            Fails()
    except KeyError:
        pass
    assert Small().project.weight.numpy().all()
    assert paddle.nn.Linear(2, 2).weight.numpy().any()
