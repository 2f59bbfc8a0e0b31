"""The networks of MiVOS as static graphs, and the whole loop run on them.

Propagation becomes three programs, because the memory between them grows: *memorize* (frame and masks to key and
value rows), *query* (what a frame offers to every object), *segment* (memory rows and a query to probabilities). The
number of objects, memory rows, height and width are dynamic.
"""
from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.static import InputSpec

from datasets.mivos_transforms import MEAN, STD
from datasets.video import VideoReader
from deploy.export import DESCRIPTION, Graph, read_description
from deploy.inference import Predictor
from engine.config import to_dict
from models.mivos.memory import read_batched, scaled_query
from models.mivos.propagation import Query
from systems.mivos_video import Images

QUERY = ("key", "value", "skip8", "skip4")


class _Part(nn.Layer):
    """One step of the propagation network as a layer of its own, in the network's mode: export puts a layer back into
    the mode it found, and a wrapper that starts in training mode would take the network along."""

    def __init__(self, network):
        super().__init__()
        self.network, self.training = network, network.training


class Memorize(_Part):
    """``frame [1, 3, H, W]``, ``masks [K, 1, H, W]`` -> key ``[K, 128, 1, h, w]``, value ``[K, 512, 1, h, w]``."""

    def forward(self, frame, masks):
        # The sum of the others as sum - own: any number of objects; equal for hard masks, 1e-7 off for soft ones.
        frames = frame + paddle.zeros_like(masks)
        others = masks.sum(0, keepdim=True) - masks
        return self.network.encode_memory(frames, masks, None if self.network.single_object else others)


class QueryFrame(_Part):
    """``frame [1, 3, H, W]`` -> key, value, skip8, skip4."""

    def forward(self, frame):
        return tuple(self.network.query(frame))


class Segment(_Part):
    """Memory rows ``keys [K, N, 128]``, ``values [K, N, 512]`` and a query -> probabilities ``[K, 1, H, W]``."""

    def forward(self, keys, values, key, value, skip8, skip4):
        read_out = read_batched(keys, values, scaled_query(key), self.network.top_k)  # K hw 512
        read_out = paddle.transpose(read_out, [0, 2, 1])
        read_out = read_out.reshape([paddle.shape(read_out)[0], self.network.width, paddle.shape(key)[2],
                                     paddle.shape(key)[3]])
        both = paddle.concat([read_out, value + paddle.zeros_like(read_out)], 1)
        return F.sigmoid(self.network.decoder.decode(both, skip8, skip4))


