"""The contenders of a contest compute the same thing, on towers of one narrow block."""
import numpy as np
import pytest

from benchmarks import video_text
from engine import config as configuration
from systems import find_system


@pytest.fixture(params=["actionclip", "xclip"])
def contenders(request, monkeypatch):
    def tiny(system, arch, frames):
        found = find_system(system)
        return found(configuration.load(found.Config, None, [
            "network.arch=custom", "network.custom={embed_dim: 512, image_resolution: 224, vision_patch_size: 112, "
            "vision_width: 64, vision_layers: 1, transformer_width: 64, transformer_layers: 1}", "data.size=224",
            f"data.frames={frames}"]))
    monkeypatch.setattr(video_text, "configured", tiny)
    pytest.importorskip("torch")
    return {name: prepare(1)() for name, prepare in video_text.contenders(request.param, "tiny", 2, 60).items()}


def test_contenders_have_the_same_task(contenders):
    for whole, cut in zip(contenders["text, 77 positions"], contenders["text, cut to the longest"], strict=True):
        assert whole.shape == cut.shape and whole.shape[1] == 512
    assert sum(len(part) for part in contenders["text, 77 positions"]) == 60
    shapes = {np.size(contenders["video, torch, eager"])} | {
        np.size(contenders[f"video, exported, {kind}"]["logits"]) for kind in ("oneDNN", "without oneDNN")}
    assert shapes == {400}
