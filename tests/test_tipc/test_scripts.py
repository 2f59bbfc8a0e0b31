"""The small programs of the chain: reading logs, comparing results, keeping the data whole."""
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINES = """noise
[TRAIN] epoch: 1, iter: 10, lr: 0.001, loss: 2.50000, avg_reader_cost: 0.00100 sec, avg_batch_cost: 0.20000 sec, \
avg_samples: 2.0, avg_ips: 10.00 images/sec
[TRAIN] epoch: 1, iter: 20, lr: 0.001, loss: 1.5e0, avg_reader_cost: 0.00300 sec, avg_batch_cost: 0.40000 sec, \
avg_samples: 2.0, avg_ips: 5.00 images/sec
[EVAL] loss: 9.0
"""
RESULT = """Current video file: a[0]
	top-1 class: 3
	top-1 label: up
	top-1 score: 0.250000
Current video file: b
	masks: shape [1, 2], -0.5 to 1e-3, mean 0.25
"""


def run(script: str, *arguments, **options):
    return subprocess.run([sys.executable, str(ROOT / "test_tipc" / script), *map(str, arguments)],
                          capture_output=True, text=True, check=False, **options)


def test_training_log(tmp_path):
    log = tmp_path / "train.log"
    log.write_text(LINES)
    assert json.loads(run("training_log.py", log).stdout) == pytest.approx({
        "lines": 2, "first_loss": 2.5, "last_loss": 1.5, "avg_reader_cost": 0.002, "avg_batch_cost": 0.3,
        "avg_ips": 7.5})
    assert json.loads(run("training_log.py", log, "--skip_steps=1").stdout)["avg_ips"] == 5.0
    log.write_text(LINES.replace("2.50000", "nan"))
    assert "training line 1 is not finite" in run("training_log.py", log).stderr
    log.write_text(LINES.replace("avg_ips", "ips"))
    done = run("training_log.py", log)
    assert (done.returncode, "no line has all of loss" in done.stderr) == (1, True)


@pytest.mark.parametrize(("old", "new", "message"), [
    ("", "", None),
    ("0.250000", "0.250010", None),
    ("0.250000", "0.250020", "top-1 score is 0.25002"),
    ("class: 3", "class: 4", "top-1 class is 4.0"),
    ("score: 0.250000", "score: nan", "top-1 score is nan"),
    ("[1, 2]", "[2, 1]", "masks shape is [2, 1]"),
    ("1e-3", "2e-3", "masks high is 0.002"),
    ("a[0]", "c", "the items differ: ['a[0]', 'c']"),
    ("\ttop-1 score: 0.250000\n", "", "a[0] tells ['top-1 class']"),
    (RESULT, "nothing", "holds no results"),
])
def test_compare_results(tmp_path, old, new, message):
    (tmp_path / "eager.log").write_text(RESULT)
    (tmp_path / "x_1.log").write_text(RESULT)
    (tmp_path / "x_2.log").write_text(RESULT.replace(old, new) if old else RESULT)
    done = run("compare_results.py", f"--gt_file={tmp_path}/eager.log", f"--log_file={tmp_path}/x_*.log")
    if message is None:
        assert (done.returncode, done.stdout.count("are consistent!")) == (0, 2)
    else:
        assert done.returncode == 1
        assert message in done.stderr


def test_compare_results_without_files(tmp_path):
    (tmp_path / "eager.log").write_text(RESULT)
    done = run("compare_results.py", f"--gt_file={tmp_path}/eager.log", f"--log_file={tmp_path}/none*.log")
    assert (done.returncode, "no file matches" in done.stderr) == (1, True)


FAKE_GENERATOR = """
import sys
from pathlib import Path
layout, folder = sys.argv[1:3]
if layout == "broken":
    sys.exit(3)
Path(folder, "sub").mkdir(parents=True)
for number in range(3):
    Path(folder, "sub", f"{number}.avi").touch()
Path(folder, "sub", "a.bin").write_bytes(b"x" * (1000 if layout == "small" else 21 << 20))
"""


