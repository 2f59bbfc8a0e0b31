"""Lists of labelled videos: ``path label`` for video files, ``path frames label`` for folders of frames.

Paths lie below a folder. Fields are separated by white space; a path with blanks may stand as it is where its line has
one label, in quotes, or before a tab. Blank lines are skipped; the last line may lack its newline.
"""
from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from datasets.images import read_image
from datasets.video import VideoError, VideoReader

LAYOUTS = ("rawframes", "videos")


class ListError(ValueError):
    """A list file that cannot be read; the message names file and line."""


class Frames(Protocol):
    """A video: its length, and frames by number from 0."""

    def __len__(self) -> int: ...

    def frames(self, indices: Sequence[int] | np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Video:
    """One line of a list, or one video of its own.

    Attributes:
        name: the path as the list has it.
        path: the video file or folder of frames.
        frames: how many frames of the folder belong to it; None where the file itself tells.
        label: class from 0; several in a tuple where the list has several; None for a video without.
        line: ``list file:line``, for error messages.
        template: file name of a frame with a place for its number; None where the file or folder itself tells.
        first: number of the first frame in its file name.
    """

    name: str
    path: Path
    frames: int | None = None
    label: int | tuple[int, ...] | None = None
    line: str = "command line"
    template: str | None = None
    first: int = 1


def read_video_list(list_file: str | Path, folder: str | Path, *, layout: str = "videos",
                    template: str = "img_{:05}.jpg", first: int = 1, with_offset: bool = False,
                    multi_class: bool = False, classes: int | None = None) -> list[Video]:
    """Read a list file.

    Args:
        list_file: lines ``path label`` (``videos``) or ``path frames label`` (``rawframes``).
        folder: where its paths start from.
        layout: what the paths name, ``videos`` (files, or folders of frames taken whole) or ``rawframes``.
        template: file names of frames, for example ``image_{:04d}.jpg``.
        first: number of a folder's first frame.
        with_offset: rawframes lines are ``path start frames label``, ``start`` counted from the first frame.
        multi_class: a line may have several labels; ``label`` is a tuple.
        classes: labels must be below this number.

    Raises:
        FileNotFoundError: if list or folder is missing.
        ListError: for a line that does not have this form, or a list without lines.
    """
    list_file, folder = Path(list_file), Path(folder)
    if layout not in LAYOUTS:
        raise ValueError(f"layout {layout!r} is none of {', '.join(LAYOUTS)}")
    if not list_file.is_file():
        raise FileNotFoundError(f"{list_file} does not exist; name the list of videos, or make one "
                                "(python -m datasets.ucf101_lists makes those of UCF-101)")
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder, but the paths of {list_file} start from there")
    _check_template(template)
    before = {"videos": 0, "rawframes": 2 if with_offset else 1}[layout]
    videos = []
    for number, text in enumerate(list_file.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not text.strip():
            continue
        place = f"{list_file}:{number}"
        name, counts, labels = _fields(text.strip(), before, multi_class, place)
        if classes is not None and max(labels) >= classes:
            raise ListError(f"{place}: label {max(labels)} does not exist among {classes} classes, 0 to {classes - 1}; "
                            "correct the list or the number of classes")
        label = tuple(labels) if multi_class else labels[0]
        if layout == "videos":
            videos.append(Video(name, folder / name, None, label, place))
            continue
        if counts[-1] == 0:
            raise ListError(f"{place}: {name} has 0 frames; extract them or remove the line")
        videos.append(Video(name, folder / name, counts[-1], label, place, template,
                            first + (counts[0] if with_offset else 0)))
    if not videos:
        raise ListError(f"{list_file} lists no videos")
    return videos


def single_video(path: str | Path) -> Video:
    """A plain video file or folder of frames as an item of its own, without label."""
    path = Path(path)
    return Video(path.name, path)


def open_video(video: Video) -> Frames:
    """The reader of a video: a file, a whole folder, or the listed frames of one.

    Raises:
        FileNotFoundError, VideoError: naming the list's line besides the file.
    """
    if video.template is not None:
        return RawFrames(video)
    try:
        return VideoReader(video.path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error} ({video.line})") from error
    except VideoError as error:
        raise VideoError(f"{error} ({video.line})") from error


class RawFrames:
    """Frames of a folder by the numbers in their names, as many as its list says."""

    def __init__(self, video: Video):
        self.video = video

    def __len__(self) -> int:
        return self.video.frames

    def file(self, index: int) -> Path:
        """Picture file of frame ``index`` from 0."""
        return self.video.path / self.video.template.format(index + self.video.first)

    def frames(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """The frames at ``indices`` (from 0), uint8 RGB ``N H W 3``; each distinct one is decoded once.

        Raises:
            IndexError: for a number outside the video.
            FileNotFoundError: for a missing frame, with the list's line and what the folder holds.
            VideoError: for frames of different sizes.
        """
        wanted, places = np.unique(np.asarray(indices, np.int64).reshape(-1), return_inverse=True)
        if len(wanted) and (wanted[0] < 0 or wanted[-1] >= len(self)):
            raise IndexError(f"{self.video.line} gives {self.video.name} the frames 0 to {len(self) - 1}; "
                             f"{wanted[0] if wanted[0] < 0 else wanted[-1]} was asked for")
        pictures = list(self._pictures(wanted))
        if len({picture.shape for picture in pictures}) > 1:
            sizes = sorted({f"{picture.shape[1]}x{picture.shape[0]}" for picture in pictures})
            raise VideoError(f"{self.video.path}: frames measure {' and '.join(sizes)} pixels ({self.video.line}); "
                             "make them equal")
        return np.stack(pictures)[places]

    def _pictures(self, wanted: np.ndarray) -> Iterator[np.ndarray]:
        for index in wanted:
            path = self.file(int(index))
            if not path.is_file():
                raise FileNotFoundError(self._missing(path))
            yield read_image(path)

    def _missing(self, path: Path) -> str:
        video = self.video
        pattern = re.sub(r"\{.*?\}", "*", video.template)
        held = len(list(video.path.glob(pattern))) if video.path.is_dir() else None
        found = f"{video.path} does not exist" if held is None else f"{video.path} holds {held} files {pattern}"
        return (f"{path} is missing: {video.line} lists {video.frames} frames of {video.name} from number "
                f"{video.first}, {found}. Extract the frames there, or correct the list, folder or file name template")


def _fields(text: str, before: int, multi_class: bool, place: str) -> tuple[str, list[int], list[int]]:
    """Path, the ``before`` numbers after it, and labels."""
    quoted = re.fullmatch(r"""(["'])(.+?)\1\s+(.*)""", text)
    if quoted:
        name, numbers = quoted[2], quoted[3].split()
    elif "\t" in text:
        name, numbers = text.split("\t", 1)[0].strip(), text.split("\t", 1)[1].split()
    elif multi_class:
        name, *numbers = text.split()
    else:
        name, *numbers = text.rsplit(maxsplit=before + 1)
    form = " ".join(["path", *["start", "frames"][2 - before:], "label", *["[label ...]"] * multi_class])
    right = len(numbers) > before if multi_class else len(numbers) == before + 1
    if not right or not all(re.fullmatch(r"\d+", number, re.ASCII) for number in numbers):
        raise ListError(f"{place}: expected '{form}' with numbers from 0 after the path, found {text!r}"
                        + ("; a path with blanks needs quotes here" if multi_class else ""))
    values = [int(number) for number in numbers]
    return name, values[:before], values[before:]


def _check_template(template: str) -> None:
    try:
        distinct = template.format(1) != template.format(2)
    except (IndexError, KeyError, ValueError) as error:
        raise ValueError(f"template {template!r} is no file name with a place for a number such as "
                         f"img_{{:05}}.jpg ({error})") from error
    if not distinct:
        raise ValueError(f"template {template!r} has no place for the frame number, such as img_{{:05}}.jpg")
