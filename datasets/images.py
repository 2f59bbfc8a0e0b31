"""Reading pictures, with an error for everything that is not a whole picture."""
from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

# OpenCV decodes the rest of a cut file as grey without complaint, so the end marks are looked for.
_MARKS = {b"\xff\xd8\xff": (b"\xff\xd9", "JPEG"), b"\x89PNG": (b"IEND", "PNG")}


class ImageError(ValueError):
    """A file that is no picture, or only a part of one."""


def read_image(path: str | Path) -> np.ndarray:
    """Decode a picture as uint8 RGB ``H W 3`` (as OpenCV does; grey is repeated, transparency dropped).

    Raises:
        FileNotFoundError: if there is no such file.
        ImageError: if it cannot be decoded or is cut off.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; extract this frame or correct the list that names it")
    data = path.read_bytes()
    for start, (end, kind) in _MARKS.items():
        if data.startswith(start) and end not in data[len(start):]:
            raise ImageError(f"{path} is a {kind} file that breaks off after {len(data)} bytes; "
                             "copy or extract it again")
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if pixels is None:
        raise ImageError(f"{path} ({len(data)} bytes) is no picture that OpenCV can decode; extract it again")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def write_image(path: str | Path, pixels: np.ndarray, quality: int = 95) -> None:
    """Encode uint8 RGB ``H W 3`` or grey ``H W`` by the suffix of ``path`` (JPEG of ``quality``, PNG, ...)."""
    path = Path(path)
    ordered = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 else pixels
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix.lower() in (".jpg", ".jpeg") else []
    done, data = cv2.imencode(path.suffix, ordered, options)
    if not done:
        raise ImageError(f"{path}: cannot encode {pixels.dtype}{list(pixels.shape)} as {path.suffix}")
    path.write_bytes(data.tobytes())