def test_lite_data_is_made_once_and_repaired(tmp_path):
    package = tmp_path / "datasets" / "synthetic"
    package.mkdir(parents=True)
    (package / "__main__.py").write_text(FAKE_GENERATOR)
    (package / "__init__.py").touch()
    (package.parent / "__init__.py").touch()

    def make(layout):
        return run("lite_data.py", layout, "data/x", cwd=tmp_path,
                   env={**os.environ, "PYTHONPATH": str(tmp_path)})

    assert "4 files" in make("small").stdout
    made = (tmp_path / "data" / "x" / "sub" / "a.bin").stat().st_mtime_ns
    assert make("small").stdout == "data/x is whole\n"
    assert (tmp_path / "data" / "x" / "sub" / "a.bin").stat().st_mtime_ns == made
    (tmp_path / "data" / "x" / "sub" / "a.bin").write_bytes(b"damaged")
    assert "4 files" in make("small").stdout
    for layout, message in (("broken", ""), ("large", "allowed are 1 to")):
        done = make(layout)
        assert (done.returncode, message in done.stderr) == (1, True)
    assert (tmp_path / "data" / "x" / "sub" / "a.bin").read_bytes() == b"x" * 1000, "a failure leaves what was there"


def test_clips_for_inference(tmp_path):
    for name in ("a/img_1.jpg", "a/img_2.jpg", "b/img_1.jpg", "c/one.avi", "c/two.avi"):
        (tmp_path / "x" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / name).write_text(name)
    spec = importlib.util.spec_from_file_location("lite_data", ROOT / "test_tipc" / "lite_data.py")
    lite_data = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lite_data)
    for _ in range(2):
        lite_data.copy_clips(tmp_path / "x", 3)
    copied = sorted(path.relative_to(tmp_path / "x_infer").as_posix() for path in (tmp_path / "x_infer").rglob("*.*"))
    assert copied == ["0_a/img_1.jpg", "0_a/img_2.jpg", "1_b/img_1.jpg", "2_two.avi"]
    with pytest.raises(ValueError, match="holds 4 clips, 5 are needed"):
        lite_data.copy_clips(tmp_path / "x", 5)
    (tmp_path / "x" / "a_train_split_1.txt").write_text("".join(f"{number}\n" for number in range(10)))
    (tmp_path / "x" / "labels.txt").write_text("1\n2\n3\n4\n")
    lite_data.cut_lists(tmp_path / "x", 4)
    assert (tmp_path / "x" / "a_train_split_1.txt").read_text() == "0\n3\n6\n9\n"
    assert (tmp_path / "x" / "labels.txt").read_text() == "1\n2\n3\n4\n"


def test_prepare(tipc):
    done = tipc.run("prepare.sh", tipc.config(), "lite_train_lite_infer")
    assert done.status == 0
    assert done.calls == ["test_tipc/lite_data.py ucf101 test_tipc/data/ucf101 --seed 0"]
    lines = {"line37": "infer_model:config.txt", "line48": "--input:test_tipc/data/x"}
    assert len(tipc.run("prepare.sh", tipc.config(**lines), "whole_infer").calls) == 1
    for lines, mode, message in (
            ({}, "whole_train_whole_infer", "put it at test_tipc/data/ucf101 (line 13"),
            ({"line37": "infer_model:none.pdparams"}, "whole_infer", "needs the weights 'none.pdparams'"),
            ({"line37": "infer_model:config.txt", "line48": "--input:none"}, "whole_infer", "reads clips from 'none'"),
            ({"line2": "model_name:other"}, "lite_train_lite_infer", "no data is known for model 'other'"),
            ({}, "some_mode", "unknown mode some_mode")):
        done = tipc.run("prepare.sh", tipc.config(**lines), mode)
        assert (done.status, message in done.err) == (1, True), done.err
    done = tipc.run("prepare.sh", tipc.config(), "lite_train_lite_infer", STUB_FAIL="lite_data")
    assert done.status == 1


