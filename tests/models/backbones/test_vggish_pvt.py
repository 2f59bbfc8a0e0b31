"""The two backbones of AVSNet: shapes, frozen ears, post-processing, stochastic depth."""
import numpy as np
import paddle
import pytest

from models.avs_listener import Listener, random_vggish
from models.backbones.pvt_v2 import DropPath, PVTv2
from models.backbones.vggish import VGGish, pca_from_upstream, postprocess

SMALL = {"widths": (4, "M", 4, "M", 4, 4, "M", 4, 4, "M"), "hidden": 8}


def test_pvt_maps_have_strides_4_to_32():
    network = PVTv2(embed_dims=(8, 8, 8, 8), num_heads=(1, 2, 2, 4), depths=(1, 1, 1, 1), drop_path=0.0)
    assert [x.shape for x in network(paddle.rand([2, 3, 64, 32]))] == [
        [2, 8, 16, 8], [2, 8, 8, 4], [2, 8, 4, 2], [2, 8, 2, 1]]


def test_pvt_b5_has_the_published_size():
    depths = (3, 6, 40, 3)
    rates = [block.drop_path.rate for k in range(1, 5)
             for block in getattr(PVTv2(embed_dims=(4, 4, 4, 4), num_heads=(1, 1, 1, 1)), f"block{k}")]
    assert len(rates) == sum(depths) and rates[0] == 0.0
    np.testing.assert_allclose(rates, np.linspace(0, 0.1, 52))


def test_drop_path_keeps_or_leaves_whole_samples():
    layer, x = DropPath(0.5), paddle.ones([64, 2, 3])
    paddle.seed(0)
    kept = layer(x).numpy()
    assert set(np.unique(kept)) == {0.0, 2.0} and all(len(np.unique(sample)) == 1 for sample in kept)
    layer.eval()
    assert (layer(x) == x).all()


def test_vggish_flattens_channels_last():
    network = VGGish(**SMALL)
    network.eval()
    seen = []
    network.embeddings.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0].numpy()))
    x = paddle.rand([2, 1, 96, 64])
    assert network(x).shape == [2, 128]
    np.testing.assert_array_equal(seen[0], network.features(x).numpy().transpose(0, 2, 3, 1).reshape(2, -1))


def test_postprocessing_rounds_half_to_even_and_squeezes_one():
    eye, zero = paddle.eye(128), paddle.zeros([128, 1])
    values = paddle.full([2, 128], 0.5 / 63.75)  # 127.5 + 0.5 = 128 levels
    assert postprocess(values * 0, eye, zero).numpy()[0, 0] == 128  # 127.5 goes to the even neighbour
    assert postprocess(values - 9, eye, zero).numpy().max() == 0
    assert postprocess(values[:1], eye, zero).shape == [128]


def test_pca_file_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="pca_means"):
        pca_from_upstream({"pca_eigen_vectors": np.zeros((128, 128))})


def test_features_are_computed_once_per_video_and_frozen():
    listener = Listener(random_vggish(0, **SMALL))
    assert all(parameter.stop_gradient for parameter in listener.vggish.parameters())
    first = listener.remembered(["a", "b"], paddle.rand([2, 3, 1, 96, 64])).numpy()
    again = listener.remembered(["b", "a"], paddle.rand([2, 3, 1, 96, 64])).numpy()
    np.testing.assert_array_equal(again, np.concatenate([first[3:], first[:3]]))


def test_random_ears_depend_on_the_seed_alone():
    one, same, other = (random_vggish(seed, **SMALL).embeddings[0].weight.numpy() for seed in (0, 0, 1))
    assert (one == same).all() and (one != other).any()
