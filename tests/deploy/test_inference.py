import shutil

import numpy as np
import pytest

from deploy.inference import BF16_FLAGS, Predictor, check_precision, cpu_flags, outputs_moved, parse_device


@pytest.mark.parametrize(("onednn", "allowed"), [(False, 0.0), (True, 1e-5)])
@pytest.mark.parametrize("threads", [1, 2])
def test_equals_eager_at_any_batch(classifier_folder, classifier_graph, clips, onednn, allowed, threads):
    predictor = Predictor(classifier_folder, onednn=onednn, threads=threads)
    assert predictor.settings["enable_mkldnn"] is onednn
    assert predictor.settings["cpu_math_library_num_threads"] == threads
    assert predictor.notes == []
    for batch in (1, 3, 2):
        values = predictor.run({"imgs": clips(batch)})
        assert list(values) == ["logits", "features"]
        for moved in outputs_moved(values, classifier_graph.run(imgs=clips(batch))):
            assert moved.relative <= allowed, moved


def test_folder_stem_and_either_file_name(classifier_folder, clips):
    wanted = Predictor(classifier_folder, onednn=False).run({"imgs": clips(1)})["logits"]
    for name in ("inference", "inference.json", "inference.pdmodel", "inference.pdiparams"):
        found = Predictor(classifier_folder / name, onednn=False).run({"imgs": clips(1)})["logits"]
        np.testing.assert_array_equal(found, wanted)


def test_without_a_description_names_are_the_engines(classifier_folder, tmp_path, clips):
    for suffix in ("json", "pdiparams"):
        shutil.copy(classifier_folder / f"inference.{suffix}", tmp_path / f"v1.2.{suffix}")
    predictor = Predictor(tmp_path / "v1.2")
    assert predictor.inputs == ["imgs"]
    assert list(predictor.run({"imgs": clips(2)})) == ["fetch_name_0", "fetch_name_1"]


def test_memory_optimization_is_explained(classifier_folder, classifier_graph, clips):
    predictor = Predictor(classifier_folder, onednn=False, memory_optim=True)
    assert "new executor" in predictor.notes[0]
    assert predictor.settings["enable_memory_optim"] is True
    values = predictor.run({"imgs": clips(2)})
    assert [moved.largest for moved in outputs_moved(values, classifier_graph.run(imgs=clips(2)))] == [0.0, 0.0]


def test_inputs_are_checked(classifier_folder, clips):
    predictor = Predictor(classifier_folder)
    with pytest.raises(ValueError, match=r"takes the inputs \['imgs'\], got \['video'\]"):
        predictor.run({"video": clips(1)})
    with pytest.raises(ValueError, match=r"shape \[4, 3, 8, 8\], expected \[-1, 4, 3, 8, 8\]"):
        predictor.run({"imgs": clips(1)[0]})
    with pytest.raises(ValueError, match=r"shape \[1, 3, 3, 8, 8\]"):
        predictor.run({"imgs": clips(1)[:, :3]})
    with pytest.raises(ValueError, match="complex128, expected float32"):
        predictor.run({"imgs": clips(1).astype("complex128")})
    with pytest.raises(ValueError, match="empty"):
        predictor.run({"imgs": clips(1)[:0]})
    double = predictor.run({"imgs": clips(1).astype("float64")})["logits"]
    np.testing.assert_array_equal(double, predictor.run({"imgs": clips(1)})["logits"])


def test_missing_and_exchanged_files(classifier_folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"folder .*none does not exist.*export_model\.py"):
        Predictor(tmp_path / "none" / "inference")
    with pytest.raises(FileNotFoundError, match="holds no graph"):
        Predictor(tmp_path)
    shutil.copy(classifier_folder / "inference.json", tmp_path)
    with pytest.raises(FileNotFoundError, match="holds the graphs inference"):
        Predictor(tmp_path, graph="segment")
    with pytest.raises(FileNotFoundError, match="has no weights"):
        Predictor(tmp_path)
    shutil.copy(classifier_folder / "deploy.yaml", tmp_path)
    (tmp_path / "inference.pdiparams").write_bytes(b"other weights")
    with pytest.raises(ValueError, match=r"is not the file that deploy\.yaml"):
        Predictor(tmp_path)
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "broken.pdiparams").write_bytes(b"")
    with pytest.raises(ValueError, match="not a program saved by Paddle 3"):
        Predictor(tmp_path / "broken")


def test_devices_and_precisions(classifier_folder):
    assert parse_device("gpu:1") == ("gpu", 1)
    for wrong in ("tpu", "cpu:0", "gpu:x"):
        with pytest.raises(ValueError, match="expected cpu, gpu or gpu:NUMBER"):
            parse_device(wrong)
    check_precision("bf16", "cpu", frozenset({"avx512_bf16"}))
    check_precision("bf16", "cpu", frozenset({"amx_bf16"}))
    check_precision("fp16", "gpu")
    with pytest.raises(ValueError, match="needs a CPU with avx512_bf16 or amx_bf16"):
        check_precision("bf16", "cpu", frozenset({"avx512f", "avx512_vnni"}))
    with pytest.raises(ValueError, match="fp16 needs a GPU"):
        Predictor(classifier_folder, precision="fp16")
    with pytest.raises(ValueError, match="bf16 is for CPUs"):
        check_precision("bf16", "gpu")
    with pytest.raises(ValueError, match="int8"):
        check_precision("int8", "cpu")
    with pytest.raises(ValueError, match="threads"):
        Predictor(classifier_folder, threads=0)


@pytest.mark.skipif(not cpu_flags().intersection(BF16_FLAGS), reason="this CPU does not calculate in bfloat16")
def test_bf16_rounds_to_eight_bits(classifier_folder, classifier_graph, clips):
    predictor = Predictor(classifier_folder, precision="bf16")
    assert predictor.settings["precision"] == "bf16"
    moved = outputs_moved(predictor.run({"imgs": clips(2)}), classifier_graph.run(imgs=clips(2)))
    # 0 would mean that the graph still ran in float32; a bfloat16 has 8 bits of precision.
    assert all(0 < one.relative < 8 * 2 ** -8 for one in moved), moved


def test_outputs_moved():
    reference = {"a": np.array([[1.0, 2.0], [4.0, 3.0]]), "b": np.zeros(3)}
    first, second = outputs_moved({"a": np.array([[2.5, 2.0], [4.0, 3.0]]), "b": np.array([0, 0.5, 0])}, reference)
    assert (first.largest, first.relative, first.same_top1) == (1.5, 0.375, 0.5)
    assert (second.largest, second.relative, second.same_top1) == (0.5, 0.5, None)
    assert "a: moved by 1.500e+00" in str(first) and "50.0 %" in str(first)
    with pytest.raises(ValueError, match="cannot be compared"):
        outputs_moved({"a": reference["a"]}, reference)
    with pytest.raises(ValueError, match="shape"):
        outputs_moved({"a": reference["a"][:1], "b": reference["b"]}, reference)
    with pytest.raises(ValueError, match="not finite"):
        outputs_moved({"a": reference["a"] * np.nan, "b": reference["b"]}, reference)
