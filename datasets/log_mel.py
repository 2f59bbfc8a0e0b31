"""Wave -> log-mel patches for VGGish, and the reader of AVSBench's pickled ones. Arithmetic in float64.

Original: harritaylor/torchvggish f3f9096 (``mel_features.py``, ``vggish_input.py``), itself from AudioSet's code.
A patch covers 0.96 s (96 windows, 10 ms apart), not a second: patch k begins at 0.96 k s.
"""
from __future__ import annotations

import io
import pickle
from functools import lru_cache
from pathlib import Path

import numpy as np

RATE = 16000  # samples a second
WINDOW, HOP, FFT = 400, 160, 512  # samples: 25 ms, 10 ms
FRAMES, BANDS = 96, 64  # windows and mel bands of a patch
OFFSET = 0.01  # added before the logarithm
PATCH_SAMPLES = HOP * (FRAMES - 1) + WINDOW  # 15 600
SILENCE = np.log(OFFSET)  # -4.605: the smallest value there is


def log_mel_patches(wave: np.ndarray) -> np.ndarray:
    """``wave [samples]`` or ``[samples, channels]`` at 16 kHz in [-1, 1] -> float64 ``[n, 96, 64]``.

    n is 0 below 15 600 samples; what does not fill a patch is left out.
    """
    wave = np.asarray(wave, np.float64)
    if wave.ndim > 1:
        wave = wave.mean(1)
    if len(wave) < WINDOW:
        return np.zeros((0, FRAMES, BANDS))
    rows = log_mel(wave)
    count = len(rows) // FRAMES
    return rows[:count * FRAMES].reshape(count, FRAMES, BANDS)


def log_mel(wave: np.ndarray) -> np.ndarray:
    """Logarithm of the mel spectrum of every window: ``[samples]`` -> ``[windows, 64]``."""
    windows = np.lib.stride_tricks.sliding_window_view(wave, WINDOW)[::HOP]
    magnitude = np.abs(np.fft.rfft(windows * hann(), FFT))
    return np.log(magnitude @ mel_matrix() + OFFSET)


@lru_cache(maxsize=1)
def hann() -> np.ndarray:
    """The periodic raised cosine, ``[400]``."""
    return 0.5 - 0.5 * np.cos(2 * np.pi / WINDOW * np.arange(WINDOW))


@lru_cache(maxsize=1)
def mel_matrix() -> np.ndarray:
    """Triangles from 125 to 7500 Hz, straight in mel (HTK's formula), ``[257, 64]``; the constant part (bin 0) is 0."""
    def mel(hertz):
        return 1127.0 * np.log(1.0 + hertz / 700.0)
    bins = mel(np.linspace(0.0, RATE / 2, FFT // 2 + 1))[:, None]
    edges = np.linspace(mel(125.0), mel(7500.0), BANDS + 2)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    matrix = np.maximum(0.0, np.minimum((bins - lower) / (centre - lower), (upper - bins) / (upper - centre)))
    matrix[0] = 0.0
    return matrix


def fit_patches(patches: np.ndarray, count: int, source: str = "the sound") -> np.ndarray:
    """Exactly ``count`` patches: the last one repeated where there are fewer, the first ones where there are more.

    The original fails on more than five.

    Raises:
        ValueError: if there is none.
    """
    if not len(patches):
        raise ValueError(f"{source} is shorter than {PATCH_SAMPLES / RATE:.3f} s: there is no patch to work with")
    missing = max(0, count - len(patches))
    return np.concatenate([patches[:count], np.repeat(patches[-1:], missing, 0)])


def patches_at(wave: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """One patch from each start (seconds), silence where the wave has ended: ``[len(starts), 96, 64]`` float64."""
    rows = []
    for start in starts:
        first = max(0, round(float(start) * RATE))
        piece = wave[first:first + PATCH_SAMPLES]
        rows.append(log_mel(np.pad(piece, (0, PATCH_SAMPLES - len(piece))))[:FRAMES])
    return np.stack(rows) if rows else np.zeros((0, FRAMES, BANDS))


def read_log_mel(path: str | Path) -> np.ndarray:
    """Patches ``[n, 1, 96, 64]`` float32 from our ``.npy`` or from AVSBench's ``.pkl`` (a pickled PyTorch tensor).

    Nothing in the file is executed.

    Raises:
        FileNotFoundError, ValueError: if it is absent, damaged or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such log-mel file; python -m datasets.avsbench_preprocessing writes it")
    try:
        if path.suffix == ".npy":
            patches = np.load(path, allow_pickle=False)
        else:
            with path.open("rb") as file:
                patches = _TensorUnpickler(file).load()
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} cannot be read as a log-mel: {error}") from error
    if not isinstance(patches, np.ndarray) or patches.ndim != 4 or patches.shape[1:] != (1, FRAMES, BANDS):
        found = list(patches.shape) if isinstance(patches, np.ndarray) else type(patches).__name__
        raise ValueError(f"{path}: expected patches of shape n 1 {FRAMES} {BANDS}, found {found}")
    return np.ascontiguousarray(patches, np.float32)


class _TensorUnpickler(pickle.Unpickler):
    """Knows a pickled float32 tensor of PyTorch and nothing else."""

    def find_class(self, module: str, name: str):
        known = {("torch._utils", "_rebuild_tensor_v2"): _rebuild, ("torch.storage", "_load_from_bytes"): _storage,
                 ("collections", "OrderedDict"): dict, ("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no tensor; such a file could run "
                                         "code and is not read")
        return known[module, name]


class _LegacyUnpickler(pickle.Unpickler):
    """PyTorch's format before 1.6: the storage is named, its numbers follow."""

    def find_class(self, module: str, name: str):
        if (module, name) == ("torch", "FloatStorage"):
            return "FloatStorage"
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, identifier):
        return identifier  # ('storage', type, key, device, size, view)


def _storage(content: bytes) -> np.ndarray:
    if content[:2] == b"PK":
        return _zip_storage(content)
    file = io.BytesIO(content)
    magic, protocol, _, identifier, keys = (_LegacyUnpickler(file).load() for _ in range(5))
    if magic != 0x1950A86A20F9469CFC6C or protocol != 1001 or identifier[1] != "FloatStorage" or len(keys) != 1:
        raise ValueError("the tensor's storage is not float32 in PyTorch's legacy format")
    count = int.from_bytes(file.read(8), "little")
    return np.frombuffer(file.read(4 * count), "<f4", count)


def _zip_storage(content: bytes) -> np.ndarray:
    """A storage written by PyTorch 1.6 or later: a zip whose one data file holds the numbers."""
    import zipfile
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [name for name in archive.namelist() if "/data/" in name]
        if len(names) != 1:
            raise ValueError(f"the tensor's archive holds {len(names)} data files, expected one")
        return np.frombuffer(archive.read(names[0]), "<f4")


def _rebuild(storage: np.ndarray, offset: int, size: tuple, stride: tuple, *rest) -> np.ndarray:
    if offset < 0 or any(n < 0 for n in size) or any(s < 0 for s in stride) or len(size) != len(stride):
        raise ValueError(f"a tensor of size {size} and stride {stride} cannot be")
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if 0 not in size and last >= len(storage):
        raise ValueError(f"the tensor needs {last + 1} numbers, the file holds {len(storage)}")
    return np.lib.stride_tricks.as_strided(storage[offset:], size, [4 * s for s in stride]).copy()
