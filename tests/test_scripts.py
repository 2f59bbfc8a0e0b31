"""The root scripts as a user calls them, in order: train, test, predict, export, infer, convert."""
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
SMALL = ["-c", "configs/mvf/mini.yaml", "-o", "network.base_channels=8", "data.clip_len=4", "data.short_side=32",
         "data.train_size=32", "data.test_size=32", "data.test_clips=1", "train.workers=0"]


def run(*arguments, status=0):
    done = subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == status, f"{arguments}: {done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def trained(miniature, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scripts")
    run("train.py", *SMALL, "--dataset_root", miniature("ucf101"), "--output_dir", folder, "--max_epochs", 1,
        "-o", "train.max_steps=3", "train.log_iters=1")
    return folder


def test_train_leaves_what_it_promises(trained):
    assert {"latest", "best", "log.jsonl", "curves.png", "config.yaml"} <= {path.name for path in trained.iterdir()}
    records = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert sum(record.get("kind") == "train" for record in records) == 3


def test_processes_have_joined_before_the_first_weights(monkeypatch):
    import train  # statistics of the first weights may be averages over all processes

    order = []
    system = SimpleNamespace(network=lambda: order.append("network"), initial_weights=lambda _: order.append("weights"))
    command = SimpleNamespace(system=system, config=SimpleNamespace(seed=0, output_dir="none"))
    monkeypatch.setattr(train, "parse", lambda *arguments: command)
    monkeypatch.setattr(train.distributed, "initialize", lambda: order.append("joined"))
    monkeypatch.setattr(train, "fit", lambda *arguments, **options: SimpleNamespace(best=None))
    train.main()
    assert order == ["joined", "network", "weights"]


def test_resume_continues(trained, miniature):
    text = run("train.py", *SMALL, "--dataset_root", miniature("ucf101"), "--output_dir", trained, "--max_epochs", 1,
               "--resume", "latest", "-o", "train.max_steps=4", "train.log_iters=1")
    assert "resumed from" in text


def test_test_prints_and_saves_metrics(trained, miniature):
    text = run("test.py", *SMALL, "--dataset_root", miniature("ucf101"), "--output_dir", trained,
               "--pretrained", trained / "best" / "model.pdparams")
    metrics = json.loads((trained / "metrics_test.json").read_text())
    assert f"top1_acc: {metrics['top1_acc']:.6f}" in text


def test_predict_export_and_infer_agree(trained, miniature):
    weights = trained / "best" / "model.pdparams"
    video = sorted((miniature("ucf101") / "videos").rglob("*.avi"))[5]
    text = run("predict.py", *SMALL, "--video", video, "--pretrained", weights, "--save_dir", trained / "predicted")
    saved = json.loads((trained / "predicted" / "prediction.json").read_text())
    assert "saved " in text and f"Top1 class:{saved['top'][0]['class']}" in text
    run("export_model.py", *SMALL, "--model_path", weights, "--save_dir", trained / "exported")
    run("deploy/infer.py", "--model_dir", trained / "exported", "--input", video, "--batch_size", 2,
        "--enable_mkldnn=False", "--output", trained / "inferred.json")
    inferred = json.loads((trained / "inferred.json").read_text())["results"][0]
    assert inferred["label"] == saved["top"][0]["class"]
    assert np.isclose(inferred["score"], saved["top"][0]["prob"], atol=1e-5)


def test_conversion_counts_entries(trained, tmp_path):
    weights = trained / "best" / "model.pdparams"
    text = run("-m", "models.conversion", "mvf", weights, tmp_path / "out.pdparams", *SMALL)
    assert "entries of the network loaded" in text and (tmp_path / "out.pdparams").is_file()
    text = run("-m", "models.conversion", "mvf", weights, tmp_path / "other.pdparams", status=1)
    assert "missing" in text and not (tmp_path / "other.pdparams").exists()


@pytest.mark.parametrize(("script", "arguments", "message"), [
    ("train.py", ["--max_epoch", "3"], "unknown option --max_epoch; did you mean --max_epochs?"),
    ("train.py", ["-o", "optimizer.lrr=1"], "did you mean optimizer.lr?"),
    ("train.py", ["--device", "gpu"], "built for the CPU"),
    ("train.py", ["-c", "configs/mvf/nothing.yaml"], "no such configuration"),
    ("test.py", ["--split", "1"], "--pretrained FILE"),
    ("predict.py", ["--video", "nowhere.mp4"], "--pretrained FILE")])
def test_mistakes_are_named_in_one_line(script, arguments, message):
    done = subprocess.run([sys.executable, script, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (1, 2)
    assert message in done.stderr and "Traceback" not in done.stderr


def test_help_lists_every_option():
    text = run("train.py", "-c", "configs/mvf/mini.yaml", "--help")
    assert "optimizer.weight_decay=" in text and "--dataset_root" in text
