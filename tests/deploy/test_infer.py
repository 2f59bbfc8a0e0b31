import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from deploy import infer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def arrays(tmp_path, clips, classifier_graph):
    """Five clips, and the eager network's answer to them."""
    np.save(tmp_path / "clips.npy", clips(5))
    np.savez(tmp_path / "eager.npz", **classifier_graph.run(imgs=clips(5)))
    return tmp_path


@pytest.mark.parametrize("form", ["folder", "stem", "files"])
def test_prints_classes_and_equals_eager(classifier_folder, arrays, capsys, form):
    model = {"folder": [f"--model_dir={classifier_folder}"], "stem": [f"--model_file={classifier_folder}/inference"],
             "files": ["--model_file", f"{classifier_folder}/inference.pdmodel", "--params_file",
                       f"{classifier_folder}/inference.pdiparams"]}[form]
    status = infer.main([*model, f"--input={arrays}/clips.npy", "--batch_size=2", "--device=cpu",
                         "--enable_mkldnn=False", "--cpu_threads=2", "--precision=fp32", "--use_tensorrt=False",
                         f"--expected={arrays}/eager.npz", f"--output={arrays}/result.json",
                         f"--save_outputs={arrays}/outputs.npz"])
    printed = capsys.readouterr().out
    assert status == 0
    eager = np.load(arrays / "eager.npz")["logits"]
    names = ["left", "right", "up", "down", "still"]
    for row in range(5):
        scores = np.exp(eager[row].astype("float64")) / np.exp(eager[row].astype("float64")).sum()
        assert (f"Current video file: {arrays}/clips.npy[{row}]\n\ttop-1 class: {scores.argmax()}\n"
                f"\ttop-1 label: {names[scores.argmax()]}\n\ttop-1 score: {scores.max():.6f}\n") in printed
    assert printed.count("equal to eager within 1e-06") == 2
    document = json.loads((arrays / "result.json").read_text())
    assert len(document["results"]) == 5
    assert document["settings"]["enable_mkldnn"] is False
    assert document["moved"]["outputs"][0]["name"] == "logits"
    np.testing.assert_array_equal(np.load(arrays / "outputs.npz")["logits"].argmax(1), eager.argmax(1))


def test_a_difference_is_an_error(classifier_folder, arrays, capsys):
    values = dict(np.load(arrays / "eager.npz"))
    values["logits"] = values["logits"] + np.float32(1e-3)
    np.savez(arrays / "wrong.npz", **values)
    command = [f"--model_dir={classifier_folder}", f"--input={arrays}/clips.npy"]
    assert infer.main([*command, f"--expected={arrays}/wrong.npz"]) == 1
    assert "FAILED to eager within 1e-05: logits: moved by" in capsys.readouterr().out
    assert infer.main([*command, f"--expected={arrays}/wrong.npz", "--tolerance=0.1"]) == 0
    assert infer.main([*command, f"--expected={arrays}/none.npz"]) == 1
    assert "none.npz does not exist" in capsys.readouterr().err


def test_benchmark_report(classifier_folder, arrays, capsys):
    status = infer.main([f"--model_dir={classifier_folder}", f"--input={arrays}/clips.npy", "-b", "3", "--benchmark",
                         "--warmup=1", "--repeats=2", f"--save_log_path={arrays}/benchmark.log"])
    printed = capsys.readouterr().out
    assert status == 0
    assert "root INFO:  data_num: 2\n" in printed
    assert "root INFO:  input_shape: 3,4,3,8,8\n" in printed
    assert "root INFO:  model_name: tiny\n" in printed
    assert (arrays / "benchmark.log").read_text() in printed


def test_a_segmenter_reports_shapes_and_notes(segmenter_folder, tmp_path, capsys):
    np.savez(tmp_path / "image.npz", image=np.zeros((1, 3, 8, 10), "float32"))
    assert infer.main([f"--model_dir={segmenter_folder}", f"--input={tmp_path}/image.npz"]) == 0
    printed = capsys.readouterr().out
    assert "note: oneDNN of Paddle 3.3 cannot run bilinear_interp and nearest_interp" in printed
    assert "\tmasks: shape [1, 2, 8, 10], " in printed


def test_clips_are_prepared_by_the_system_and_their_views_averaged(classifier_folder, classifier_graph, tmp_path,
                                                                   clips, monkeypatch, capsys):
    (tmp_path / "a.avi").touch()
    asked = []

    def inference_inputs(description, path):
        asked.append((description["system"], path))
        return {"imgs": clips(3)}

    system = SimpleNamespace(find_system=lambda name: SimpleNamespace(inference_inputs=inference_inputs))
    monkeypatch.setitem(sys.modules, "systems", system)
    assert infer.main([f"--model_dir={classifier_folder}", f"--input={tmp_path}", "--batch_size=2",
                       "--enable_mkldnn=False"]) == 0
    assert asked == [("tiny", tmp_path / "a.avi")]
    logits = classifier_graph.run(imgs=clips(3))["logits"].astype("float64")
    mean = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).mean(0)
    assert f"top-1 score: {mean.max():.6f}" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "message"), [
    (["--input=x"], "name the model"),
    (["--model_dir=d", "--input=x", "--use_gpu=True", "--device=cpu"], "contradicts"),
    (["--model_dir=d", "--input=x", "--use_tensorrt=True"], "TensorRT is not supported"),
    (["--model_dir=d", "--input=x", "--batch_size=0"], "at least 1"),
    (["--model_dir=d", "--input=x", "--enable_mkldnn=maybe"], "neither True nor False"),
    (["--model_dir=d", "--input=x", "--batchsize=1"], "unrecognized"),
])
def test_wrong_options(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        infer.main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_missing_model_is_one_clear_line(tmp_path, capsys):
    assert infer.main([f"--model_dir={tmp_path}/none", "--input=x"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("infer: no exported graph at") and error.count("\n") == 1


def test_as_a_file_and_as_a_module(classifier_folder, arrays):
    command = [f"--model_dir={classifier_folder}", f"--input={arrays}/clips.npy", "--enable_mkldnn=False"]
    outputs = [subprocess.run([sys.executable, *start, *command], cwd=folder, check=True, capture_output=True,
                              text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}).stdout
               for start, folder in ((["deploy/infer.py"], ROOT), (["-m", "deploy.infer"], ROOT),
                                     ([str(ROOT / "deploy" / "infer.py")], arrays))]
    assert outputs[0].count("top-1 class") == 5
    assert outputs[1] == outputs[0] == outputs[2]
