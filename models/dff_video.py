"""Deep Feature Flow over a whole video: which frames are key frames, and what is carried from one to the next.

The state beside the network. :class:`VideoScheduler` decides; how a key frame and another frame are computed is
given to it as *steps*: :class:`NetworkSteps` runs a ``models.dff.DFF``, exported graphs offer the same methods.
"""
from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import paddle

PROPAGATIONS = ("direct", "chained")
ADAPTIVE = ("off", "flow", "scores")

Prepare = Callable[[np.ndarray], np.ndarray]  # uint8 RGB [H, W, 3] -> float32 [3, H, W]


class Steps(Protocol):
    """One frame's work, on float32 arrays ``[N, 3, H, W]``. Scores and halves are handed back unopened."""

    def key(self, seg: np.ndarray, flow: np.ndarray) -> tuple[np.ndarray, Any, Any]:
        """(labels int64 ``[N, H, W]``, score map, flow half) of a key frame."""

    def current(self, flow: np.ndarray, scores: Any, half: Any) -> tuple[np.ndarray, Any, float]:
        """(labels, moved score map, mean flow in pixels of the image) of another frame."""

    def half(self, flow: np.ndarray) -> Any:
        """Flow half of a frame that is not a key frame, for chained propagation."""


@dataclass(frozen=True)
class FrameResult:
    """Labels int64 ``[N, H, W]`` of one frame of N videos, whether it was a key frame, and the seconds it took."""

    labels: np.ndarray
    key: bool
    seconds: float


class VideoScheduler:
    """Walks through one video, or N of one size at once, frame by frame.

    Frame t is a key frame when t is a multiple of ``key_interval``; the first of a video always is. In between the
    key frame's score map is moved: ``direct`` by the flow from the current frame to the key frame, ``chained`` by the
    flow to the frame before, from that frame's own moved map. Frames of any size are extended by their border to a
    multiple of ``multiple`` and the labels cut back.

    Args:
        steps: how frames are computed.
        seg_input, flow_input: pictures to the inputs of the two networks.
        key_interval: frames from one key frame to the next; 1 makes every frame one.
        propagation: ``direct`` or ``chained``.
        adaptive: also make a frame a key frame when its mean flow exceeds ``threshold`` pixels (``flow``), or when
            more than that share of pixels changed its label since the frame before (``scores``).
        threshold: of ``adaptive``.
        multiple: sides are extended to multiples of it; 8, or 16 where the flow network sees half-size images.

    Raises:
        ValueError: for an interval below 1 or an unknown mode.
    """

    def __init__(self, steps: Steps, seg_input: Prepare, flow_input: Prepare, *, key_interval: int = 5,
                 propagation: str = "direct", adaptive: str = "off", threshold: float = 0.0, multiple: int = 8):
        if key_interval < 1:
            raise ValueError(f"key_interval {key_interval}: expected at least 1")
        if propagation not in PROPAGATIONS or adaptive not in ADAPTIVE:
            raise ValueError(f"propagation {propagation!r}, adaptive {adaptive!r}: expected one of "
                             f"{', '.join(PROPAGATIONS)} and one of {', '.join(ADAPTIVE)}")
        self.steps, self.seg_input, self.flow_input = steps, seg_input, flow_input
        self.key_interval, self.propagation = key_interval, propagation
        self.adaptive, self.threshold, self.multiple = adaptive, threshold, multiple
        self.reset()

    def reset(self) -> None:
        """Forget the video; the next frame is the first of another one."""
        self._since_key: int | None = None
        self._scores = self._half = self._labels = None

    def step(self, frames: np.ndarray) -> FrameResult:
        """Label the next frame of each video.

        Args:
            frames: uint8 RGB ``[N, H, W, 3]``.
        """
        height, width = frames.shape[1:3]
        padded = pad_to_multiple(frames, self.multiple)
        started = time.perf_counter()
        flow = np.stack([self.flow_input(frame) for frame in padded])
        due = self._since_key is None or self._since_key + 1 >= self.key_interval
        labels = None if due else self._follow(flow)
        if labels is None:
            seg = np.stack([self.seg_input(frame) for frame in padded])
            labels, self._scores, self._half = self.steps.key(seg, flow)
            self._since_key = 0
        else:
            self._since_key += 1
        self._labels = labels
        return FrameResult(labels[:, :height, :width], self._since_key == 0, time.perf_counter() - started)

    def _follow(self, flow: np.ndarray) -> np.ndarray | None:
        """Labels by propagation, or None if the frame differs so much that it has to be a key frame."""
        labels, moved, motion = self.steps.current(flow, self._scores, self._half)
        if self.adaptive == "flow" and motion > self.threshold:
            return None
        if self.adaptive == "scores" and float((labels != self._labels).mean()) > self.threshold:
            return None
        if self.propagation == "chained":
            self._scores, self._half = moved, self.steps.half(flow)
        return labels


class NetworkSteps:
    """Steps by the network itself, in eval mode and without gradients."""

    def __init__(self, network: paddle.nn.Layer):
        network.eval()
        self.network = network

    @paddle.no_grad()
    def key(self, seg: np.ndarray, flow: np.ndarray):
        scores = self.network.key_map(paddle.to_tensor(seg))
        return self.network.labels(scores).numpy(), scores, self.network.key_half(paddle.to_tensor(flow))

    @paddle.no_grad()
    def current(self, flow: np.ndarray, scores, half):
        field, scale = self.network.flow(paddle.to_tensor(flow), half)
        moved = self.network.move(scores, field, scale)
        return self.network.labels(moved).numpy(), moved, mean_motion(field).max().item()

    @paddle.no_grad()
    def half(self, flow: np.ndarray):
        return self.network.key_half(paddle.to_tensor(flow))


def mean_motion(field):
    """Mean length of a flow ``[N, 2, H/4, W/4]`` in pixels of the image: ``[N]``."""
    return (field * field).sum(1).sqrt().mean([1, 2]) * 4.0


def pad_to_multiple(frames: np.ndarray, multiple: int) -> np.ndarray:
    """``[N, H, W, 3]`` extended at the bottom and right by its border to multiples of ``multiple``."""
    extra = [-side % multiple for side in frames.shape[1:3]]
    if not any(extra):
        return frames
    return np.pad(frames, ((0, 0), (0, extra[0]), (0, extra[1]), (0, 0)), "edge")


# ------------------------------------------------------------------ what export saves


class KeyGraph(paddle.nn.Layer):
    """``seg, flow [N, 3, H, W]`` -> labels, score map, flow half of a key frame."""

    def __init__(self, network: paddle.nn.Layer):
        super().__init__()
        self.network = network

    def forward(self, seg, flow):
        scores = self.network.key_map(seg)
        return self.network.labels(scores), scores, self.network.key_half(flow)


class CurrentGraph(paddle.nn.Layer):
    """``flow [N, 3, H, W]``, score map and flow half of the key frame -> labels, moved score map, mean flow ``[N]``."""

    def __init__(self, network: paddle.nn.Layer):
        super().__init__()
        self.network = network

    def forward(self, flow, scores, half):
        field, scale = self.network.flow(flow, half)
        moved = self.network.move(scores, field, scale)
        return self.network.labels(moved), moved, mean_motion(field)


class HalfGraph(paddle.nn.Layer):
    """``flow [N, 3, H, W]`` -> its flow half, for chained propagation."""

    def __init__(self, network: paddle.nn.Layer):
        super().__init__()
        self.network = network

    def forward(self, flow):
        return self.network.key_half(flow)
