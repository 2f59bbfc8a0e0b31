"""AVSBench's data code restated after the original: frame numbers, log-mel, images and masks.

Independent of ``datasets``. OpenNLPLab/AVSBench f7414af (``preprocess_scripts``, ``dataloader.py``), torchvggish
f3f9096 (``mel_features.py``, ``vggish_input.py``) and, for other rates than 16 kHz, resampy 0.4.3 (``kaiser_best``).
"""
from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image

RESAMPY_04 = {"zeros": 50, "precision": 13, "beta": 12.984585250325175, "rolloff": 0.9173473712608761}


def frame_numbers(fps: float, frames: int, seconds: int = 5) -> list[int]:
    """0-based numbers of the frames saved as 1..5: upstream lists 16 a second and keeps every sixteenth."""
    interval = round(fps)
    numbers = []
    for second in range(seconds):
        listed = [min(int(second * interval + k / 16 * interval), frames - 1) for k in range(16)]
        numbers.append(listed[15])
    return numbers


def window(length: int = 400) -> np.ndarray:
    return 0.5 - 0.5 * np.cos(2 * np.pi / length * np.arange(length))


def mel_matrix(bands=64, bins=257, rate=16000, low=125.0, high=7500.0) -> np.ndarray:
    """HTK triangles, linear in mel; filter by filter."""
    def mel(hertz):
        return 1127.0 * np.log(1.0 + hertz / 700.0)
    spectrum = mel(np.linspace(0.0, rate / 2, bins))
    edges = np.linspace(mel(low), mel(high), bands + 2)
    matrix = np.empty((bins, bands))
    for i in range(bands):
        lower, centre, upper = edges[i:i + 3]
        rising = (spectrum - lower) / (centre - lower)
        falling = (upper - spectrum) / (upper - centre)
        matrix[:, i] = np.maximum(0.0, np.minimum(rising, falling))
    matrix[0, :] = 0.0
    return matrix


def waveform_to_examples(wave: np.ndarray, rate: int) -> np.ndarray:
    """``wave [samples]`` or ``[samples, channels]`` in [-1, 1] -> ``[n, 96, 64]`` float64."""
    if wave.ndim > 1:
        wave = wave.mean(1)
    if rate != 16000:
        wave = resample(wave, rate, 16000)
    rows = []
    for start in range(0, len(wave) - 400 + 1, 160):
        magnitude = np.abs(np.fft.rfft(wave[start:start + 400] * window(), 512))
        rows.append(np.log(magnitude @ mel_matrix_cached() + 0.01))
    count = (len(rows) - 96) // 96 + 1 if len(rows) >= 96 else 0
    return np.array([rows[96 * k:96 * k + 96] for k in range(count)]).reshape(count, 96, 64)


_MATRIX: list[np.ndarray] = []


def mel_matrix_cached() -> np.ndarray:
    if not _MATRIX:
        _MATRIX.append(mel_matrix())
    return _MATRIX[0]


def pad_to_five(examples: np.ndarray) -> np.ndarray:
    while len(examples) < 5:
        examples = np.concatenate([examples, examples[-1:]])
    return examples


def resample(x: np.ndarray, old: int, new: int, *, zeros=50, precision=13, beta=RESAMPY_04["beta"],
             rolloff=RESAMPY_04["rolloff"]) -> np.ndarray:
    """Windowed sinc with linear interpolation in a table, as resampy: sample t of the output is at t * old / new."""
    per_crossing = 2**precision
    grid = np.linspace(0, zeros, per_crossing * zeros + 1)
    table = rolloff * np.sinc(rolloff * grid) * np.kaiser(2 * len(grid) - 1, beta)[len(grid) - 1:]
    ratio = new / old
    if ratio < 1:
        table = table * ratio
    slope = np.append(np.diff(table), 0.0)
    scale = min(1.0, ratio)
    step = int(scale * per_crossing)
    out = np.zeros(int(len(x) * new / old))
    for t in range(len(out)):
        time = t * old / new
        n = int(time)
        for direction, fraction in ((0, scale * (time - n)), (1, scale - scale * (time - n))):
            place = fraction * per_crossing
            offset = int(place)
            eta = place - offset
            available = n + 1 if direction == 0 else len(x) - n - 1
            count = min(available, (len(table) - offset) // step)
            if count <= 0:
                continue
            index = offset + step * np.arange(count)
            weight = table[index] + eta * slope[index]
            samples = x[n - np.arange(count)] if direction == 0 else x[n + 1 + np.arange(count)]
            out[t] += weight @ samples
    return out


def sampling(run) -> dict[str, np.ndarray]:
    made = {}
    for key in run.wanted or run.stage["keys"]:
        fps, frames = key.split("_")
        made[key] = np.array(frame_numbers(float(fps), int(frames)), "int64")
    return made


def mel(run) -> dict[str, np.ndarray]:
    """Float waves go in as they are; int16 waves are what a 16-bit file holds."""
    made = {"matrix": mel_matrix(), "window": window()}
    for name, wave in run.inputs.items():
        if not name.startswith("wave_"):
            continue
        rate = int(name.split("_")[1])
        if wave.dtype == np.int16:
            examples = waveform_to_examples(wave / 32768.0, rate)[:, None].astype(np.float32)
            made[name], made[f"{name}.pkl"] = examples, pad_to_five(examples)
        else:
            made[name] = waveform_to_examples(wave.astype(np.float64), rate)
            if rate != 16000:
                made[f"{name}.resampled"] = resample(wave.astype(np.float64), rate, 16000)
    return made


def transform(run) -> dict[str, np.ndarray]:
    """``mask_STORED_as_MODE`` through a PNG file, as the dataset classes read it."""
    image = run.inputs["image"]
    made = {"resize_224": cv2.resize(image, (224, 224)), "image": load_image(_png(Image.fromarray(image)))}
    gray = Image.fromarray((run.inputs["gray_mask"] * 255).astype(np.uint8))
    palette = gray.copy()
    palette.putpalette([value for value in range(256) for _ in range(3)])
    stored = {"L": gray, "1": gray.convert("1"), "RGB": gray.convert("RGB"), "Pgray": palette}
    for name, picture in stored.items():
        for mode in ("P", "1"):
            made[f"mask_{name}_as_{mode}"] = load_mask(_png(picture), mode)
    return made


def _png(picture: Image.Image) -> io.BytesIO:
    file = io.BytesIO()
    picture.save(file, "PNG")
    file.seek(0)
    return file


def load_image(file) -> np.ndarray:
    values = np.asarray(Image.open(file).convert("RGB"), np.float32) / np.float32(255)
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    return ((values - mean) / std).transpose(2, 0, 1)


def load_mask(file, mode: str) -> np.ndarray:
    picture = np.asarray(Image.open(file).convert(mode))
    if mode == "1":
        picture = picture.astype(np.uint8) * np.uint8(255)
    return picture[None].astype(np.float32) / np.float32(255)
