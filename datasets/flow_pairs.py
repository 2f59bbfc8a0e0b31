"""Image pairs with known optical flow, in the layout of Flying Chairs.

``NNNNN_img1.EXT NNNNN_img2.EXT NNNNN_flow.flo`` in one folder, where the flow leads from the first image into the
second. A ``.flo`` file holds the float32 number 202021.25, width and height as int32, then (x, y) of each pixel.
"""
from __future__ import annotations

from pathlib import Path

import numpy as np

from datasets.cityscapes_transforms import crop, crop_start, flow_input
from datasets.images import read_image

_TAG = np.float32(202021.25)


def read_flow(path: str | Path) -> np.ndarray:
    """float32 ``[H, W, 2]``, x then y, in pixels.

    Raises:
        FileNotFoundError, ValueError: if there is no such file, or it is no whole ``.flo`` file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    data = path.read_bytes()
    if len(data) < 12 or np.frombuffer(data[:4], "<f4")[0] != _TAG:
        raise ValueError(f"{path} is no .flo file: it does not begin with {_TAG}")
    width, height = np.frombuffer(data[4:12], "<i4")
    if len(data) != 12 + 8 * width * height:
        raise ValueError(f"{path} is {len(data)} bytes long, {12 + 8 * width * height} are needed for {width}x{height}")
    return np.frombuffer(data[12:], "<f4").reshape(height, width, 2).copy()


def write_flow(path: str | Path, flow: np.ndarray) -> None:
    """Write ``[H, W, 2]`` as a ``.flo`` file."""
    height, width = flow.shape[:2]
    Path(path).write_bytes(_TAG.tobytes() + np.array([width, height], "<i4").tobytes()
                           + np.ascontiguousarray(flow, "<f4").tobytes())


class FlowPairs:
    """Pairs of a folder.

    Args:
        folder: holds the three files of each pair.
        crop_size: (height, width) of a random crop, or None.
        flips: probabilities of mirroring left to right and top to bottom; the flow is mirrored with the images.
        translate: the second image's crop lies up to so many pixels beside the first's, on each axis, which the flow
            takes up (FlowNetPytorch: 10).
        flow_style: normalization of the images (``cityscapes_transforms.FLOW_STYLES``).
        unit: the flow is divided by it (20, the network's unit).
        repeat: how often an epoch goes through the folder.

    Raises:
        FileNotFoundError: if the folder holds no pair.
    """

    def __init__(self, folder: str | Path, *, crop_size: tuple[int, int] | None = None,
                 flips: tuple[float, float] = (0.0, 0.0), translate: int = 0, flow_style: str = "article",
                 unit: float = 20.0, repeat: int = 1):
        self.flows = sorted(Path(folder).glob("*_flow.flo"))
        if not self.flows:
            raise FileNotFoundError(f"{folder} holds no *_flow.flo; expected pairs in the layout of Flying Chairs")
        self.crop_size, self.flips, self.translate = crop_size, flips, translate
        self.flow_style, self.unit, self.repeat = flow_style, unit, repeat

    def __len__(self) -> int:
        return len(self.flows) * self.repeat

    def get(self, index: int, rng) -> dict[str, np.ndarray | str]:
        """``pair`` float32 ``[6, H, W]`` (first image, second image), ``target`` float32 ``[2, H, W]``, ``name``."""
        path = self.flows[index % len(self.flows)]
        stem = path.name.removesuffix("_flow.flo")
        images = [read_image(self._image(path, f"{stem}_img{number}")) for number in (1, 2)]
        flow = read_flow(path)
        if self.translate:
            images, flow = translated(images, flow, rng.integers(-self.translate, self.translate + 1, 2))
        if self.crop_size is not None:
            start = crop_start(flow.shape[:2], self.crop_size, rng, compatible=False)
            images = [crop(image, start, self.crop_size) for image in images]
            flow = crop(flow, start, self.crop_size)
        for axis, probability in ((1, self.flips[0]), (0, self.flips[1])):
            if probability and rng.random() < probability:
                images, flow = mirrored(images, flow, axis)
        pair = np.concatenate([flow_input(image, self.flow_style) for image in images])
        return {"pair": pair, "target": np.ascontiguousarray(flow.transpose(2, 0, 1) / self.unit, np.float32),
                "name": stem}

    @staticmethod
    def _image(path: Path, stem: str) -> Path:
        return next((found for suffix in (".ppm", ".png", ".jpg")
                     if (found := path.with_name(stem + suffix)).is_file()), path.with_name(f"{stem}.ppm"))


def translated(images, flow: np.ndarray, shift) -> tuple[list[np.ndarray], np.ndarray]:
    """Cut both images so that the second lies ``shift`` (x, y) pixels further, and take that from the flow."""
    height, width = flow.shape[:2]
    x, y = (int(part) for part in shift)
    size = (height - abs(y), width - abs(x))
    starts = (max(-y, 0), max(-x, 0)), (max(y, 0), max(x, 0))
    first, second = (crop(image, start, size) for image, start in zip(images, starts, strict=True))
    return [first, second], crop(flow, starts[0], size) - np.array([x, y], np.float32)


def mirrored(images, flow: np.ndarray, axis: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Images and flow turned round along an axis (0 top to bottom, 1 left to right)."""
    sign = np.array([-1, 1] if axis == 1 else [1, -1], np.float32)
    return [np.flip(image, axis) for image in images], np.flip(flow, axis) * sign
