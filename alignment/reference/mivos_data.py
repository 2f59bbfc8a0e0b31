"""NumPy re-statement of the data and metric code around MiVOS, independent of ``datasets`` and ``metrics``.

Frame triples (Mask-Propagation ``dataset/vos_dataset.py``), padding, scribbles (davis-interactive), J and F and
their statistics (davis2017-evaluation), the interactive summary. Written from the definitions in loops and sets
where ours is vectorised.
"""
from __future__ import annotations

import math
from itertools import pairwise

import numpy as np


def pad_amounts(height, width, divisor=16):
    """(left, right, top, bottom): the lower side gets the smaller half."""
    extra_h, extra_w = -height % divisor, -width % divisor
    return extra_w // 2, extra_w - extra_w // 2, extra_h // 2, extra_h - extra_h // 2


def frame_triple(stream, frames, max_jump):
    """Three frame indices from a ``RandomState``: randint three times, rand once."""
    jump = min(frames, max_jump)
    start = stream.randint(frames - jump + 1)
    second = min(start + stream.randint(jump + 1) + 1, frames - jump, frames - 1)
    third = min(second + stream.randint(jump + 1) + 1, frames - jump // 2, frames - 1)
    triple = [start, second, third]
    return triple[::-1] if stream.rand() < 0.5 else triple


def bezier(points, count):
    """Bézier curve of control points [n, 2] at ``count`` even parameters, by de Casteljau's scheme.

    davis-interactive's curve runs from the last point to the first.
    """
    curve = []
    for t in np.linspace(0.0, 1.0, count):
        level = np.asarray(points, np.float64)[::-1]
        while len(level) > 1:
            level = (1 - t) * level[:-1] + t * level[1:]
        curve.append(level[0])
    return np.array(curve)


def line(start, end):
    """Pixels of a Bresenham line, both ends included."""
    (x, y), (x_end, y_end) = start, end
    dx, dy = abs(x_end - x), abs(y_end - y)
    sx, sy = (1 if x_end > x else -1), (1 if y_end > y else -1)
    long, short = max(dx, dy), min(dx, dy)
    error, pixels = 2 * short - long, []
    for _ in range(long + 1):
        pixels.append((x, y))
        while error >= 0:
            if dx > dy:
                y += sy
            else:
                x += sx
            error -= 2 * long
        if dx > dy:
            x += sx
        else:
            y += sy
        error += 2 * short
    return pixels


def bresenham(points):
    """Lines through integer points [n, 2]; inner points come twice, as in davis-interactive."""
    points = [tuple(int(v) for v in p) for p in points]
    return np.array([pixel for a, b in pairwise(points) for pixel in line(a, b)])


def scribble_map(paths, height, width):
    """paths: [(object, [[x, y] in 0..1])] in drawing order -> labels, -1 where nothing is drawn."""
    drawn = np.full((height, width), -1, np.int64)
    for label, path in paths:
        pixels = np.trunc(np.asarray(path, np.float64) * (width - 1, height - 1)).astype(int)
        for x, y in bresenham(pixels):
            drawn[y, x] = label
    return drawn


def dilate3(binary):
    """Dilation by a 3x3 square of ones."""
    padded = np.pad(binary, 1)
    height, width = binary.shape
    return np.max([padded[y:y + height, x:x + width] for y in range(3) for x in range(3)], axis=0)


def positive_negative(drawn, objects):
    """uint8 [objects, 2, H, W]: scribbles of an object, and scribbles of anything else, both dilated."""
    maps = [[dilate3(drawn == i), dilate3((drawn != i) & (drawn != -1))] for i in range(1, objects + 1)]
    return np.array(maps).astype(np.uint8)


def jaccard(truth, guess):
    union = np.sum(truth | guess)
    return 1.0 if union == 0 else np.sum(truth & guess) / union


def boundary(mask):
    """Pixels that differ from their right, lower or lower-right neighbour, pixel by pixel at the rims."""
    edge = np.zeros(mask.shape, bool)
    edge[:-1, :-1] = ((mask[:-1, :-1] != mask[:-1, 1:]) | (mask[:-1, :-1] != mask[1:, :-1])
                      | (mask[:-1, :-1] != mask[1:, 1:]))
    edge[-1, :-1] = mask[-1, :-1] != mask[-1, 1:]
    edge[:-1, -1] = mask[:-1, -1] != mask[1:, -1]
    return edge


def radius_of(height, width, share=0.008):
    return math.ceil(share * math.hypot(height, width))


def matched(edges, others, radius):
    """How many of ``edges`` have one of ``others`` within ``radius`` (Euclidean, centres)."""
    a, b = np.argwhere(edges), np.argwhere(others)
    if not len(a) or not len(b):
        return 0
    return sum(int((((p - b) ** 2).sum(1) <= radius**2).any()) for p in a)


def f_measure(truth, guess):
    edges_truth, edges_guess = boundary(truth), boundary(guess)
    radius = radius_of(*truth.shape)
    n_truth, n_guess = edges_truth.sum(), edges_guess.sum()
    if n_guess == 0 and n_truth == 0:
        return 1.0
    if n_guess == 0 or n_truth == 0:
        return 0.0  # one of precision and recall is 0
    precision = matched(edges_guess, edges_truth, radius) / n_guess
    recall = matched(edges_truth, edges_guess, radius) / n_truth
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def statistics(values):
    """(mean, share above 0.5, decay between the first and the last quarter)."""
    values = np.asarray(values, np.float64)
    cuts = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(int) - 1
    first, last = values[cuts[0]:cuts[1] + 1], values[cuts[3]:cuts[4] + 1]
    return values.mean(), (values > 0.5).mean(), first.mean() - last.mean()


def summary(rows, interactions, samples, max_time, threshold):
    """Curve of an interactive session.

    Args:
        rows: {(interaction, sample): ([value per object], seconds)}; missing interactions are left out.
        samples: every (sequence, scribble) with at least one row.
        max_time: seconds, end of the time axis.

    Returns:
        dict with auc, at (value at ``threshold`` seconds), time, curve.
    """
    curve, seconds = [0.0], [0.0]
    for interaction in range(interactions):
        values, spent = [], []
        for sample in samples:
            if (interaction, sample) in rows:
                values += list(rows[interaction, sample][0])
                spent.append(rows[interaction, sample][1])
            else:
                reached = max(i for i, s in rows if s == sample)
                values += list(rows[reached, sample][0])
                spent.append(0.0)
        curve.append(float(np.mean(values)))
        seconds.append(seconds[-1] + float(np.mean(spent)))
    curve.append(curve[-1])
    seconds.append(max_time)
    auc = sum((seconds[i + 1] - seconds[i]) * (curve[i + 1] + curve[i]) / 2 for i in range(len(curve) - 1)) / max_time
    return {"auc": auc, "at": float(np.interp(threshold, seconds, curve)), "time": seconds, "curve": curve}
