import re
import sys
import types
from types import SimpleNamespace

import paddle
import pytest

from deploy.benchmark_report import BenchmarkLogger, open_logger, shape_text

SETTINGS = {"runtime_device": "cpu", "ir_optim": True, "enable_memory_optim": False, "enable_tensorrt": False,
            "enable_mkldnn": True, "cpu_math_library_num_threads": 2}
NUMBER = r"\d+\.\d+"
FORM = [
    r"-{22} Env info -{22}", r" OS_version: \S.*", r" CUDA_version: None", r" CUDNN_version: None",
    r" drivier_version: None", r"-{22} Paddle info -{22}", rf" paddle_version: {re.escape(paddle.__version__)}",
    r" paddle_commit: [0-9a-f]{40}", r" log_api_version: 1\.0", r"-{23} Conf info -{23}", r" runtime_device: cpu",
    r" ir_optim: True", r" enable_memory_optim: False", r" enable_tensorrt: False", r" enable_mkldnn: True",
    r" cpu_math_library_num_threads: 2", r"-{23} Model info -{22}", r" model_name: mvf", r" precision: fp32",
    r"-{23} Data info -{23}", r" batch_size: 2", r" input_shape: 2,4,3,8,8", r" data_num: 3",
    r"-{23} Perf info -{23}", rf" cpu_rss\(MB\): {NUMBER}, gpu_rss\(MB\): None, gpu_util: None%",
    rf" total time spent\(s\): {NUMBER}",
    rf" preprocess_time\(ms\): {NUMBER}, inference_time\(ms\): {NUMBER}, postprocess_time\(ms\): {NUMBER}",
]


def measured(calls: int, **options) -> BenchmarkLogger:
    logger = BenchmarkLogger("mvf", "fp32", 2, shape_text([2, 4, 3, 8, 8]), settings=SETTINGS, **options)
    for _ in range(calls):
        logger.times.start()
        logger.times.stamp()
        logger.times.stamp()
        logger.times.end(stamp=True)
    return logger


def test_lines_are_autologs(tmp_path, capsys):
    lines = measured(5, warmup=2, save_path=tmp_path / "log" / "a.log").report()
    assert len(lines) == len(FORM)
    for line, form in zip(lines, FORM, strict=True):
        assert re.fullmatch(form, line), (line, form)
    printed = capsys.readouterr().out.splitlines()
    assert printed == (tmp_path / "log" / "a.log").read_text().splitlines()
    assert [re.sub(r"^\[\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\] root INFO: ", "", line) for line in printed] == lines


def test_an_identifier_stands_before_each_value():
    assert measured(1).lines("[one] ")[1].startswith("[one] OS_version: ")


def test_only_counted_calls_are_averaged():
    logger = measured(0, warmup=1)
    logger.times.calls = [[9.0, 9.0, 9.0], [0.001, 0.002, 0.003], [0.003, 0.004, 0.005]]
    assert logger.lines()[-2:] == [
        " total time spent(s): 0.0180",
        " preprocess_time(ms): 2.0000, inference_time(ms): 3.0000, postprocess_time(ms): 4.0000"]


def test_wrong_use():
    with pytest.raises(ValueError, match="2 calls measured, 2 of them warm-up"):
        measured(2, warmup=2).lines()
    logger = measured(0)
    with pytest.raises(ValueError, match=r"without times\.start"):
        logger.times.stamp()
    logger.times.start()
    with pytest.raises(ValueError, match="1 were stamped"):
        logger.times.end(stamp=True)


@pytest.mark.parametrize(("code", "raised"), [(0, False), (3, True)])
def test_an_installed_autolog_is_used_and_does_not_end_the_process(monkeypatch, code, raised):
    package = types.ModuleType("auto_log")

    class AutoLogger(SimpleNamespace):
        times = "its times"

        def report(self, identifier=None):
            sys.exit(code)

    package.AutoLogger = AutoLogger
    monkeypatch.setitem(sys.modules, "auto_log", package)
    logger = open_logger("mvf", predictor=SimpleNamespace(config="c", settings={}), precision="fp32", batch_size=1,
                         data_shape="1,2", warmup=0)
    assert logger.times == "its times"
    assert logger._logger.time_keys == ["preprocess_time", "inference_time", "postprocess_time"]
    if raised:
        with pytest.raises(SystemExit):
            logger.report()
    else:
        logger.report()


def test_ours_without_autolog(monkeypatch):
    monkeypatch.setitem(sys.modules, "auto_log", None)
    logger = open_logger("mvf", predictor=SimpleNamespace(config=None, settings=SETTINGS), precision="fp32",
                         batch_size=1, data_shape="1,2", warmup=0)
    assert isinstance(logger, BenchmarkLogger)
