"""AVSBench's losses: cases worked by hand, and what is refused."""
import math

import numpy as np
import paddle
import pytest

from losses.audio_visual import closest, mask_loss, sound_loss_ms3, sound_loss_s4


def tensor(values):
    return paddle.to_tensor(np.array(values, "float64"))


def test_cross_entropy_stops_at_100_and_fades():
    logits = paddle.to_tensor([[[[200.0, 0.0]]]], stop_gradient=False)  # float32
    value = mask_loss(logits, paddle.to_tensor([[[[0.0, 1.0]]]]), "MS3")
    assert value.item() == pytest.approx((100 + math.log(2)) / 2)
    value.backward()
    np.testing.assert_allclose(logits.grad.numpy().ravel(), [0.0, -0.25], atol=1e-7)


def test_s4_judges_first_frames_only():
    logits = tensor(np.zeros((4, 1, 1, 1)))
    logits[1:2] = 50.0
    value = mask_loss(logits, tensor(np.ones((2, 1, 1, 1, 1))), "S4")
    assert value.item() == pytest.approx(math.log(2))


def test_s4_sound_loss_of_equal_and_of_no_directions():
    maps, sound = [tensor(np.ones((1, 3, 2, 2)))], [tensor(np.full((1, 1, 3), 2.0))]
    equal = sound_loss_s4(tensor(np.full((1, 1, 4, 4), 3.0)), sound, maps, stages=[0])
    assert equal.item() == pytest.approx(-math.log(1 + 1e-6), abs=1e-6)
    empty = sound_loss_s4(tensor(np.full((1, 1, 4, 4), -3.0)), sound, maps, stages=[0])
    assert empty.item() == pytest.approx(-math.log(1e-6))


def test_ms3_kl_is_summed_and_zero_for_equal_vectors():
    maps, logits = [tensor(np.ones((2, 3, 1, 1)))], tensor(np.zeros((2, 1, 2, 2)))  # weight 1/2
    equal = sound_loss_ms3(logits, [tensor(np.full((1, 2, 3), 0.5))], maps, stages=[0])
    assert equal.item() == pytest.approx(0, abs=1e-12)
    q = np.exp([1, 0, 0]) / np.exp([1, 0, 0]).sum()
    other = sound_loss_ms3(logits, [tensor([[[1, 0, 0], [1, 0, 0]]])], maps, stages=[0])
    assert other.item() == pytest.approx(2 * (q * np.log(q * 3)).sum())


def test_closest_takes_the_first_of_equals_and_itself_when_all_are_far():
    assert closest(tensor([[0.0], [1.0], [2.0]])).tolist() == [1, 0, 1]
    assert closest(tensor([[0.0], [50.0]])).tolist() == [0, 1]


def test_euclidean_adds_1e_6_to_every_component():
    logits, maps = tensor(np.zeros((1, 1, 1, 1))), [tensor(np.zeros((1, 4, 1, 1)))]
    value = sound_loss_ms3(logits, [tensor(np.zeros((1, 1, 4)))], maps, stages=[0], distance="euclidean")
    assert value.item() == pytest.approx(2e-6)


@pytest.mark.parametrize(("options", "words"), [({"distance": "none"}, "kl or euclidean"), ({"stages": []}, "at least"),
                                                ({"pooling": "min"}, "avg or max"), ({"stages": [1]}, "no sound")])
def test_what_cannot_be_is_refused(options, words):
    given = {"stages": [0], **options}
    with pytest.raises(ValueError, match=words):
        sound_loss_ms3(tensor(np.zeros((1, 1, 2, 2))), [tensor(np.zeros((1, 1, 3))), None],
                       [tensor(np.zeros((1, 3, 1, 1)))] * 2, **given)


def test_masks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="differ"):
        mask_loss(tensor(np.zeros((2, 1, 4, 4))), tensor(np.zeros((2, 1, 4, 5))), "MS3")
    with pytest.raises(ValueError, match="whole number"):
        mask_loss(tensor(np.zeros((5, 1, 4, 4))), tensor(np.zeros((2, 1, 4, 4))), "S4")
