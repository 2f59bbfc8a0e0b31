"""``python -m datasets.avsbench_preprocessing TASK ROOT``: videos -> frames, wave and log-mel in AVSBench's layout.

With ROOT/*/raw_videos and the csv in place (S4 or MS3) everything that is missing is made; ``--video`` takes one video
or a folder of videos of your own instead, adds them to the csv (split ``test``) and prepares them the same way.

Original: OpenNLPLab/AVSBench f7414af, ``preprocess_scripts``. Of every second the frame near its end is kept, resized
to 224 x 224; the wave is 16 kHz, 16 bit.
"""
from __future__ import annotations

import argparse
import csv
import sys
import wave
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from datasets.avsbench import COLUMNS, Clip, Layout, read_clips, second_frames
from datasets.files import complete_file
from datasets.images import write_image
from datasets.log_mel import RATE, fit_patches, log_mel_patches
from datasets.video import VideoReader, read_audio

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v")
SECONDS = 5
SIDE = 224


def prepare(layout: Layout, clip: Clip, *, video: Path | None = None, side: int = SIDE, seconds: int = SECONDS) -> bool:
    """Make the files of one clip that are missing; returns whether there were any.

    Every file appears whole or not at all, the log-mel last, so an interrupted run continues where it stopped.

    Raises:
        ValueError: a video that is shorter than a second, has no sound, or cannot be decoded.
    """
    frames = [layout.frame(clip, number + 1) for number in range(seconds)]
    wave_path, mel_path = layout.wave(clip), layout.log_mel(clip)
    if all(path.is_file() for path in (*frames, wave_path, mel_path)):
        return False
    source = video or layout.video(clip)
    reader = VideoReader(source)
    if len(reader) < reader.fps * 0.975:
        raise ValueError(f"{source} lasts {len(reader) / reader.fps:.2f} s; a clip needs about one second at least")
    samples = to_int16(read_audio(source, RATE))
    # A clip longer than the frames: the original fails above 5.775 s, we keep the patches that belong to them.
    patches = fit_patches(log_mel_patches(samples / 32768.0), seconds, str(source))
    # A row of S4 that starts after second 5 of its ten: the original writes the frames of what is left and its reader
    # misses the others; the last one stands in for them, as the last patch does for missing sound.
    left = seconds if clip.start <= seconds else max(1, int(2 * seconds - clip.start))
    numbers = second_frames(reader.fps, len(reader), left)
    numbers += numbers[-1:] * (seconds - left)
    for path, picture in zip(frames, reader.frames(numbers), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, cv2.resize(picture, (side, side), interpolation=cv2.INTER_LINEAR))
    write_wave(wave_path, samples)
    mel_path = mel_path.with_suffix(".npy")
    mel_path.parent.mkdir(parents=True, exist_ok=True)
    with complete_file(mel_path) as temporary, temporary.open("wb") as file:
        np.save(file, patches[:, None].astype(np.float32))
    return True


def to_int16(samples: np.ndarray) -> np.ndarray:
    """[-1, 1] -> what a 16-bit file holds."""
    return np.clip(np.round(samples * 32768.0), -32768, 32767).astype(np.int16)


def write_wave(path: Path, samples: np.ndarray) -> None:
    """int16 mono at 16 kHz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with complete_file(path) as temporary, wave.open(str(temporary), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.astype("<i2").tobytes())


def own_videos(task: str, source: Path) -> list[tuple[Clip, Path]]:
    """One video, or those of a folder, as clips of the test split.

    Raises:
        FileNotFoundError: if there is no video.
    """
    videos = [source] if source.is_file() else sorted(
        path for path in source.glob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    if not videos:
        raise FileNotFoundError(f"{source} is no video and holds none ({', '.join(VIDEO_SUFFIXES)})")
    return [(Clip(video.stem, "test", "own" if task == "S4" else ""), video) for video in videos]


def register(layout: Layout, clips: list[Clip]) -> None:
    """Add the clips that the csv does not list yet."""
    rows = [list(COLUMNS[layout.task])]
    if layout.csv.is_file():
        with layout.csv.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    known = {row[0] for row in rows[1:]}
    for clip in clips:
        if clip.name not in known:
            rows.append([clip.name, "0", clip.category, "test"] if layout.task == "S4" else [clip.name, "test"])
    layout.csv.parent.mkdir(parents=True, exist_ok=True)
    with complete_file(layout.csv) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def _job(arguments: tuple) -> tuple[str, bool, str]:
    """(name, made, problem): problems are collected so that one bad video does not stop the rest."""
    layout, clip, video, side = arguments
    try:
        return clip.name, prepare(layout, clip, video=video, side=side), ""
    except (ValueError, FileNotFoundError) as error:
        return clip.name, False, str(error)


def run(layout: Layout, clips: list[tuple[Clip, Path | None]], *, side: int,
        workers: int) -> tuple[int, dict[str, str]]:
    """Prepare clips in ``workers`` processes (0: here); returns how many were made, and problems by name."""
    jobs = [(layout, clip, video, side) for clip, video in clips]
    made, problems = 0, {}

    def follow(results) -> None:
        nonlocal made
        for name, new, problem in tqdm(results, total=len(jobs), desc=layout.task, unit="video"):
            made += new
            if problem:
                problems[name] = problem
    if workers:
        with ProcessPoolExecutor(workers) as pool:
            follow(pool.map(_job, jobs))
    else:
        follow(map(_job, jobs))
    return made, problems


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m datasets.avsbench_preprocessing",
                                     description="videos to frames, wave and log-mel in AVSBench's layout")
    parser.add_argument("task", choices=("S4", "MS3"))
    parser.add_argument("root", type=Path, help="folder that holds Single-source and Multi-sources (avsbench_data)")
    parser.add_argument("--video", type=Path, help="a video or a folder of videos of your own")
    parser.add_argument("--side", type=int, default=SIDE, help="of the frames, a multiple of 32 (default 224)")
    parser.add_argument("--workers", type=int, default=0, help="processes (default 0: this one)")
    options = parser.parse_args(arguments)
    if options.side % 32 or options.side <= 0:
        parser.error(f"--side {options.side}: the network takes multiples of 32")
    layout = Layout.of(options.task, options.root)
    try:
        clips = own_videos(options.task, options.video) if options.video else [
            (clip, None) for clip in read_clips(options.task, layout.csv)]
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    made, problems = run(layout, clips, side=options.side, workers=options.workers)
    if options.video:
        register(layout, [clip for clip, _ in clips if clip.name not in problems])
    sys.stdout.write(f"{made} of {len(clips)} clips prepared, {len(clips) - made - len(problems)} were complete, "
                     f"{len(problems)} could not be\n")
    for name, problem in problems.items():
        sys.stderr.write(f"{name}: {problem}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
