"""The reference of the chain: it must be the eager network's answer to what deploy/infer.py would be given."""
import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.static import InputSpec

from deploy.export import Graph, export

ROOT = Path(__file__).resolve().parents[2]


def program(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "test_tipc" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def exported(tmp_path):
    """An exported linear classifier, its graph and three clips."""
    paddle.seed(4)
    graph = Graph(nn.Sequential(nn.Flatten(), nn.Linear(6, 3)), [InputSpec([-1, 2, 3], "float32", "x")], ["logits"])
    export({"inference": graph}, tmp_path / "export", {"task": "classification", "labels": ["a", "b", "c"]})
    np.save(tmp_path / "clips.npy", np.random.default_rng(0).normal(size=(3, 2, 3)).astype("float32"))
    return SimpleNamespace(folder=tmp_path, graph=graph, model=tmp_path / "export", clips=tmp_path / "clips.npy")


def run_eager(exported, monkeypatch, graphs, **options):
    module = program("eager_outputs")
    loaded = []
    system = SimpleNamespace(network=lambda: "network", inference_graphs=lambda network: graphs,
                             load_weights=lambda network, path: loaded.append((network, path)))
    values = {"model_path": None, "graph": None, "model_dir": str(exported.model), "input": str(exported.clips),
              "output": str(exported.folder / "eager.npz"), **options}
    command = SimpleNamespace(system=system, config=SimpleNamespace(pretrained="w.pdparams"),
                              options=SimpleNamespace(**values))
    monkeypatch.setattr(module, "parse", lambda *arguments, **extra: command)
    module.main()
    return loaded


def test_eager_outputs(exported, monkeypatch, capsys):
    assert run_eager(exported, monkeypatch, {"any": exported.graph}) == [("network", "w.pdparams")]
    logits = exported.graph.run(x=np.load(exported.clips))["logits"]
    np.testing.assert_allclose(np.load(exported.folder / "eager.npz")["logits"], logits, rtol=0, atol=1e-6)
    printed = capsys.readouterr().out
    assert [f"top-1 class: {best}" in block for block, best in
            zip(printed.split("Current video file")[1:], logits.argmax(1), strict=True)] == [True] * 3


def test_several_graphs_need_a_choice(exported, monkeypatch):
    with pytest.raises(SystemExit, match="the graphs a, b; choose one by --graph"):
        run_eager(exported, monkeypatch, {"a": exported.graph, "b": exported.graph})


def test_onnx_infer(exported, monkeypatch, capsys):
    pytest.importorskip("paddle2onnx", reason="paddle2onnx is optional")
    pytest.importorskip("onnxruntime", reason="onnxruntime is optional")
    from deploy.onnx import export_onnx
    path = export_onnx(exported.model)
    expected = exported.folder / "eager.npz"
    np.savez(expected, **exported.graph.run(x=np.load(exported.clips)))
    module = program("onnx_infer")
    options = SimpleNamespace(onnx_file=str(path), input=str(exported.clips), expected=str(expected), tolerance=1e-5)
    assert module.run(options) == 0
    assert capsys.readouterr().out.count("top-1 class") == 3
    np.savez(expected, logits=np.load(expected)["logits"] + np.float32(0.01))
    assert module.run(options) == 1
    assert "FAILED to eager" in capsys.readouterr().out
    options.onnx_file = "none.onnx"
    with pytest.raises(FileNotFoundError, match=r"export_model\.py --onnx"):
        module.run(options)
