import json

import numpy as np
import pytest

from alignment import short_training
from alignment.bundle import Run


@pytest.fixture
def prepared(tmp_path):
    weights = {"fc.weight": np.full((2, 3), 0.1, "float32"), "fc.steps": np.array(4, "int64")}
    np.savez(tmp_path / "ours.npz", **{"fc.weight": weights["fc.weight"].T, "fc.steps": weights["fc.steps"]})
    np.savez(tmp_path / "upstream.npz", **weights)
    for index in range(11):
        short_training.write_batch(tmp_path / f"train_{index:03}.npz", {
            "frames": np.full((2, 4), index, "float32"), "label": np.array([1, index]), "name": ["a b", "c"]})
    short_training.write_batch(tmp_path / "val_000.npz", {"frames": np.zeros((1, 4), "float32")})
    np.savez(tmp_path / "ears_ours.npz", **{"conv.weight": np.ones(3, "float32")})
    np.savez(tmp_path / "ears_upstream.npz", **{"features.weight": np.full(3, 0.1, "float32")})
    (tmp_path / "facts.json").write_text(json.dumps(
        {"config": {"train": {"epochs": 2}}, "steps_per_epoch": 5, "companions": ["ears"]}))
    return {"system": "mvf", "case": "mini", "files": str(tmp_path)}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_read_gives_batches_in_order_and_in_the_runs_precision(prepared, dtype):
    material = short_training.read(Run(prepared, short_training.STAGE, dtype))
    assert [batch["frames"][0, 0] for batch in material.batches] == list(range(11))
    assert material.batches[3]["label"].tolist() == [1, 3]
    assert material.batches[3]["name"] == ["a b", "c"]
    assert {batch["frames"].dtype.name for batch in material.batches + material.validation} == {dtype}
    assert material.batches[3]["label"].dtype == np.int64
    assert material.ours["fc.weight"].shape == (3, 2)
    assert material.upstream["fc.weight"].dtype == dtype
    assert material.upstream["fc.steps"].dtype == np.int64
    # float64 starts from the same float32 numbers, not from better ones
    np.testing.assert_array_equal(material.upstream["fc.weight"], np.full((2, 3), np.float32(0.1), dtype))
    assert material.companions["ears"]["upstream"]["features.weight"].dtype == dtype
    assert list(material.companions["ears"]["ours"]) == ["conv.weight"]
    assert material.steps_per_epoch == 5
    assert material.config["train"]["epochs"] == 2


def test_a_further_draw_moves_the_twins_weights_only(prepared):
    plain = short_training.read(Run(prepared, short_training.STAGE, "float32"))
    moved = short_training.read(Run(prepared, short_training.STAGE, "float32", jitter=1))
    assert (plain.upstream["fc.weight"] != moved.upstream["fc.weight"]).any()
    np.testing.assert_allclose(moved.upstream["fc.weight"], plain.upstream["fc.weight"], rtol=2**-22)
    np.testing.assert_array_equal(moved.ours["fc.weight"], plain.ours["fc.weight"])
    ears = [material.companions["ears"] for material in (plain, moved)]
    assert (ears[0]["upstream"]["features.weight"] != ears[1]["upstream"]["features.weight"]).any()
    np.testing.assert_array_equal(ears[0]["ours"]["conv.weight"], ears[1]["ours"]["conv.weight"])


def test_rates_of_several_groups_keep_their_names():
    one = short_training.arrays([0.5, 0.4], [0.1, 0.2], {"miou": 0.3}, "float32")
    assert {name: array.dtype.name for name, array in one.items()} == {
        "losses": "float32", "rates": "float64", "metric:miou": "float32"}
    same = short_training.arrays([0.5, 0.4], [{"a": 0.1, "b": 0.1}, {"a": 0.2, "b": 0.2}], {}, "float32")
    assert list(same) == ["losses", "rates"] and same["rates"].tolist() == [0.1, 0.2]
    two = short_training.arrays([0.5, 0.4], [{"text": 0.1, "image": 1.0}, {"text": 0.2, "image": 2.0}], {}, "float64")
    assert two["rates:text"].tolist() == [0.1, 0.2] and two["rates:image"].tolist() == [1.0, 2.0]
    assert "rates" not in two


def test_a_failing_preparation_is_told(tmp_path):
    manifest = short_training.manifest("mvf", run="configs/mvf/none.yaml", layout="ucf101",
                                       names="models.mvf:upstream_name", overrides=[])
    with pytest.raises(RuntimeError, match=r"(?s)preparing mvf/mini_50_steps failed.*none\.yaml"):
        short_training.prepare(manifest, tmp_path / "prepared")
