"""Each measure of deploy/faults.py works, and each fault it stands for still exists."""
import os
import subprocess
import sys

import numpy as np
import pytest
from paddle import inference as engine

from deploy.faults import interpolation_operators
from deploy.inference import Predictor, outputs_moved
from deploy.model_files import find_model


@pytest.mark.parametrize("size", [(12, 14), (9, 7)])
def test_interpolation_runs_with_onednn(segmenter_folder, segmenter_graph, size):
    image = np.random.default_rng(0).normal(size=(2, 3, *size)).astype("float32")
    eager = segmenter_graph.run(image=image)
    predictor = Predictor(segmenter_folder)
    assert predictor.settings["enable_mkldnn"] is True
    assert "bilinear_interp and nearest_interp" in predictor.notes[0]
    assert outputs_moved(predictor.run({"image": image}), eager)[0].relative <= 1e-5
    plain = Predictor(segmenter_folder, onednn=False)
    assert plain.notes == []
    assert outputs_moved(plain.run({"image": image}), eager)[0].largest == 0.0


def raw_config(folder):
    config = engine.Config(str(folder / "inference.json"), str(folder / "inference.pdiparams"))
    config.disable_glog_info()
    return config


def test_fault_onednn_interpolation_still_exists(segmenter_folder):
    assert interpolation_operators(find_model(segmenter_folder)) == ["1.bilinear_interp", "1.nearest_interp"]
    config = raw_config(segmenter_folder)
    config.enable_mkldnn()
    predictor = engine.create_predictor(config)
    predictor.get_input_handle("image").copy_from_cpu(np.zeros((1, 3, 8, 8), "float32"))
    with pytest.raises(NotImplementedError, match="DoubleAttribute"):
        predictor.run()


def test_fault_memory_optimization_still_exists(classifier_folder):
    config = raw_config(classifier_folder)
    config.enable_memory_optim()
    with pytest.raises(ValueError, match="memory_optimize_pass"):
        engine.create_predictor(config)


def test_fault_onednn_is_on_by_default(classifier_folder):
    assert raw_config(classifier_folder).mkldnn_enabled() is True


SAVE_OLD_FORM = """
import sys, paddle
from paddle import nn
paddle.seed(3)
net = nn.Sequential(nn.Conv2D(3, 4, 3), nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2D(4, 2, 3))
net.eval()
paddle.jit.save(net, sys.argv[1], input_spec=[paddle.static.InputSpec([-1, 3, 8, 8], "float32", "x")])
"""


def test_the_old_form_runs(tmp_path):
    subprocess.run([sys.executable, "-c", SAVE_OLD_FORM, str(tmp_path / "model")], check=True, capture_output=True,
                   env={**os.environ, "FLAGS_enable_pir_api": "0"})
    assert (tmp_path / "model.pdmodel").is_file()
    x = {"x": np.random.default_rng(0).normal(size=(3, 3, 8, 8)).astype("float32")}
    fast, plain = Predictor(tmp_path / "model.pdmodel"), Predictor(tmp_path / "model.json", onednn=False)
    assert fast.notes == []
    moved, = outputs_moved(fast.run(x), plain.run(x))
    assert moved.relative <= 1e-5
