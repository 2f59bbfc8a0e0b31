"""Interactive segmentation of a user's video without a display: masks, scribbles and clicks in, masks out."""
from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from datasets.davis import read_labels
from datasets.scribbles import (
    annotated_frames,
    from_clicks,
    positive_negative,
    read_scribbles,
    scribble_map,
    strokes_of,
)
from datasets.video import VideoReader
from deploy.prediction import MaskVideoPrediction
from engine.progress import progress
from models.mivos.frame_store import LabelMaps
from models.mivos.s2m import scribbles_to_mask
from systems.mivos_export import exported_networks
from systems.mivos_video import Images, check_shape, label_probabilities, start_core

PREDICT_OPTIONS = ("interactions", "objects", "exported")


class _Append(argparse.Action):
    """Collects --mask, --scribbles and --clicks in the order of the command line."""

    def __call__(self, parser, namespace, value, option_string=None):
        kept = list(getattr(namespace, "interactions", None) or [])
        namespace.interactions = [*kept, (option_string.lstrip("-"), value)]


def add_options(parser) -> None:
    """Options of predict.py for this system."""
    for flag, metavar, text in (
            ("--mask", "PNG[@FRAME]", "a mask (palette or black and white) of a frame, by default the first"),
            ("--scribbles", "JSON", "scribbles in the form of DAVIS (needs network.s2m_weights)"),
            ("--clicks", "LIST", "frame,x,y,object,+ or - ; several joined by ';' (needs network.s2m_weights)")):
        parser.add_argument(flag, dest="interactions", metavar=metavar, action=_Append, default=None,
                            help=f"{text}; may be given several times, in order")
    parser.add_argument("--objects", type=int, default=None, help="number of objects (default: the largest one named)")
    parser.add_argument("--exported", metavar="DIR", action="append", default=[],
                        help="run the graphs of a part exported to this folder instead of its network; repeatable")


def parse_clicks(text: str) -> list[tuple[int, float, float, int, bool]]:
    """``frame,x,y,object,+/-`` joined by ``;`` -> (frame, x, y, object, positive); the sign may be left out (+).

    Raises:
        ValueError: naming the click that cannot be read.
    """
    clicks = []
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        parts = [part.strip() for part in entry.split(",")]
        if len(parts) not in (4, 5) or (len(parts) == 5 and parts[4] not in ("+", "-")):
            raise ValueError(f"click {entry!r}: expected frame,x,y,object,+ or frame,x,y,object,-")
        try:
            frame, x, y, label = int(parts[0]), float(parts[1]), float(parts[2]), int(parts[3])
        except ValueError as error:
            raise ValueError(f"click {entry!r}: {error}") from error
        if label < 1:
            raise ValueError(f"click {entry!r}: objects count from 1")
        clicks.append((frame, x, y, label, parts[-1] != "-"))
    if not clicks:
        raise ValueError(f"no click in {text!r}")
    return clicks


@dataclass
class Session:
    """Interactive work on one video: edit the mask of a frame, then carry it through the video.

    Args:
        networks: ``propagation``, ``fusion`` (or None), ``s2m`` (or None).
        images: the video's frames.
        objects: how many objects there are.
        options: ``InferenceConfig``.
        undo: how many propagations can be taken back.
    """

    networks: dict
    images: Images
    objects: int
    options: object
    undo_depth: int = 10
    _strokes: list = field(default_factory=list)
    _frame: int | None = None
    _base: np.ndarray | None = None
    _prob: np.ndarray | None = None

    def __post_init__(self):
        self.core = start_core(self.networks, self.images, self.objects, self.options, undo=self.undo_depth)

    @property
    def masks(self) -> np.ndarray:
        """Labels uint8 ``[T, h, w]`` at the working size, of the last propagation (and edits shown)."""
        return self.core.masks

    def paint(self, frame: int, labels: np.ndarray) -> np.ndarray:
        """Give the frame's mask by hand; ``labels [H, W]``, 255 counts as background."""
        labels = np.where(labels == 255, 0, labels)
        if labels.max() > self.objects:
            raise ValueError(f"the mask of frame {frame} names object {labels.max()}, there are {self.objects}")
        self._frame, self._strokes = frame, []
        self._prob = label_probabilities(labels, self.objects, self.images.size)
        self._base = self._prob.argmax(0)[0].astype(np.uint8)
        return self._base

    def scribble(self, frame: int, strokes: list[tuple[int, np.ndarray]]) -> np.ndarray:
        """Add strokes (object or 0, points in 0..1) to the frame; returns its labels.

        All strokes since the last :meth:`commit` are answered together, on top of the mask frozen there.

        Raises:
            ValueError: without a scribble network, or for an object that does not exist.
        """
        if self.networks["s2m"] is None:
            raise ValueError("scribbles and clicks need the scribble network: set network.s2m_weights")
        unknown = [label for label, _ in strokes if not 0 <= label <= self.objects]
        if unknown:
            raise ValueError(f"frame {frame}: a stroke of object {unknown[0]}, there are {self.objects} "
                             "(set --objects)")
        self._turn_to(frame)
        self._strokes = [*self._strokes, list(strokes)]
        return self._answer()

    def commit(self) -> None:
        """Freeze the frame's present result: later strokes correct it."""
        if self._prob is not None:
            self._base, self._strokes = self._current(), []

    def undo(self) -> bool:
        """Take back the last strokes on the frame being edited, else the last propagation; False if there is none."""
        if self._strokes:
            self._strokes = self._strokes[:-1]
            if self._strokes:
                self._answer()
            else:
                self._prob = None
            return True
        self._frame, self._base, self._prob = None, None, None
        return self.core.undo()

    def propagate(self, show: bool = False) -> None:
        """Carry the edited frame through the video; :attr:`masks` then holds the labels of all frames."""
        if self._prob is None:
            raise ValueError("nothing to propagate: paint, scribble or click on a frame first")
        bar = functools.partial(self._bar, frame=self._frame) if show else None
        self.core.interact(self._prob, self._frame, progress=bar)
        self._frame, self._strokes, self._base, self._prob = None, [], None, None

    @staticmethod
    def _bar(steps, total, frame):
        return progress(steps, f"from frame {frame}", total)

    def _turn_to(self, frame: int) -> None:
        if frame != self._frame:
            self.core.frame(frame)  # refuses a frame outside the video
            self._frame, self._strokes, self._prob = frame, [], None
            self._base = self.core.labels_at(frame)

    def _current(self) -> np.ndarray:
        return self._prob.argmax(0)[0].astype(np.uint8)

    def _answer(self) -> np.ndarray:
        strokes = [stroke for group in self._strokes for stroke in group]

        def draw(height, width):
            return positive_negative(scribble_map(strokes, height, width), self.objects)

        _, prob, _ = scribbles_to_mask(self.networks["s2m"], self.images[self._frame], self._base, self.objects, draw,
                                       displaced=self.options.displaced_scribbles)
        self._prob = self.core.unpadded(prob)
        return self._current()


