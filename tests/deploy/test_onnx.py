import importlib.util

import numpy as np
import pytest

from deploy.export import export
from deploy.onnx import MissingPackage, check_onnx, export_all_onnx, export_onnx, require

needs_packages = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("paddle2onnx", "onnxruntime")),
    reason="paddle2onnx and onnxruntime are optional and not installed")


@needs_packages
def test_onnx_equals_eager_at_any_batch(classifier_folder, classifier_graph, clips, tmp_path):
    path = export_onnx(classifier_folder, target=tmp_path / "tiny.onnx")
    for batch in (1, 3):
        moved = check_onnx(path, {"imgs": clips(batch)}, classifier_graph.run(imgs=clips(batch)))
        assert [entry.name for entry in moved] == ["logits", "features"]
    wrong = {name: value + np.float32(1e-3) for name, value in classifier_graph.run(imgs=clips(1)).items()}
    with pytest.raises(ValueError, match="differs from the network by more than 1e-05"):
        check_onnx(path, {"imgs": clips(1)}, wrong)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["tiny.onnx"]


@needs_packages
def test_a_graph_that_cannot_be_converted(segmenter_folder, tmp_path):
    with pytest.raises(ValueError, match=r"(?s)could not convert .*scale_factor"):
        export_onnx(segmenter_folder, target=tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


@needs_packages
def test_a_graph_that_cannot_be_converted_does_not_keep_back_the_others(segmenter_graph, classifier_graph, tmp_path):
    folder = tmp_path / "several"
    export({"first": segmenter_graph, "second": classifier_graph}, folder, {"system": "tiny", "task": "several"})
    with pytest.raises(ValueError, match=r"(?s)1 of 2 graphs have no ONNX form \(first\):\nfirst: .*scale_factor"):
        list(export_all_onnx(folder, ["first", "second"]))
    assert sorted(path.name for path in folder.glob("*.onnx")) == ["second.onnx"]


def test_a_missing_package_is_named():
    with pytest.raises(MissingPackage, match="ONNX export needs the optional package no_such: pip install no_such"):
        require("no_such", "ONNX export")
