import cv2
import numpy as np
import pytest

from datasets import transforms


def clip(height, width, frames=2, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize(("size", "short", "long", "want"), [
    ((240, 320), 256, np.inf, (256, 341)), ((320, 240), 256, np.inf, (341, 256)), ((480, 640), 600, np.inf, (600, 800)),
    ((100, 400), 256, 512, (128, 512)), ((256, 256), 256, np.inf, (256, 256)), ((3, 7), 2, np.inf, (2, 5))])
def test_short_side_sizes_are_rounded_half_up(size, short, long, want):
    assert transforms.short_side_size(*size, short, long) == want


def test_resize_is_opencv_s_on_each_frame():
    frames = clip(24, 31, 3)
    made = transforms.resize(frames, 40, 17)
    assert made.shape == (3, 40, 17, 3) and made.dtype == np.uint8
    assert np.array_equal(made[2], cv2.resize(frames[2], (17, 40), interpolation=cv2.INTER_LINEAR))
    assert transforms.resize(frames, 24, 31) is frames


def test_crops():
    frames = clip(11, 20)
    assert np.array_equal(transforms.crop(frames, (3, 2, 9, 7)), frames[:, 2:7, 3:9])
    assert np.array_equal(transforms.center_crop(frames, 8), frames[:, 1:9, 6:14])
    for box in ((0, 0, 21, 4), (-1, 0, 4, 4), (4, 4, 4, 8), (0, 5, 3, 12)):
        with pytest.raises(ValueError, match="does not lie inside frames of 20x11 pixels"):
            transforms.crop(frames, box)
    with pytest.raises(ValueError, match="resize to a larger short side"):
        transforms.center_crop(frames, 12)


@pytest.mark.parametrize(("size", "corners"), [
    ((10, 19), [(0, 0), (8, 0), (4, 0)]),       # last ends a pixel before the edge
    ((17, 10), [(0, 0), (0, 6), (0, 3)]),
    ((19, 23), [(0, 4), (12, 4), (6, 4)]),      # neither side fits: quarters, along the middle row
    ((10, 10), [(0, 0), (0, 0), (0, 0)])])
def test_three_crops_come_first_last_middle(size, corners):
    frames = clip(*size)
    made = transforms.three_crops(frames, 10)
    assert made.shape == (6, 10, 10, 3)
    for number, (x, y) in enumerate(corners):
        assert np.array_equal(made[2 * number:2 * number + 2], frames[:, y:y + 10, x:x + 10])


def test_flip_draws_one_number_for_the_clip():
    frames = clip(4, 5)
    for seed in range(5):
        rng, copy = np.random.default_rng(seed), np.random.default_rng(seed)
        made = transforms.flip(frames, 0.5, rng)
        assert np.array_equal(made, frames[:, :, ::-1] if copy.random() < 0.5 else frames)
        assert rng.random() == copy.random()
    assert np.array_equal(transforms.flip(frames, 0.0, np.random.default_rng(0)), frames)


def test_normalize_rounds_once():
    frames = clip(16, 9)
    mean, std = (np.asarray(value, np.float32) for value in (transforms.IMAGENET_MEAN, transforms.IMAGENET_STD))
    want = ((frames.astype(np.float32) - mean) * (1 / std.astype(np.float64))).astype(np.float32)
    made = transforms.normalize(frames)
    assert made.dtype == np.float32 and np.array_equal(made, want)
    assert np.array_equal(transforms.normalize(frames.astype(np.float32)), want)
    assert np.array_equal(transforms.normalize(frames[:, 1::2, ::-1]), want[:, 1::2, ::-1])  # any strides


def test_channels_first():
    made = transforms.channels_first(clip(4, 5))
    assert made.shape == (2, 3, 4, 5) and made.flags.c_contiguous