def predict(system, network, path: str, interactions=None, objects: int | None = None,
            exported: Sequence[str] = ()) -> MaskVideoPrediction:
    """Masks of a video file or folder of frames after the given interactions, in their order.

    Args:
        system: :class:`systems.mivos.Mivos`.
        network: the part that was loaded.
        path: the video.
        interactions: ("mask", "PNG[@FRAME]"), ("scribbles", JSON) or ("clicks", LIST) in order.
        objects: how many objects; default: the largest id named.
        exported: folders of ``export_model.py``: their parts run as graphs.
    """
    if not interactions:
        raise ValueError("nothing was marked: give --mask, --scribbles or --clicks")
    reader = VideoReader(path)
    images = Images.of_reader(reader, system.config.inference.short_side)
    steps = [step for kind, value in interactions for step in _read_interaction(system, kind, value, images)]
    names = sorted({int(i) for step in steps for i in step["objects"] if i})
    count = objects or (max(names) if names else 1)
    if names and max(names) > count:
        raise ValueError(f"object {max(names)} is marked, but --objects says {count}")
    networks = system.companions(network) | exported_networks(exported)
    session = Session(networks, images, count, system.config.inference, undo_depth=0)
    if session.networks["propagation"] is None:
        raise ValueError("prediction needs a propagation network: part: propagation, or network.propagation_weights")
    for step in steps:
        if "labels" in step:
            session.paint(step["frame"], step["labels"])
        else:
            session.scribble(step["frame"], step["strokes"])
        session.propagate(show=True)
    masks = LabelMaps(len(images), images.original)
    for t in progress(range(len(images)), "original size", len(images)):
        masks[t] = session.core.labels_at(t, images.original)
    labels = {i: f"object {i}" for i in range(1, count + 1)}
    return MaskVideoPrediction(path, images.full_size().pictures(), masks, labels, reader.fps,
                               scores={"objects": count, "interactions": len(steps)})


def _read_interaction(system, kind: str, value: str, images: Images) -> list[dict]:
    """The steps of one option: frame, objects and either labels or strokes."""
    if kind == "mask":
        name, _, frame = value.rpartition("@") if value.rpartition("@")[2].isdigit() and "@" in value else (
            value, "", "0")
        labels = read_labels(name)
        check_shape(labels, images.original, name)
        return [{"frame": _inside(int(frame), images, name), "labels": labels, "objects": np.unique(labels)}]
    if kind == "scribbles":
        content = read_scribbles(value)
        marked = {frame: strokes_of(content, frame) for frame in annotated_frames(content)}
        if not marked:
            raise ValueError(f"{value}: no frame has a stroke")
    else:
        text = Path(value).read_text().replace("\n", ";") if Path(value).is_file() else value
        height, width = images.original
        marked = from_clicks(parse_clicks(text), len(images), height, width,
                             radius=system.config.inference.click_radius)
    return [{"frame": _inside(frame, images, value), "strokes": strokes, "objects": [label for label, _ in strokes]}
            for frame, strokes in marked.items()]


def _inside(frame: int, images: Images, source: str) -> int:
    if not 0 <= frame < len(images):
        raise ValueError(f"{source}: frame {frame} is outside the video's {len(images)} frames "
                         f"(0 to {len(images) - 1})")
    return frame