def graphs(config, network) -> dict[str, Graph]:
    """The graphs of the configured part."""
    if config.part == "fusion":
        return {"inference": Graph(network, [_spec("image", 3), _spec("seg1", 1), _spec("seg2", 1),
                                             _spec("attention", 2), InputSpec([-1, 2], "float32", "time")], ["logits"])}
    if config.part == "s2m":
        return {"inference": Graph(network, [_spec("input", 6)], ["logits"])}
    if network.km is not None:
        raise ValueError("the kernelised read (network.km) has no exported form; set network.km=0 to export")
    width = network.width
    frame = InputSpec([1, 3, -1, -1], "float32", "frame")
    memory = [InputSpec([-1, -1, width // 4], "float32", "keys"), InputSpec([-1, -1, width], "float32", "values")]
    query = [InputSpec([1, channels, -1, -1], "float32", name)
             for name, channels in zip(QUERY, (width // 4, width, width, width // 2), strict=True)]
    return {"memorize": Graph(Memorize(network), [frame, InputSpec([-1, 1, -1, -1], "float32", "masks")],
                              ["memory_key", "memory_value"]),
            "query": Graph(QueryFrame(network), [frame], list(QUERY)),
            "segment": Graph(Segment(network), [*memory, *query], ["prob"])}


def _spec(name: str, channels: int) -> InputSpec:
    return InputSpec([-1, channels, -1, -1], "float32", name)


def description(config) -> dict[str, Any]:
    """What ``deploy.yaml`` says beside the graphs."""
    chain = {
        "propagation": ["memorize(frame, masks) -> memory_key, memory_value; store as rows of h*w positions",
                        "query(frame) -> key, value, skip8, skip4",
                        "segment(keys, values, key, value, skip8, skip4) -> prob; aggregate over objects"],
        "fusion": ["sigmoid(logits) per object; aggregate over objects"],
        "s2m": ["sigmoid(logits) per object; aggregate over objects, hard"]}[config.part]
    return {"system": "mivos", "part": config.part, "task": "video object segmentation", "chain": chain,
            "preprocessing": {"colour": "RGB", "scale": 1 / 255, "mean": MEAN.tolist(), "std": STD.tolist(),
                              "pad": "zeros to multiples of 16, the smaller half left and above"},
            "config": to_dict(config)}


def inputs(document: dict[str, Any], path: str | Path) -> dict[str, np.ndarray]:
    """The first frame of a video with a mask of its middle, as inputs of the single exported graph of fusion or s2m; of
    the propagation's graphs those of ``query``, whose input is a frame alone."""
    images = Images.of_reader(VideoReader(path), document["config"]["data"]["size"])
    height, width = (side // 16 * 16 for side in images.size)
    image = images[0][None, :, :height, :width]
    mask = np.zeros((1, 1, height, width), np.float32)
    mask[..., height // 4:-height // 4, width // 4:-width // 4] = 1
    if document["part"] == "s2m":
        return {"input": np.concatenate([image, np.zeros_like(mask), mask, np.zeros_like(mask)], 1)}
    if document["part"] == "fusion":
        return {"image": image, "seg1": mask, "seg2": mask, "attention": np.concatenate([mask, mask], 1),
                "time": np.array([[0.5, 0.5]], np.float32)}
    return {"frame": image}


def exported_networks(folders: Iterable[str | Path], **options) -> dict[str, Any]:
    """Part -> its exported graphs behind the interface of the network; ``options`` are the predictor's.

    Raises:
        ValueError: a folder holds another system, or two of them the same part.
        FileNotFoundError: a folder holds no export.
    """
    found: dict[str, Any] = {}
    for folder in folders:
        document = read_description(Path(folder) / DESCRIPTION)
        part = document.get("part")
        if document.get("system") != "mivos" or part not in ("propagation", "fusion", "s2m"):
            raise ValueError(f"{folder} holds an export of {document.get('system')!r}, not a part of mivos")
        if part in found:
            raise ValueError(f"{folder} is a second export of the part {part}; give each part once")
        found[part] = (GraphPropagation if part == "propagation" else GraphNetwork)(folder, **options)
    return found


class GraphPropagation:
    """Exported propagation graphs behind the interface that the inference core uses."""

    def __init__(self, folder: str | Path, **options):
        self._memorize, self._query, self._segment = (
            Predictor(folder, graph=name, **options) for name in ("memorize", "query", "segment"))

    def memorize(self, frame, masks):
        found = self._memorize.run({"frame": frame.numpy(), "masks": masks.numpy()})
        return paddle.to_tensor(found["memory_key"]), paddle.to_tensor(found["memory_value"])

    def query(self, frame) -> Query:
        found = self._query.run({"frame": frame.numpy()})
        return Query(*(paddle.to_tensor(found[name]) for name in QUERY))

    def segment_from_bank(self, bank, query: Query):
        keys, values = bank.contents()
        features = {name: tensor.numpy() for name, tensor in zip(QUERY, query, strict=True)}
        return paddle.to_tensor(self._segment.run({"keys": keys.numpy(), "values": values.numpy(), **features})["prob"])


class GraphNetwork:
    """One exported network (fusion, s2m) called with tensors in the order of its inputs."""

    def __init__(self, folder: str | Path, **options):
        self._predictor = Predictor(folder, **options)

    def __call__(self, *tensors):
        named = {name: tensor.numpy() for name, tensor in zip(self._names(), tensors, strict=True)}
        return paddle.to_tensor(self._predictor.run(named)["logits"])

    def _names(self) -> list[str]:
        return [entry["name"] for entry in self._predictor.files.graph["inputs"]]

    def eval(self) -> None:
        """Graphs have no other mode."""
