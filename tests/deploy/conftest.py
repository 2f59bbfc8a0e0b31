"""Small networks of our own, exported once for all tests of this folder."""
import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F
from paddle.static import InputSpec

from deploy.export import Graph, export


class TinyClassifier(nn.Layer):
    """Clips ``[B, T, 3, H, W]`` -> logits ``[B, 5]`` and frame features ``[B, T, 4]``, as a dict in this order."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2D(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2D(4)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(4, 5)

    def forward(self, imgs):
        x = F.relu(self.norm(self.conv(imgs.reshape([-1, *imgs.shape[2:]]))))
        x = self.dropout(x.mean([2, 3])).reshape([-1, imgs.shape[1], 4])  # BT 4 -> B T 4
        return {"logits": self.head(x).mean(1), "features": x}


class TinySegmenter(nn.Layer):
    """Images ``[B, 3, H, W]`` -> masks ``[B, 2, H, W]``, interpolated both ways that oneDNN cannot run."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2D(3, 4, 3, stride=2, padding=1)
        self.out = nn.Conv2D(4, 2, 3, padding=1)

    def forward(self, image):
        x = F.interpolate(F.relu(self.down(image)), scale_factor=2.0, mode="nearest")
        return self.out(F.interpolate(x, size=image.shape[2:], mode="bilinear"))


@pytest.fixture(scope="session")
def classifier_graph():
    paddle.seed(1)
    layer = TinyClassifier()
    layer.train()  # export must switch to eval and back
    return Graph(layer, [InputSpec([-1, 4, 3, 8, 8], "float32", "imgs")], ["logits", "features"])


@pytest.fixture(scope="session")
def segmenter_graph():
    paddle.seed(2)
    return Graph(TinySegmenter(), [InputSpec([-1, 3, -1, -1], "float32", "image")], ["masks"])


@pytest.fixture(scope="session")
def classifier_folder(classifier_graph, tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    export({"anything": classifier_graph}, folder,
           {"system": "tiny", "task": "classification", "labels": ["left", "right", "up", "down", "still"]})
    return folder


@pytest.fixture(scope="session")
def segmenter_folder(segmenter_graph, tmp_path_factory):
    folder = tmp_path_factory.mktemp("segmenter")
    export({"inference": segmenter_graph}, folder, {"system": "tiny", "task": "segmentation"})
    return folder


@pytest.fixture
def clips():
    """Make ``n`` clips for the classifier."""
    def make(n: int) -> np.ndarray:
        return np.random.default_rng(n).normal(size=(n, 4, 3, 8, 8)).astype("float32")
    return make
