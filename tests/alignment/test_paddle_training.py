"""A short training of a real system on both sides, two steps long."""
from __future__ import annotations

import copy
import shutil

import numpy as np
import pytest

pytest.importorskip("torch")

from alignment import paddle_training, short_training, worker
from alignment.cases import avs


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    (manifest,) = (one for one in avs.manifests() if "prepare" in one)
    manifest = copy.deepcopy(manifest)
    manifest["prepare"]["steps"] = 2
    return short_training.prepare(manifest, tmp_path_factory.mktemp("short") / "prepared")


def trained(side, manifest):
    stage = {"label": "run", "name": short_training.STAGE, "dtype": "float64", "wanted": None, "limits": None}
    answer = worker.compute({"side": side, "manifest": manifest, "stages": [stage], "fill_state": False, "variant": {}})
    assert not answer.errors, answer.errors
    return {key.removeprefix("run/"): array for key, array in answer.arrays.items()}


def test_both_sides_train_alike_and_hear_the_same(prepared, tmp_path):
    ours, twin = (trained(side, prepared) for side in ("paddle", "torch"))
    metrics = ["metric:miou", "metric:f_score", "metric:dataset_miou", "metric:dataset_f_score"]
    assert list(ours) == list(twin) == ["losses", "rates", *metrics]
    assert ours["losses"].shape == (2,) and ours["losses"][0] != ours["losses"][1]
    for name in ours:
        np.testing.assert_allclose(ours[name], twin[name], rtol=1e-9, atol=0, err_msg=name)
    folder = tmp_path / "deaf"
    shutil.copytree(prepared["files"], folder)
    with np.load(folder / "vggish_ours.npz") as file:
        np.savez(folder / "vggish_ours.npz", **{name: 0.5 * file[name] for name in file.files})
    deaf = trained("paddle", {**prepared, "files": str(folder)})
    assert abs(deaf["losses"] / ours["losses"] - 1).max() > 1e-6


@pytest.mark.parametrize(("count", "places"), [(3, [0, 1, 2]), (8, list(range(8))), (24, [0, 3, 6, 9, 12, 15, 18, 21])])
def test_validation_batches_come_from_all_over_the_data(count, places):
    class Batches:
        def __len__(self):
            return count

        def epoch(self, epoch, start=0):
            return iter(range(start, count))
    assert list(paddle_training._spread(Batches())) == places
