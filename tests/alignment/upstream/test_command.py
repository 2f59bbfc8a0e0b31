"""The command on a made-up checkout, and the real ones where somebody has them."""
from __future__ import annotations

import importlib
import json
import os
from pathlib import Path

import pytest

from alignment import processes, worker
from alignment.__main__ import main
from alignment.upstream.originals import ORIGINALS

REAL = "PADDLETWIN_UPSTREAM"
LIGHT = {"mvf": "metrics", "avs": "losses_small", "actionclip": "meanp", "xclip": "views", "mivos": "fusion_small",
         "dff": "flow_full", "mvf-paddle": "metrics"}


def test_a_difference_is_found_and_located_and_the_checkout_is_only_read(checkout, tmp_path, capsys):
    before = sorted(path.relative_to(checkout) for path in checkout.rglob("*"))
    assert main(["upstream", "mvf", "metric", "--checkout", str(checkout), "--case", "metrics", "--jobs", "1",
                 "--report", str(tmp_path / "report")]) == 1
    told = capsys.readouterr().out
    assert "whwu95/MVFNet in" in told and "NOT 0ddc7e2" in told
    assert "2 tensors agree, 1 differ" in told
    assert "first divergence in metric: mean_class_accuracy" in told
    assert f"--checkout '{checkout}' --case metrics" in told
    assert "stand-ins of ours served their imports: mmcv, torchvision" in told
    assert sorted(path.relative_to(checkout) for path in checkout.rglob("*")) == before
    written = json.loads((tmp_path / "report" / "report.json").read_text())
    assert written["cases"][0]["source"] == "upstream"
    assert written["cases"][0]["upstream"].startswith("whwu95/MVFNet ")
    assert (tmp_path / "report" / "mvf" / "result" / "metric_ref.npy").is_file()


def test_an_import_that_fails_says_what_to_install(checkout):
    (checkout / "codes" / "models" / "__init__.py").write_text("import neverwas\n")
    original = {"name": "mvf", "checkout": str(checkout), "shims": []}
    manifest = next(found for found in ORIGINALS["mvf"].manifests() if found["case"] == "metrics")
    with pytest.raises(RuntimeError) as caught:
        worker.ask("original", manifest, [], original=original)
    assert "whwu95/MVFNet: cannot import codes.models: it needs the package neverwas" in str(caught.value)
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize(("arguments", "told"), [
    (["nothing", "--checkout", "CHECKOUT"], "invalid choice"),
    (["mvf"], "--checkout"),
    (["mvf", "--checkout", "/nonexistent"], "no such folder"),
    (["mvf", "--checkout", "CHECKOUT", "--case", "none"], "there are r50_thw"),
    (["mvf", "--checkout", "CHECKOUT", "sideways"], "neither a system"),
    (["mvf", "--checkout", "CHECKOUT", "train"], "nothing of whwu95/MVFNet is run for train"),
    (["mvf", "--checkout", "CHECKOUT", "--shim", "numpy"], "no stand-in; there are mmcv"),
    (["mvf", "--checkout", "CHECKOUT", "--jobs", "0"], "--jobs 0"),
])
def test_unusable_arguments(checkout, arguments, told, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["upstream", *[str(checkout) if word == "CHECKOUT" else word for word in arguments]])
    assert caught.value.code == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("original", ORIGINALS.values(), ids=ORIGINALS)
def test_every_original_has_cases_that_our_sides_know(original):
    manifests = original.manifests()
    assert len({manifest["case"] for manifest in manifests}) == len(manifests)
    assert all(manifest["system"] == original.system and manifest["stages"] for manifest in manifests)
    assert Path(processes.ROOT, original.adapter.replace(".", "/") + ".py").is_file()
    assert len(original.commit) == 40 and original.files


@pytest.mark.parametrize("name", ORIGINALS)
def test_a_real_checkout_agrees(name, capsys):
    """``PADDLETWIN_UPSTREAM=DIR`` names a folder with a checkout of each original in ``DIR/NAME``."""
    if REAL not in os.environ:
        pytest.skip(f"{REAL} does not name a folder of checkouts")
    checkout = Path(os.environ[REAL]) / name
    if not checkout.is_dir():
        pytest.skip(f"{checkout} is absent")
    status = main(["upstream", name, "--checkout", str(checkout), "--case", LIGHT[name], "--dtype", "float64",
                   "--jobs", "1"])
    assert status == 0, capsys.readouterr().out


@pytest.mark.parametrize("name", sorted({original.adapter for original in ORIGINALS.values()}))
def test_adapters_find_what_they_take_from_us(name):
    importlib.import_module(name)
