"""What is kept of a video's frames."""
from __future__ import annotations

import numpy as np
import pytest

from models.mivos.frame_store import FrameStore, LabelMaps


def test_label_maps_are_small_exact_and_restored():
    maps, labels = LabelMaps(50, (480, 854)), np.zeros((480, 854), np.uint8)
    labels[100:300, 200:500] = 7
    before = maps.state()
    maps[3] = labels
    np.testing.assert_array_equal(maps[3], labels)
    assert len(maps) == 50 and not maps[2].any() and sum(labels.any() for labels in maps) == 1
    assert sum(map(len, maps.state())) < 50 * 4000
    maps[3][0, 0] = 9  # a copy
    assert maps[3][0, 0] == 0
    maps.restore(before)
    assert not maps[3].any()
    for wrong in (labels[:5], labels.astype(np.int64)):
        with pytest.raises(ValueError, match="frame 1: expected uint8"):
            maps[1] = wrong


@pytest.mark.parametrize("in_files", [False, True])
def test_frame_store_keeps_what_a_state_needs(in_files, tmp_path):
    store = FrameStore(tmp_path if in_files else None)
    store[4] = np.ones(3)
    state = store.state()
    store[4] = np.zeros(3)
    store.tidy([state])
    store.restore(state)
    assert 4 in store and 5 not in store and store[4].all()
    store.tidy()
    assert len(list(tmp_path.iterdir())) == in_files


def test_label_maps_of_a_long_video_release_freed_memory_now_and_then(monkeypatch):
    released = []
    monkeypatch.setattr("models.mivos.frame_store.release_freed_memory", lambda: released.append(True))
    maps = LabelMaps(40, (2, 3))
    for t in range(40):
        maps[t] = np.zeros((2, 3), np.uint8)
    assert len(released) == 2
