import numpy as np
import pytest

from alignment import recipe as recipes
from alignment.bundle import Bundle
from alignment.streams import LegacyNumpy, PythonRandom, Streams
from datasets.mvf_transforms import prepare, random_box_kinetics, random_box_ucf101, random_resized_crop
from datasets.transforms import resize_short_side, three_crops


def stream(recipe, seed):
    """Kinetics draws from Python's ``random``; the UCF-101 recipe only the places, and sizes from NumPy."""
    if recipe == "kinetics":
        return PythonRandom(seed)
    return Streams(PythonRandom(seed), LegacyNumpy(seed), ("integers",))


@pytest.mark.parametrize("recipe", ["kinetics", "ucf101"])
def test_as_the_original_recorded(golden, recipe):
    bundle = Bundle.read(golden / "mvf" / f"{recipe}_pipeline")
    seed = bundle.manifest["stages"]["transform"]["seed"]
    frames = recipes.inputs(bundle.manifest)["frames"]
    rgb = frames[..., ::-1] if recipe == "kinetics" else frames  # the original decodes BGR
    resized = resize_short_side(frames, 256)
    source = resized if recipe == "ucf101" else frames
    if recipe == "kinetics":  # its boxes include the last pixel
        boxes = np.float32([random_box_kinetics(240, 320, stream(recipe, seed + s)) for s in range(12)]) - [0, 0, 1, 1]
    else:
        boxes = np.array([random_box_ucf101(256, 341, stream(recipe, seed + s)) for s in range(12)])
    made = {
        "resize256": resized[0], "resize256_shape": np.array(resized[0].shape), "three_crop": three_crops(resized, 256),
        "test": prepare(rgb, view="three", recipe=recipe, crop_size=256),
        "val": prepare(rgb, view="center", recipe=recipe),
        "train": prepare(rgb, view="train", recipe=recipe, rng=stream(recipe, seed), flip_probability=1.0),
        "random_resized_crop": random_resized_crop(source, 224, recipe, stream(recipe, seed)),
        "random_resized_crop_boxes": boxes}
    assert sorted(made) == sorted(bundle.keys("transform"))
    for key, array in made.items():
        entry = bundle.manifest["arrays"][f"transform/{key}"]
        assert list(array.shape) == entry["shape"], key
        assert np.array_equal(recipes.sample(array), bundle.wanted(f"transform/{key}")), key
        assert recipes.summary(array) == entry["summary"], key


def clip(height=40, width=60):
    return np.random.default_rng(0).integers(0, 256, (3, height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize("size", [(40, 60), (60, 40), (33, 33)])
def test_boxes_of_ucf101_lie_inside_and_have_the_wanted_area(size):
    for seed in range(200):
        x1, y1, x2, y2 = random_box_ucf101(*size, np.random.default_rng(seed), area=(0.2, 0.6))
        assert 0 <= x1 < x2 <= size[1] and 0 <= y1 < y2 <= size[0]
        assert 0.15 < (x2 - x1) * (y2 - y1) / (size[0] * size[1]) < 0.65
        assert 0.6 < (x2 - x1) / (y2 - y1) < 1.6


def test_boxes_of_kinetics_mix_up_the_axes():
    """They may reach past the lower or right edge, where the crop is cut off; never the upper or left."""
    boxes = np.array([random_box_kinetics(40, 60, np.random.default_rng(seed)) for seed in range(300)])
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 3] > 40).any() and (boxes[:, 2] <= 60 + 40).all()
    for seed in range(20):
        assert random_resized_crop(clip(), 16, "kinetics", np.random.default_rng(seed)).shape == (3, 16, 16, 3)


@pytest.mark.parametrize("draw", [random_box_ucf101, random_box_kinetics])
def test_where_nothing_fits_the_middle_square_is_taken(draw):
    assert draw(10, 400, np.random.default_rng(0), area=(0.9, 1.0)) == (195, 0, 205, 10)


@pytest.mark.parametrize(("view", "frames"), [("train", 3), ("center", 3), ("three", 9)])
@pytest.mark.parametrize("recipe", ["kinetics", "ucf101"])
def test_inputs_have_the_wanted_form(recipe, view, frames):
    made = prepare(clip(), view=view, recipe=recipe, short_side=32, crop_size=32, rng=np.random.default_rng(0))
    assert made.shape == (frames, 3, 32, 32) and made.dtype == np.float32 and made.flags.c_contiguous


def test_all_frames_share_one_crop_and_one_flip():
    still = np.repeat(clip()[:1], 4, 0)
    for seed in range(6):
        made = prepare(still, view="train", recipe="ucf101", short_side=36, crop_size=24,
                       rng=np.random.default_rng(seed))
        assert all(np.array_equal(frame, made[0]) for frame in made)


def test_impossible_wishes():
    with pytest.raises(ValueError, match="view 'left' is none of train, center, three"):
        prepare(clip(), view="left", recipe="ucf101")
    with pytest.raises(ValueError, match="recipe 'hmdb' is none of kinetics, ucf101"):
        prepare(clip(), view="center", recipe="hmdb")
    with pytest.raises(ValueError, match="give rng"):
        prepare(clip(), view="train", recipe="ucf101")
    with pytest.raises(ValueError, match="resize to a larger short side or crop less"):
        prepare(clip(), view="center", recipe="ucf101", short_side=32, crop_size=40)
