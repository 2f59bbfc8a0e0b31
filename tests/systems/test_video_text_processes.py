"""Two processes see each other's features: together they take the gradient of the whole batch."""
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

CHECK = """
import sys
import numpy as np, paddle
from engine import config as configuration, distributed
from losses.contrastive import video_text_loss
from systems.actionclip import ActionCLIPSystem

distributed.initialize()
rank = distributed.rank()
assert distributed.world_size() == 2
paddle.set_default_dtype("float64")
paddle.seed(0)
system = ActionCLIPSystem(configuration.load(ActionCLIPSystem.Config, None, [
    "network.arch=custom", "network.custom={image_resolution: 8, vision_width: 64, vision_layers: 1, "
    "transformer_layers: 1}", "data.size=8", "data.frames=2", "data.labels=hmdb_51", "network.fusion=meanP",
    "output_dir=" + sys.argv[1]]))
network = system.network()
distributed.broadcast(network)
frames = np.random.default_rng(0).normal(size=(4, 2, 3, 8, 8))
labels, templates = np.array([3, 8, 3, 20]), np.array([0, 1, 2, 3])


def gradients(averaged):
    if averaged:
        distributed.average_gradients(network.parameters())
    found = {name: p.grad.numpy().copy() for name, p in network.named_parameters() if p.grad is not None}
    network.clear_gradients()
    return found


mine = slice(2 * rank, 2 * rank + 2)
losses = system.training_step(network, {"frames": paddle.to_tensor(frames[mine]),
                                        "label": paddle.to_tensor(labels[mine]),
                                        "template": paddle.to_tensor(templates[mine])})
losses["loss"].backward()
shared = gradients(averaged=True)
ids = system.ids(system.labels, system.templates)[templates * 51 + labels]
whole = video_text_loss(network(paddle.to_tensor(frames)), network.encode_text(paddle.to_tensor(ids)),
                        paddle.to_tensor(labels), network.clip.logit_scale.exp())["total"]
whole.backward()
alone = gradients(averaged=False)
assert abs(float(losses["loss"]) - float(whole)) < 1e-12
assert shared.keys() == alone.keys() and "clip.logit_scale" in alone
for name in alone:
    error = np.abs(shared[name] - alone[name]).max() / max(np.abs(alone[name]).max(), 1e-9)
    assert error < 1e-9, (name, error)
"""


def test_two_processes_match_within_the_whole_batch(tmp_path):
    (tmp_path / "check.py").write_text(CHECK)
    run = subprocess.run([sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir",
                          str(tmp_path / "log"), str(tmp_path / "check.py"), str(tmp_path / "out")], cwd=ROOT,
                         capture_output=True, text=True, timeout=300,
                         env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
    logs = "".join(path.read_text() for path in sorted((tmp_path / "log").glob("workerlog.*")))
    assert run.returncode == 0, run.stdout + logs