def test_paddle2onnx_chain(tipc):
    stub = Path(__file__).with_name("stub_python.sh")
    config = tipc.config("mvf/paddle2onnx_infer_python.txt", line4=f"2onnx:{stub}", line8="--output:made.onnx")
    done = tipc.run("test_paddle2onnx.sh", config, "paddle2onnx_infer", STUB_TOUCH="--output=")
    run_folder = "test_tipc/output/mvf/lite_train_lite_infer/norm_train_gpus_-1_autocast_fp32"
    assert done.status == 0, done.err
    assert done.calls == [
        f"--model_dir={run_folder}/export --model_filename=inference.json --params_filename=inference.pdiparams "
        f"--output=made.onnx --opset_version=16 --enable_onnx_checker=True",
        f"test_tipc/onnx_infer.py --expected {run_folder}/eager.npz --onnx_file=made.onnx "
        f"--input=test_tipc/data/ucf101_infer"]
    assert (done.output / "paddle2onnx_infer" / "results_paddle2onnx.log").read_text().count("Run successfully") == 2
    assert tipc.run("test_paddle2onnx.sh", config, STUB_FAIL="--onnx_file").status == 1
    assert tipc.run("test_paddle2onnx.sh", config, STUB_TOUCH="never").status == 1


def test_benchmark_train(tipc):
    config = tipc.config()
    done = tipc.run("benchmark_train.sh", config, "benchmark_train")
    assert done.status == 0, done.err
    folder = "test_tipc/output/mvf/benchmark_train"
    shortened = "-o train.log_iters=2 train.workers=0"
    common = "--max_epochs=1 --batch_size=2 --dataset_root=test_tipc/data/ucf101"
    run_one, run_two = f"{folder}/run_dynamic_bs2_fp32_DP_N1C1", f"{folder}/run_dynamic_bs2_fp32_DP_N1C2"
    assert done.calls == [
        f"train.py -c configs/mvf/mini.yaml {shortened} --device=cpu --output_dir={run_one} {common}",
        f"test_tipc/benchmark_result.py {folder}/train_log/mvf_bs2_fp32_DP_N1C1_log --skip_steps=1 --model_name=mvf "
        f"--batch_size=2 --fp_item=fp32 --processes=1",
        f"-m paddle.distributed.launch --nproc_per_node 2 --log_dir {run_two}/launch train.py -c configs/mvf/mini.yaml "
        f"{shortened} --device=cpu --output_dir={run_two} {common}",
        f"test_tipc/benchmark_result.py {folder}/train_log/mvf_bs2_fp32_DP_N1C2_log --skip_steps=1 --model_name=mvf "
        f"--batch_size=2 --fp_item=fp32 --processes=2"]
    assert len(tipc.run("benchmark_train.sh", config, "benchmark_train", "dynamic_bs2_fp32_DP_N1C1").calls) == 2
    for arguments, message in (((config, "benchmark_train", "other"), "no run is called 'other'"),
                               ((config, "lite"), "usage")):
        done = tipc.run("benchmark_train.sh", *arguments)
        assert (done.status, message in done.err) == (1, True)
    assert tipc.run("benchmark_train.sh", config, "benchmark_train", STUB_FAIL="N1C2").status == 1


def test_benchmark_result(tmp_path):
    log = tmp_path / "log"
    log.write_text(LINES)
    done = run("benchmark_result.py", log, "--model_name=mvf", "--batch_size=2", "--fp_item=fp32", "--processes=2")
    result = json.loads(done.stdout)
    assert (result["ips"], result["speed_unit"], result["convergence_value"]) == (15.0, "images/sec", 1.5)
    assert (result["model_name"], result["device_num"], result["run_process_type"]) == (
        "mvf_bs2_fp32_DP", "N1C2", "MultiP")
    log.write_text("nothing")
    assert run("benchmark_result.py", log, "--model_name=m", "--batch_size=2", "--fp_item=fp32").returncode == 1
