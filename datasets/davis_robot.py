"""The robot of the DAVIS interactive track: scribbles where a result is wrong.

Written from the definition (2018 DAVIS Challenge, interactive track; service settings): for every label the region
that should have it and does not; opened by a disk, thinned, the longest path of its skeleton, a Bezier curve.
"""
from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components

from datasets.scribbles import bezier_curve, strokes_of


def make_robot(kind: str, rng) -> Robot | PackageRobot:
    """The robot of an evaluation.

    Args:
        kind: ``own``, ``davisinteractive`` (that package's), or ``auto``: the package's where it is installed.
        rng: for our own.

    Raises:
        ModuleNotFoundError: if the package was asked for and cannot be imported.
    """
    if kind != "own":
        try:
            from davisinteractive.robot import InteractiveScribblesRobot
        except ModuleNotFoundError as error:
            if kind == "davisinteractive":
                raise ModuleNotFoundError(f"inference.robot is davisinteractive, but {error}: install that package "
                                          "or set inference.robot=own") from error
        else:
            return PackageRobot(InteractiveScribblesRobot(kernel_size=0.2, max_kernel_radius=16, min_nb_nodes=4,
                                                          nb_points=1000))
    return Robot(rng)


class PackageRobot:
    """The robot of the package davisinteractive, with the settings of its service."""

    def __init__(self, robot):
        self._robot = robot

    def scribble(self, truth: np.ndarray, result: np.ndarray, labels: Sequence[int]) -> list[tuple[int, np.ndarray]]:
        """As :meth:`Robot.scribble`; labels must be 0, 1, 2, ...

        Raises:
            RuntimeError: if the package fails, as its releases do under NumPy 1.24 or newer.
        """
        try:
            found = self._robot.interact("video", result[None].astype(np.int64), truth[None].astype(np.int64),
                                         nb_objects=max(labels))
        except (AttributeError, TypeError) as error:
            raise RuntimeError(f"the robot of davisinteractive does not run beside NumPy {np.__version__} ({error}): "
                               "set inference.robot=own") from error
        return [stroke for stroke in strokes_of(found, 0) if stroke[0] in labels]


class Robot:
    """Scribbles of one interaction.

    Args:
        rng: breaks ties between skeleton paths of equal length; None: the first.
        kernel_share: radius of the opening as a share of the region's square root of area, halved.
        max_radius: its bound, pixels.
        least_nodes: pixels that a skeleton needs.
        points: of the curve.
    """

    def __init__(self, rng=None, *, kernel_share: float = 0.2, max_radius: int = 16, least_nodes: int = 4,
                 points: int = 1000):
        self.rng, self.kernel_share, self.max_radius = rng, kernel_share, max_radius
        self.least_nodes, self.points = least_nodes, points

    def scribble(self, truth: np.ndarray, result: np.ndarray, labels: Sequence[int]) -> list[tuple[int, np.ndarray]]:
        """(label, points ``[n, 2]`` as x, y in 0..1) for every label with a region to correct."""
        height, width = truth.shape
        strokes = []
        for label in labels:
            wrong = (truth == label) & (result != label)
            if not wrong.any():
                continue
            for path in self._paths(self._opened(wrong)):
                curve = bezier_curve(path[:, ::-1].astype(np.float64), self.points)
                strokes.append((int(label), np.clip(curve / (width, height), 0.0, 1.0)))
        return strokes

    def _opened(self, region: np.ndarray) -> np.ndarray:
        """The region without what is thin; a smaller disk where nothing would be left."""
        radius = min(self.max_radius, self.kernel_share / 2 * np.sqrt(region.sum()))
        while radius >= 0.5:
            size = int(radius)
            axis = np.arange(-size, size + 1)
            disk = (axis[:, None] ** 2 + axis**2 <= radius**2).astype(np.uint8)
            opened = cv2.morphologyEx(region.astype(np.uint8), cv2.MORPH_OPEN, disk, borderValue=0)
            if opened.any():
                return opened.astype(bool)
            radius *= 0.9
        return region

    def _paths(self, region: np.ndarray) -> list[np.ndarray]:
        """Longest path ``[n, 2]`` (y, x) of each skeleton with enough pixels."""
        nodes = np.argwhere(thin(region))
        if len(nodes) < self.least_nodes:
            return []
        index = np.full(region.shape, -1)
        index[tuple(nodes.T)] = np.arange(len(nodes))
        edges = []
        for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
            there = nodes + np.array((dy, dx))
            valid = (there >= 0).all(1) & (there < region.shape).all(1)
            other = index[tuple(there[valid].T)]
            edges.append(np.stack([np.flatnonzero(valid)[other >= 0], other[other >= 0]]))
        pairs = np.concatenate(edges, 1)
        graph = coo_matrix((np.ones(pairs.shape[1]), pairs), shape=(len(nodes),) * 2).tocsr()
        graph = graph + graph.T
        _, component = connected_components(graph, directed=False)
        members = [np.flatnonzero(component == c) for c in range(component.max() + 1)]
        return [nodes[_longest(graph, own[0])] for own in members if len(own) >= self.least_nodes]


def _longest(graph, start: int) -> np.ndarray:
    """Nodes of a longest shortest path of a tree-like graph: twice the farthest node (cycles are cut by the search)."""
    far = breadth_first_order(graph, start, directed=False)[0][-1]
    order, before = breadth_first_order(graph, far, directed=False)
    path = [order[-1]]
    while path[-1] != far:
        path.append(before[path[-1]])
    return np.array(path)


def thin(region: np.ndarray) -> np.ndarray:
    """Skeleton of a boolean region, one pixel wide, 8-connected (Zhang and Suen, CACM 1984)."""
    image = np.pad(region.astype(np.uint8), 1)
    changed = True
    while changed:
        changed = False
        for phase in (0, 1):
            n = [np.roll(image, shift, (0, 1)) for shift in
                 ((1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1))]  # N NE E SE S SW W NW
            count = sum(n)
            turns = sum(((n[i] == 0) & (n[(i + 1) % 8] == 1)).astype(np.uint8) for i in range(8))
            first, second = (n[0] * n[2] * n[4], n[2] * n[4] * n[6]) if phase == 0 else (
                n[0] * n[2] * n[6], n[0] * n[4] * n[6])
            gone = (image == 1) & (count >= 2) & (count <= 6) & (turns == 1) & (first == 0) & (second == 0)
            if gone.any():
                image[gone], changed = 0, True
    return image[1:-1, 1:-1].astype(bool)
