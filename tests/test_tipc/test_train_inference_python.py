"""The commands that the chain builds, compared with a written list, and its behaviour when something fails."""
from pathlib import Path

import pytest

SCRIPT, LITE = "test_train_inference_python.sh", "lite_train_lite_infer"
GOLDEN = Path(__file__).parent / "golden"


def test_commands_of_the_mvf_config(tipc):
    done = tipc.run(SCRIPT, tipc.config(), LITE)
    assert done.status == 0, done.err
    wanted = (GOLDEN / "mvf_lite.txt").read_text().splitlines()
    assert done.calls == wanted
    steps = done.results[LITE]["steps"]
    assert len(steps) == len(wanted)
    assert {step["status"] for step in steps} == {"passed"}
    assert f"{len(wanted)} of {len(wanted)} steps passed" in done.out


def test_every_line_acts(tipc):
    """A config in which each line has a value of its own; the golden list shows where each one goes."""
    config = tipc.config(
        line4="gpu_list:0|0,1|10.0.0.1,10.0.0.2;0,1", line5="--use_gpu:True|True|True", line6="--amp:O1",
        line7="--epochs:lite_train_lite_infer=3|whole_train_whole_infer=50", line8="--save:unused",
        line9="--bs:lite_train_lite_infer=5|whole_train_whole_infer=9", line10="--start:weights/a.pdparams",
        line13="--free:a:b*c", line15="trainer:other_train|pact_train",
        line20="other_train:train.py --other", line25="--eval_free:1", line28="--to:unused", line29="--from:unused",
        line34="other_export:export_model.py --other", line36="inference_dir:sub", line41="--use_gpu:True",
        line42="--mkldnn:unused", line43="--threads:unused", line44="--rows:4", line45="--trt:False|True",
        line46="--bits:fp32|fp16", line47="--model:unused", line48="--clip:unused", line49="--log:null",
        line50="--measure:True", line51="--last:1")
    # The stub makes a checkpoint only where the real key names the folder.
    text = config.read_text().replace("--save:unused", "--output_dir:unused")
    config.write_text(text)
    done = tipc.run(SCRIPT, config, LITE)
    assert done.status == 0, done.err
    assert done.calls == (GOLDEN / "every_line.txt").read_text().splitlines()
    skipped = [step for step in done.results[LITE]["steps"] if step["status"] == "skipped"]
    assert {step["branch"].split("_gpus")[0] for step in skipped} == {"pact_train"}


def test_status_lines_and_places(tipc):
    done = tipc.run(SCRIPT, tipc.config(), LITE)
    status = (done.output / LITE / "results_python.log").read_text()
    assert status == (done.output / "results_python.log").read_text()
    lines = status.splitlines()
    assert all(line.startswith("\033[33m Run successfully with command - mvf - ") and line.endswith(" \033[0m")
               for line in lines)
    logs = sorted(path.name for path in (done.output / LITE).glob("python_infer_*.log"))
    assert len(logs) == 16
    assert logs[0] == ("python_infer_cpu_dp_train_gpus_-1_autocast_fp32_usemkldnn_False_threads_1_precision_fp32_"
                       "batchsize_1.log")


@pytest.mark.parametrize(("pattern", "last"), [
    (" train.py*norm_train_gpus", "train"), ("training_log.py*norm_train_gpus", "training log"),
    ("test.py*norm_train_gpus", "evaluate"), ("export_model.py*norm_train_gpus", "export"),
    ("eager_outputs.py*norm_train_gpus", "eager outputs"),
    ("infer.py*threads=2*norm_train_gpus", "infer cpu mkldnn=True threads=2 batch=1 fp32"),
    ("compare_results.py*norm_train_gpus", "compare results")])
def test_a_branch_stops_at_its_first_failure(tipc, pattern, last):
    done = tipc.run(SCRIPT, tipc.config(), LITE, STUB_FAIL=pattern.removeprefix(" "))
    assert done.status == 1
    steps = done.results[LITE]["steps"]
    mine = [step for step in steps if step["branch"].startswith("norm_train")]
    assert (mine[-1]["step"], mine[-1]["status"]) == (last, "failed")
    assert {step["status"] for step in mine[:-1]} <= {"passed"}
    others = [step for step in steps if step["branch"].startswith("dp_train")]
    assert len(others) == 14 and {step["status"] for step in others} == {"passed"}
    assert "Run failed with command - mvf - " in (done.output / LITE / "results_python.log").read_text()
    assert "the stub was told to fail" in done.err


