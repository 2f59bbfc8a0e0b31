"""``python -m datasets.extract_frames SRC DST``: every video below SRC becomes a folder of frames below DST.

``SRC/Archery/v_Archery_g01_c01.avi`` becomes ``DST/Archery/v_Archery_g01_c01/img_00001.jpg ...``. A folder appears only
when it is complete, and one that exists is not touched: after an interruption the same command goes on.
"""
from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import cv2
from tqdm import tqdm

from datasets.files import complete_folder
from datasets.images import write_image
from datasets.transforms import resize_short_side
from datasets.video import VideoError, VideoReader

VIDEO_SUFFIXES = (".avi", ".mp4", ".mkv", ".webm", ".mov", ".mpg", ".mpeg", ".wmv", ".flv", ".m4v", ".ts")


def find_videos(source: Path) -> list[Path]:
    """Video files below a folder, by their suffix, as paths relative to it.

    Raises:
        FileNotFoundError: if the folder is missing or holds none.
        ValueError: if two videos differ in their suffix only, so that their frames would share a folder.
    """
    if not source.is_dir():
        raise FileNotFoundError(f"{source} is no folder; name the folder of the videos")
    found = sorted(path.relative_to(source) for path in source.rglob("*")
                   if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file() and not path.name.startswith("."))
    if not found:
        raise FileNotFoundError(f"{source} holds no videos ({', '.join(VIDEO_SUFFIXES)})")
    by_folder: dict[Path, Path] = {}
    for path in found:
        other = by_folder.setdefault(path.with_suffix(""), path)
        if other != path:
            raise ValueError(f"{other} and {path} in {source} would share a folder of frames; rename one")
    return found


def extract_video(video: Path, folder: Path, *, template: str = "img_{:05}.jpg", short_side: int | None = None,
                  quality: int = 95) -> int:
    """Write all frames of a video, numbered from 1, into the new folder ``folder``.

    Args:
        template: file name of a frame; its suffix decides the format.
        short_side: resize to this short side, in pixels; None keeps the size.
        quality: of JPEG, 0 to 100.

    Returns:
        Number of frames.

    Raises:
        VideoError: if the video cannot be decoded to its end; the folder then does not appear.
    """
    reader = VideoReader(video)
    with complete_folder(folder) as temporary:
        for number, pixels in enumerate(reader.every_frame(), start=1):
            if short_side is not None:
                pixels = resize_short_side(pixels[None], short_side)[0]
            write_image(temporary / template.format(number), pixels, quality)
    return number


def extract_all(source: Path, target: Path, *, workers: int = 1, progress=tqdm, **options) -> dict[Path, str]:
    """Extract every video below ``source`` that has no folder below ``target`` yet.

    Args:
        workers: processes.
        options: of :func:`extract_video`.

    Returns:
        What could not be extracted: relative path -> reason. The others are there.
    """
    videos = find_videos(source)
    todo = [path for path in videos if not (target / path.with_suffix("")).is_dir()]
    failed: dict[Path, str] = {}
    bar = progress(total=len(videos), initial=len(videos) - len(todo), desc="extracting", unit="video")
    for path, error in _run(source, target, todo, workers, options):
        if error is not None:
            failed[path] = error
        bar.update()
    bar.close()
    return failed


def _run(source: Path, target: Path, todo: list[Path], workers: int,
         options: dict) -> Iterable[tuple[Path, str | None]]:
    """Each path with the reason why it failed, or None, as they are done."""
    jobs = [(source / path, target / path.with_suffix(""), options) for path in todo]
    if workers <= 1:
        yield from ((path, _attempt(*job)) for path, job in zip(todo, jobs, strict=True))
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker)
    try:
        waiting = {pool.submit(_attempt, *job): path for path, job in zip(todo, jobs, strict=True)}
        for future in as_completed(waiting):
            yield waiting[future], future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process ends the workers
    cv2.setNumThreads(1)


def _attempt(video: Path, folder: Path, options: dict) -> str | None:
    """Reason of a failure, so that one bad file does not stop thousands of good ones."""
    try:
        extract_video(video, folder, **options)
    except VideoError as error:
        return str(error)
    return None


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m datasets.extract_frames", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder of videos, searched to any depth")
    parser.add_argument("target", type=Path, help="folder for the folders of frames")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default %(default)s)")
    parser.add_argument("--template", default="img_{:05}.jpg", help="file name of a frame (default %(default)s)")
    parser.add_argument("--short-side", type=int, help="resize to this short side in pixels (default: keep)")
    parser.add_argument("--quality", type=int, default=95, help="of JPEG (default %(default)s)")
    options = parser.parse_args(arguments)
    try:
        failed = extract_all(options.source, options.target, workers=options.workers, template=options.template,
                             short_side=options.short_side, quality=options.quality)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on where it was")
    if failed:
        sys.exit(f"{len(failed)} videos could not be extracted:\n  " + "\n  ".join(failed.values()))


if __name__ == "__main__":
    main()
