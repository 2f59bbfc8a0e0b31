"""The state over a video, with a network that only copies what it remembers."""
from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from models.mivos.appearing import AppearingObjects
from models.mivos.fusion import FusionNet
from models.mivos.inference_core import InferenceCore
from models.mivos.propagation import PropagationNetwork, Query, others


class Copies:
    """Every frame looks like the last memory frame; notes what it was asked."""

    def __init__(self):
        self.memorized, self.slots = [], []

    def memorize(self, frame, masks):
        self.memorized.append(round(float(frame[0, 0].max()), 3))
        small = F.avg_pool2d(masks, 16)
        return paddle.ones([masks.shape[0], 4, *small.shape[2:]]), small.expand([-1, 2, -1, -1])

    def query(self, frame):
        return Query(paddle.ones([1, 4, frame.shape[2] // 16, frame.shape[3] // 16]), frame, None, None)

    def segment_from_bank(self, bank, query):
        self.slots.append(len(bank))
        last = bank.contents()[1][:, -query.key.shape[2] * query.key.shape[3]:, :1]
        small = last.transpose([0, 2, 1]).reshape([last.shape[0], 1, *query.key.shape[2:]])
        return F.interpolate(small, scale_factor=16)


def video(frames, height=32, width=32):
    return np.stack([np.full((3, height, width), t, np.float32) for t in range(frames)])[None]


def mask(height=32, width=32, objects=1):
    labels = np.zeros((height, width), int)
    labels[:16, :16] = 1
    if objects > 1:
        labels[16:, 16:] = 2
    return (np.arange(objects + 1)[:, None, None] == labels).astype(np.float32)[:, None], labels


def test_one_interaction_reaches_every_frame_and_memory_grows_every_mem_freq():
    net, (prob, labels) = Copies(), mask()
    core = InferenceCore(propagation=net, fusion=None, frames=video(9), num_objects=1, mem_freq=3)
    core.interact(prob, 0)
    assert (core.masks == labels).all()
    assert net.slots == [1, 2, 2, 2, 3, 3, 3, 4]  # interaction, then a temporary or the permanent frames 3 and 6
    assert net.memorized == [0, 1, 2, 3, 4, 5, 6, 7]  # the last frame serves no other


def test_second_interaction_stops_at_the_first_and_undo_takes_it_back():
    net, (prob, labels) = Copies(), mask()
    core = InferenceCore(propagation=net, fusion=FusionNet(), frames=video(6), num_objects=1, undo=2)
    core.interact(prob, 0)
    before, seen = core.prob(2).copy(), len(net.slots)
    core.interact(prob[::-1].copy(), 4)
    assert len(net.slots) - seen == 1 + 3  # frame 5; frames 3, 2, 1 but not 0
    assert (core.masks[0] == labels).all() and (core.masks[5] != labels).all()
    assert core.undo() and core.interacted == {0} and (core.masks == labels).all()
    np.testing.assert_array_equal(core.prob(2), before)
    assert core.undo() and not core.undo()


def test_profiles_and_sizes_do_not_change_results():
    prob, _ = mask(21, 37, 2)
    results = []
    for profile in (0, 3):
        paddle.seed(3)
        net = PropagationNetwork(depth=18, width=64, top_k=10_000)
        net.eval()
        core = InferenceCore(propagation=net, fusion=FusionNet(), frames=video(5, 21, 37) / 5, num_objects=2,
                             mem_freq=2, mem_profile=profile)
        core.interact(prob, 1)
        core.interact(prob, 4)
        results.append(core.masks)
    np.testing.assert_array_equal(*results)
    assert results[0].shape == (5, 21, 37)


@pytest.mark.parametrize("objects", [1, 10])
def test_one_frame_and_absent_objects(objects):
    prob = np.zeros((objects + 1, 1, 20, 24), np.float32)
    prob[0] = 1
    net = PropagationNetwork(depth=18, width=64)
    net.eval()
    core = InferenceCore(propagation=net, fusion=None, frames=video(1, 20, 24), num_objects=objects)
    core.interact(prob, 0)
    assert core.masks.shape == (1, 20, 24) and not core.masks.any()


def test_wrong_masks_and_frames_are_refused():
    core = InferenceCore(propagation=Copies(), fusion=None, frames=video(2), num_objects=1)
    with pytest.raises(ValueError, match="needs"):
        core.interact(np.zeros((1, 1, 32, 32), np.float32), 0)
    with pytest.raises(ValueError, match="outside"):
        core.interact(mask()[0], 2)
    with pytest.raises(ValueError, match="mem_profile"):
        InferenceCore(propagation=Copies(), fusion=None, frames=video(2), num_objects=1, mem_profile=7)


def test_shown_masks_do_not_enter_the_results():
    core = InferenceCore(propagation=Copies(), fusion=None, frames=video(3), num_objects=1, undo=1)
    prob, labels = mask()
    core.update_mask_only(prob, 1)
    assert (core.labels_at(1) == labels).all()
    assert core.prob(1)[1:].max() == 0 and not core.interacted
    assert core.undo() and not core.masks.any()


def test_objects_that_appear_later_have_a_memory_of_their_own():
    net, (prob, labels) = Copies(), mask(objects=2)
    core = AppearingObjects(propagation=net, frames=video(6)[0], num_objects=2, mem_freq=2)
    core.add(prob * (np.arange(3) != 2)[:, None, None, None], 0, [1], until=3)
    core.add(prob * (np.arange(3) != 1)[:, None, None, None], 3, [2], until=5)
    assert [sorted(np.unique(core.labels_at(t, (32, 32)))) for t in (0, 2, 3, 5)] == [[0, 1], [0, 1], [0, 1, 2],
                                                                                    [0, 1, 2]]
    assert (core.labels_at(5, (32, 32)) == labels).all()


def test_others_are_added_up_one_by_one():
    masks = paddle.rand([3, 1, 4, 4])
    np.testing.assert_array_equal(others(masks)[1].numpy(), (masks[0] + masks[2]).numpy())
    assert float(others(masks[:1]).abs().max()) == 0