def test_old_results_do_not_hide_a_failure(tipc):
    config = tipc.config()
    assert tipc.run(SCRIPT, config, LITE).status == 0
    done = tipc.run(SCRIPT, config, LITE, STUB_LAZY="train.py -c")
    assert done.status == 1
    assert [step["step"] for step in done.results[LITE]["steps"] if step["status"] == "failed"] == ["train", "train"]
    assert "expected to write test_tipc/output/mvf" in done.err
    assert not list((done.output / LITE).glob("python_infer_*"))


def test_whole_infer(tipc):
    config = tipc.config(line37="infer_model:a.pdparams|exported", line38="infer_export:export_model.py -c x|null",
                         line39="infer_quant:False|False", line42="--enable_mkldnn:True", line43="--cpu_threads:1",
                         line44="--batch_size:1", line48="--input:clips")
    done = tipc.run(SCRIPT, config, "whole_infer")
    assert done.status == 0, done.err
    assert done.calls == (GOLDEN / "whole_infer.txt").read_text().splitlines()


@pytest.mark.parametrize("option", ["--graph query", "--graph=query --repeats 2"])
def test_of_several_graphs_the_eager_network_answers_for_the_one_that_is_run(tipc, option):
    done = tipc.run(SCRIPT, tipc.config(line40=f"inference:deploy/infer.py {option}"), LITE)
    eager = [call for call in done.calls if "eager_outputs.py" in call]
    assert done.status == 0 and len(eager) == 2 and all(" --graph=query " in call for call in eager)


def test_low_precision_only_with_onednn(tipc):
    config = tipc.config(line15="trainer:norm_train", line43="--cpu_threads:1", line44="--batch_size:1",
                         line46="--precision:fp32|bf16")
    done = tipc.run(SCRIPT, config, LITE)
    infer = [(step["step"], step["status"]) for step in done.results[LITE]["steps"] if "infer" in step["step"]]
    assert infer == [("infer cpu mkldnn=True threads=1 batch=1 fp32", "passed"),
                     ("infer cpu mkldnn=True threads=1 batch=1 bf16", "passed"),
                     ("infer cpu mkldnn=False threads=1 batch=1 fp32", "passed"),
                     ("infer cpu mkldnn=False bf16", "skipped")]


def test_windows_line_ends(tipc):
    config = tipc.config()
    config.write_bytes(config.read_bytes().replace(b"\n", b"\r\n"))
    assert tipc.run(SCRIPT, config, LITE).calls == (GOLDEN / "mvf_lite.txt").read_text().splitlines()


@pytest.mark.parametrize(("lines", "mode", "message"), [
    ({}, "klquant_whole_infer", "quantised models are not supported"), ({}, "lite", "unknown mode lite"),
    ({"line1": ""}, LITE, "config.txt:1 should be the title of train_params but is ''"),
    ({"line23": "##"}, LITE, "config.txt:23 should be the title of eval_params but is '##'"),
    ({"line7": "--max_epochs:whole_train_whole_infer=5"}, LITE, "has no value for lite_train_lite_infer"),
    ({"line15": "trainer:norm_train|no_train"}, LITE, "trainer no_train has no line among 16 to 21"),
    ({"line41": "--device:tpu"}, LITE, "config.txt:41 has 'tpu'"),
    ({}, "whole_infer", "needs a model in"),
])
def test_wrong_configs_are_refused(tipc, lines, mode, message):
    done = tipc.run(SCRIPT, tipc.config(**lines), mode)
    assert done.status == 1
    assert message in done.err


def test_a_missing_config(tipc):
    done = tipc.run(SCRIPT, "none.txt", LITE)
    assert (done.status, "none.txt does not exist" in done.err) == (1, True)
    assert tipc.run(SCRIPT).status == 1
