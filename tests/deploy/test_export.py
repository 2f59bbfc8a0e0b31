import numpy as np
import paddle
import pytest
import yaml
from paddle import nn
from paddle.static import InputSpec

from deploy.export import Graph, export, read_description
from deploy.files import sha256


def test_one_graph_is_called_inference_and_described(classifier_folder, classifier_graph):
    assert sorted(path.name for path in classifier_folder.iterdir()) == [
        "deploy.yaml", "inference.json", "inference.pdiparams"]
    document = read_description(classifier_folder / "deploy.yaml")
    graph = document["graphs"]["inference"]
    assert graph["inputs"] == [{"name": "imgs", "shape": [-1, 4, 3, 8, 8], "dtype": "float32"}]
    assert graph["outputs"] == [{"name": "logits", "shape": [-1, 5], "dtype": "float32"},
                                {"name": "features", "shape": [-1, 4, 4], "dtype": "float32"}]
    assert graph["files"] == {name: sha256(classifier_folder / name) for name in graph["files"]}
    assert sorted(graph["files"]) == ["inference.json", "inference.pdiparams"]
    assert document["paddle"] == paddle.__version__
    assert document["labels"] == ["left", "right", "up", "down", "still"]
    assert classifier_graph.layer.training, "export must leave the layer in the mode it was in"


def test_a_saved_file_loads_as_paddle_does(classifier_folder, classifier_graph, clips):
    loaded = paddle.jit.load(str(classifier_folder / "inference"))
    logits, features = loaded(paddle.to_tensor(clips(3)))
    eager = classifier_graph.run(imgs=clips(3))
    np.testing.assert_array_equal(logits.numpy(), eager["logits"])
    np.testing.assert_array_equal(features.numpy(), eager["features"])


def test_several_graphs_and_the_files_of_an_earlier_export(tmp_path, classifier_graph, segmenter_graph):
    (tmp_path / "model.pdparams").write_text("a checkpoint that stays")
    export({"one": classifier_graph}, tmp_path, {})
    export({"memorize": classifier_graph, "segment": segmenter_graph}, tmp_path,
           {"chain": ["memorize", "segment"], "mean": np.float32(0.5), "size": (224, 224)})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "deploy.yaml", "memorize.json", "memorize.pdiparams", "model.pdparams", "segment.json", "segment.pdiparams"]
    document = yaml.safe_load((tmp_path / "deploy.yaml").read_text())
    assert document["chain"] == ["memorize", "segment"]
    assert (document["mean"], document["size"]) == (0.5, [224, 224])
    assert document["graphs"]["segment"]["inputs"][0]["shape"] == [-1, 3, -1, -1]


class Broken(nn.Layer):
    def forward(self, x):
        return x + undefined_name  # noqa: F821


@pytest.mark.parametrize("earlier", [False, True])
def test_a_failure_leaves_everything_as_it_was(tmp_path, classifier_graph, earlier):
    if earlier:
        export({"one": classifier_graph}, tmp_path, {"labels": ["old"]})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    broken = Graph(Broken(), [InputSpec([-1, 3], "float32", "x")], ["y"])
    with pytest.raises(NameError):
        export({"one": classifier_graph, "two": broken}, tmp_path, {"labels": ["new"]})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_wrong_use_is_refused(tmp_path, classifier_graph):
    layer, spec = classifier_graph.layer, InputSpec([-1, 4, 3, 8, 8], "float32", "imgs")
    with pytest.raises(ValueError, match="no inference graph"):
        export({}, tmp_path, {})
    with pytest.raises(ValueError, match="name of its own"):
        export({"a": Graph(layer, [InputSpec([-1, 4, 3, 8, 8], "float32")], ["logits"])}, tmp_path, {})
    with pytest.raises(ValueError, match=r"returns \['features', 'logits'\] but Graph.outputs names \['logits'\]"):
        export({"a": Graph(layer, [spec], ["logits"])}, tmp_path, {})
    with pytest.raises(ValueError, match="cannot be a file name"):
        export({"../a": classifier_graph}, tmp_path, {})
    with pytest.raises(ValueError, match="graphs"):
        export({"a": classifier_graph}, tmp_path, {"graphs": 1})
    with pytest.raises(ValueError, match=r"description\.labels\[0\] is a object"):
        export({"a": classifier_graph}, tmp_path, {"labels": [object()]})
    with pytest.raises(ValueError, match="takes the inputs"):
        classifier_graph.run(video=np.zeros(1))
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_description_is_refused(tmp_path):
    path = tmp_path / "deploy.yaml"
    with pytest.raises(FileNotFoundError, match=r"export_model\.py"):
        read_description(path)
    path.write_text("Deploy: {model: x}")
    with pytest.raises(ValueError, match="no 'graphs' section"):
        read_description(path)
    path.write_text("{graphs: [")
    with pytest.raises(ValueError, match="not valid YAML"):
        read_description(path)
    path.write_text("{graphs: {}, format: 7}")
    with pytest.raises(ValueError, match="format 7"):
        read_description(path)
