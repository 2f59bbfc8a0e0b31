"""Names, numbers and colours of the Cityscapes classes.

``labelIds`` number everything that was annotated (-1 ... 33); ``trainIds`` the 19 classes that are scored (0-18), 255
for the rest. Source: the Cityscapes scripts' label table.
"""
from __future__ import annotations

import numpy as np

CLASSES = ("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
           "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
COLOURS = np.array([
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153), (250, 170, 30),
    (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142),
    (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32)], np.uint8)  # RGB
IGNORED = 255

_TO_TRAIN = np.full(256, IGNORED, np.uint8)
_TO_TRAIN[list(LABEL_IDS)] = np.arange(len(LABEL_IDS), dtype=np.uint8)
_TO_LABEL = np.zeros(256, np.uint8)  # 0: unlabeled
_TO_LABEL[:len(LABEL_IDS)] = LABEL_IDS


def to_train_ids(label_ids: np.ndarray) -> np.ndarray:
    """uint8 labelIds of any shape -> trainIds."""
    return _TO_TRAIN[label_ids]


def to_label_ids(train_ids: np.ndarray) -> np.ndarray:
    """uint8 trainIds of any shape -> labelIds, as the official evaluation wants them (ignored becomes 0)."""
    return _TO_LABEL[train_ids]
