"""The random crop both video-text systems train with: four sizes, a few fixed places, one choice per clip."""
from __future__ import annotations

SCALES = (1.0, 0.875, 0.75, 0.66)


def crop_sizes(width: int, height: int, target: int, scales=SCALES) -> list[tuple[int, int]]:
    """Candidate (width, height) pairs in the originals' order; neighbours of a scale may mix.

    A side within 2 pixels of ``target`` becomes it.
    """
    base = min(width, height)
    sizes = [int(base * scale) for scale in scales]
    sizes = [target if abs(size - target) < 3 else size for size in sizes]
    return [(w, h) for i, h in enumerate(sizes) for j, w in enumerate(sizes) if abs(i - j) <= 1]


def thirteen_offsets(width: int, height: int, crop_width: int, crop_height: int) -> list[tuple[int, int]]:
    """ActionCLIP's (x, y): corners, centre, edge middles and quarter points."""
    dx, dy = (width - crop_width) // 4, (height - crop_height) // 4
    steps = ((0, 0), (4, 0), (0, 4), (4, 4), (2, 2), (0, 2), (4, 2), (2, 4), (2, 0), (1, 1), (3, 1), (1, 3), (3, 3))
    return [(x * dx, y * dy) for x, y in steps]


def five_offsets(width: int, height: int, crop_width: int, crop_height: int) -> list[tuple[int, int]]:
    """X-CLIP's (x, y): corners and centre."""
    return thirteen_offsets(width, height, crop_width, crop_height)[:5]


def draw_crop(width: int, height: int, target: int, rng, offsets=thirteen_offsets) -> tuple[int, int, int, int]:
    """(crop width, crop height, x, y): a size, then a place, each drawn uniformly."""
    pairs = crop_sizes(width, height, target)
    crop_width, crop_height = pairs[int(rng.integers(0, len(pairs)))]
    places = offsets(width, height, crop_width, crop_height)
    x, y = places[int(rng.integers(0, len(places)))]
    return crop_width, crop_height, x, y
