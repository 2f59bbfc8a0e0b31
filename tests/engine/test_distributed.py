"""Two processes by paddle.distributed.launch; each runs CHECK and exits with 0 only if all of it holds."""
import os
import subprocess
import sys
from pathlib import Path

import paddle

from engine import distributed

ROOT = Path(__file__).parents[2]

CHECK = """
import numpy as np, paddle
from engine import distributed
from engine.precise_bn import update_statistics
from models.layers import BatchNorm1D

distributed._BUCKET = 5  # several buckets, also within one dtype
distributed.initialize(); distributed.initialize()
rank = distributed.rank()
assert distributed.world_size() == 2 and distributed.is_main() == (rank == 0)
assert distributed.gather({"rank": rank, "text": "x" * 100 * rank}) == [
    {"rank": 0, "text": ""}, {"rank": 1, "text": "x" * 100}]
assert distributed.mean({"a": 1.0 + rank, "b": 4.0}) == {"a": 1.5, "b": 4.0}
assert distributed.any_of(rank == 1, False) == [True, False]

network = paddle.nn.Linear(2, 3)
network.weight.set_value(paddle.full([2, 3], float(rank)))
distributed.broadcast(network)
assert float(network.weight.abs().max()) == 0.0

shapes = {"both": [2, 3], "first": [4], "scalar": [], "none": [2], "double": [3]}
parameters = {name: paddle.create_parameter(shape, "float64" if name == "double" else "float32")
              for name, shape in shapes.items()}
loss = sum((parameters[name] * (rank + 1.0)).sum().astype("float64") for name in ("both", "scalar", "double"))
if rank == 0:
    loss = loss + (parameters["first"] * 3.0).sum()
loss.backward()
distributed.average_gradients(parameters.values())
for name, wanted in {"both": 1.5, "first": 1.5, "scalar": 1.5, "double": 1.5}.items():
    assert parameters[name].grad.shape == shapes[name], name
    assert np.all(parameters[name].grad.numpy() == wanted), name
assert parameters["none"].grad is None

layer = BatchNorm1D(2)
update_statistics(layer, [paddle.to_tensor([[0.0, 1.0], [2.0, 3.0]]) + 10.0 * rank], layer, count=1)
assert layer._mean.tolist() == [6.0, 7.0] and layer._variance.tolist() == [1.0, 1.0], layer._mean
distributed.barrier()
"""


def test_two_processes(tmp_path):
    (tmp_path / "check.py").write_text(CHECK)
    run = subprocess.run([sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir",
                          str(tmp_path / "log"), str(tmp_path / "check.py")], cwd=ROOT, capture_output=True, text=True,
                         env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, timeout=300)
    logs = "".join(path.read_text() for path in sorted((tmp_path / "log").glob("workerlog.*")))
    assert run.returncode == 0, run.stdout + logs


def test_one_process_needs_nothing():
    distributed.initialize()
    assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
    assert distributed.gather("x") == ["x"] and distributed.any_of(True, False) == [True, False]
    assert distributed.mean({"a": 1.0}) == {"a": 1.0}
    parameter = paddle.create_parameter([1], "float32")
    distributed.average_gradients([parameter])
    distributed.average([parameter])
    distributed.broadcast(paddle.nn.Linear(1, 1))
    distributed.barrier()
    assert parameter.grad is None
