import json

import pytest

from engine.logger import Meter, RunLog, console, draw_curves, read_log, train_line


def test_meter_averages_over_steps():
    meter = Meter()
    meter.add({"loss": 1.0, "top1": 0.5}, samples=4, reader_seconds=0.1, batch_seconds=0.5)
    meter.add({"loss": 3.0, "top1": 1.0}, samples=2, reader_seconds=0.3, batch_seconds=1.0)
    assert meter.averages() == pytest.approx({"loss": 2.0, "top1": 0.75, "avg_reader_cost": 0.2,
                                              "avg_batch_cost": 0.75, "avg_samples": 3.0, "avg_ips": 4.0})


def test_train_line():
    averages = {"loss": 0.123456, "top1": 0.5, "avg_reader_cost": 0.00123, "avg_batch_cost": 0.12345,
                "avg_samples": 8.0, "avg_ips": 64.8}
    assert train_line(epoch=2, epochs=50, step=10, steps=596, rate=1.25e-3, averages=averages) == (
        "epoch: [2/50], iter: [10/596], lr: 0.00125000, top1: 0.50000, loss: 0.12346, avg_reader_cost: 0.00123 sec, "
        "avg_batch_cost: 0.12345 sec, avg_samples: 8.0, avg_ips: 64.80 images/sec, eta: 1:00:03")


def test_log_is_cut_to_what_the_checkpoint_knew(tmp_path):
    log = RunLog(tmp_path)
    log.write("train", step=1, loss=0.1)
    size = log.size()
    log.write("train", step=2, loss=1 / 3)
    log.close()
    assert [record["step"] for record in read_log(log.path)] == [1, 2]
    assert read_log(log.path)[1]["loss"] == 1 / 3
    log = RunLog(tmp_path, keep=size)
    log.write("train", step=2, loss=0.2)
    log.close()
    assert [record["loss"] for record in read_log(log.path)] == [0.1, 0.2]
    RunLog(tmp_path).close()
    assert read_log(log.path) == []


def test_a_shorter_log_than_expected_is_continued(tmp_path):
    log = RunLog(tmp_path, keep=1000)
    log.write("train", step=1)
    log.close()
    assert log.path.stat().st_size == len(json.dumps({"kind": "train", "step": 1})) + 1


def test_half_a_line_is_left_out(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"kind": "train"}\n{"kin')
    assert read_log(path) == [{"kind": "train"}]


def test_curves(tmp_path):
    log = RunLog(tmp_path)
    for step in range(4):
        log.write("train", updates=step, losses={"loss": 1.0 / (step + 1)}, rates={"base": 0.1, "head": 1.0})
    log.write("evaluation", updates=4, metrics={"top1": 0.5})
    log.close()
    draw_curves(log.path, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
    RunLog(tmp_path).close()  # an empty log has empty curves
    draw_curves(log.path, tmp_path / "curves.png")


def test_console_writes_to_the_present_standard_output(capsys):
    console().info("hello")
    assert capsys.readouterr().out.endswith("paddletwin INFO: hello\n")
