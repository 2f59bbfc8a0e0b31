"""Cityscapes sequences, their transforms and labels."""
import cv2
import numpy as np
import pytest

from alignment.streams import PythonRandom
from datasets import cityscapes, cityscapes_labels, cityscapes_transforms
from datasets.flow_pairs import FlowPairs, read_flow, write_flow
from datasets.images import read_image, write_image
from datasets.synthetic.cityscapes import make_scene, write_pair, write_snippet


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two snippets of the miniature."""
    folder = tmp_path_factory.mktemp("cityscapes")
    for index, (city, sequence, first) in enumerate((("aachen", 0, 0), ("hamburg", 0, 275))):
        scene = make_scene(np.random.default_rng(index), index)
        write_snippet(folder, "train", city, sequence, first, scene)
        write_pair(folder / "flow" / "train", index, scene)
    return folder


@pytest.fixture()
def folders(root):
    return cityscapes.Folders(root, "train")


def test_neighbours_are_counted_from_the_label(folders):
    snippets = cityscapes.find_snippets(folders)
    assert [snippet.name for snippet in snippets] == ["aachen/aachen_000000_000019", "hamburg/hamburg_000000_000294"]
    item = cityscapes.CityscapesPairs(folders, snippets, differences=(0, 4)).get(1, np.random.default_rng(0))
    earlier = read_image(folders.image(snippets[1], 290))
    np.testing.assert_array_equal(item["seg"][1], cityscapes_transforms.seg_input(earlier))
    np.testing.assert_array_equal(item["flow"][0], item["flow"][2])
    assert item["label"].dtype == np.int64 and item["flow"].shape == (3, 3, 96, 192)


def test_random_differences_stay_in_their_range(folders):
    data = cityscapes.CityscapesPairs(folders, cityscapes.find_snippets(folders), random_range=(0, 2))
    same = [bool((item["flow"][0] == item["flow"][1]).all()) for item in
            (data.get(0, np.random.default_rng(seed)) for seed in range(12))]
    assert any(same) and not all(same)


def test_label_ids_serve_where_train_ids_are_missing(root, tmp_path):
    source = root / "gtFine/train/aachen"
    ids = cv2.imread(str(source / "aachen_000000_000019_gtFine_labelIds.png"), cv2.IMREAD_UNCHANGED)
    write_image(tmp_path / "x_gtFine_labelIds.png", ids)
    want = cityscapes.read_label(source / "aachen_000000_000019_gtFine_labelTrainIds.png")
    np.testing.assert_array_equal(cityscapes.read_label(tmp_path / "x_gtFine_labelIds.png"), want)
    assert cityscapes_labels.to_train_ids(np.uint8([0, 7, 33, 34])).tolist() == [255, 0, 18, 255]
    assert cityscapes_labels.to_label_ids(np.uint8([0, 18, 255])).tolist() == [7, 33, 0]


def test_half_size_set(root):
    cityscapes.build_half_size(root, "train")
    picture = read_image(next((root / "leftImg8bit_sequence_down_2x/train/aachen").glob("*_000003_*")))
    whole = read_image(next((root / "leftImg8bit_sequence/train/aachen").glob("*_000003_*"))).astype(int)
    np.testing.assert_array_equal(picture, (whole[::2, ::2] + whole[1::2, ::2] + whole[::2, 1::2]
                                            + whole[1::2, 1::2] + 2) // 4)
    assert cityscapes.build_half_size(root, "train") == 0


def test_errors_name_file_and_line(tmp_path, folders):
    (tmp_path / "list.txt").write_text("aachen/aachen_000000_000019\nnonsense\n")
    with pytest.raises(ValueError, match=r"list\.txt:2.*nonsense"):
        cityscapes.read_list(tmp_path / "list.txt")
    with pytest.raises(FileNotFoundError, match="aachen_000000_000099"):
        broken = [cityscapes.parse_line("aachen/aachen_000000_000103")]
        cityscapes.CityscapesPairs(folders, broken, differences=(4,)).get(0, np.random.default_rng(0))


def test_crops_replay_the_articles_stream():
    assert [cityscapes_transforms.crop_start((300, 600), (256, 512), stream)
            for stream in [PythonRandom(7)] for _ in range(2)] == [(20, 19), (25, 83)]
    assert cityscapes_transforms.crop_start((256, 512), (256, 512), PythonRandom(0)) == (0, 0)
    with pytest.raises(ValueError, match="does not fit"):
        cityscapes_transforms.crop_start((100, 512), (256, 512), PythonRandom(0))


def test_crops_of_one_class_are_drawn_again():
    label = np.zeros((8, 40), np.uint8)
    label[:, 30:], label[0, 0] = 5, 255
    assert cityscapes_transforms.crowded(label[:, :8], 255, 0.75)  # one class and an ignored pixel
    assert cityscapes_transforms.crowded(label, 255, 0.7) and not cityscapes_transforms.crowded(label, 255, 0.76)
    shares = []
    for share in (1.0, 0.75):
        options = cityscapes.Augmentation((8, 16), compatible_crop=False, max_share=share)
        crops = [cityscapes.augment([np.zeros((8, 40, 3), np.uint8)], label, options, np.random.default_rng(seed))[1]
                 for seed in range(40)]
        shares.append(np.mean([(crop == 5).any() for crop in crops]))
    assert shares[0] < 0.7 < 0.9 < shares[1]


def test_colours_change_alike_in_all_frames():
    image = np.random.default_rng(0).integers(0, 256, (6, 7, 3)).astype(np.uint8)
    for seed in range(8):
        one, other = cityscapes_transforms.photometric([image, image.copy()], np.random.default_rng(seed))
        np.testing.assert_array_equal(one, other)
        assert one.dtype == np.uint8
    grey = np.full((2, 2, 3), 100, np.uint8)  # without colour only brightness and contrast count
    values = {int(cityscapes_transforms.photometric([grey], np.random.default_rng(seed))[0][0, 0, 0])
              for seed in range(60)}
    assert 100 in values and min(values) < 60 and max(values) > 150 and max(values) <= 198


def test_known_flow_leads_into_the_earlier_frame(root):
    item = FlowPairs(root / "flow/train").get(0, np.random.default_rng(0))
    first, second, flow = item["pair"][:3], item["pair"][3:], item["target"] * 20
    columns = np.clip(np.arange(192) + flow[0].round().astype(int), 0, 191)
    moved = np.take_along_axis(second, np.broadcast_to(columns, second.shape), 2)
    assert (moved == first).all(0).mean() > 0.8


@pytest.mark.parametrize("options", [{"flips": (1.0, 0.0)}, {"flips": (0.0, 1.0)},
                                     {"translate": 9, "crop_size": (64, 128)}])
def test_flow_follows_what_is_done_to_its_images(root, options):
    item = FlowPairs(root / "flow/train", **options).get(0, np.random.default_rng(0))
    first, second, flow = item["pair"][:3], item["pair"][3:], (item["target"] * 20).round().astype(int)
    height, width = flow.shape[1:]
    rows, columns = np.mgrid[:height, :width] + flow[::-1]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    moved = second[:, rows.clip(0, height - 1), columns.clip(0, width - 1)]
    assert (moved == first).all(0)[inside].mean() > 0.8


def test_flow_files(tmp_path):
    flow = np.random.default_rng(0).normal(size=(3, 5, 2)).astype("float32")
    write_flow(tmp_path / "a.flo", flow)
    np.testing.assert_array_equal(read_flow(tmp_path / "a.flo"), flow)
    (tmp_path / "b.flo").write_bytes(b"PIEH" + bytes(9))
    with pytest.raises(ValueError, match="needed"):
        read_flow(tmp_path / "b.flo")
