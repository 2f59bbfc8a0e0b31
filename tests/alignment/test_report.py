"""The report of a made-up run: one page that stands alone, JSON that can be read, files that reprod_log accepts."""
from __future__ import annotations

import json
import re

import numpy as np
import pytest

from alignment import official, plots, report
from alignment.compare import Verdict, missing
from alignment.results import GOLDEN, TWIN, Line, Outcome, Unit, step_of, worst

REASON = "a near tie <of two> logits"


def made_up_outcomes():
    """A twin run with one planted failure among good tensors, a golden run that passes, and one that stopped."""
    draw = np.random.default_rng(0)
    twin = Outcome(Unit("mvf", "small", TWIN), seconds=1.5, facts={"salt": "twin"}, left_out=["forward/layer1.inner"])
    for suffix, limit in (("", 4e-7), ("64", 1e-9)):
        for i in range(8):
            relative = limit * draw.uniform(0.01, 0.5)
            verdict = Verdict(f"forward{suffix}/layer{i}", True, relative, limit, yardstick=limit / 4)
            if i == 5:
                verdict = Verdict(f"forward{suffix}/layer{i}", False, 1e-2, limit, "values", "worst at [1, 2]")
            twin.lines.append(Line(twin.unit, f"forward{suffix}", "forward", verdict))
            twin.lines.append(Line(twin.unit, f"backward{suffix}", "backward", Verdict(
                f"backward{suffix}/grad:layer{i}.weight", True, relative, limit, reason=REASON if i == 2 else "")))
        twin.lines.append(Line(twin.unit, f"forward{suffix}", "forward", missing(f"forward{suffix}/head|x", "here")))
        twin.lines.append(Line(twin.unit, f"train{suffix}", "train", Verdict(f"train{suffix}/losses", True, 0.0, 1e-9)))
    losses = np.array([2.0, 1.5, 1.25], "float32")
    for side, shift in (("ref", 0.0), ("paddle", 2e-7)):
        twin.kept[side] = {"forward/layer0": np.ones((2, 3), "float32") + np.float32(shift),
                           "train/losses": losses + np.float32(shift), "train/rates": np.array([0.1, 0.1, 0.05])}
    golden = Outcome(Unit("mvf", "recorded", GOLDEN, "paddle", "alignment/golden/mvf/recorded"), seconds=1,
                     facts={"salt": "a", "upstream": "whwu95/MVFNet 0ddc7e2"})
    golden.lines = [Line(golden.unit, "metric", "metric", Verdict("metric/top1", True, 0.0, 0.0))]
    stopped = Outcome(Unit("mvf", "broken", TWIN), errors={"unit": "RuntimeError: <it> stopped"})
    return [twin, golden, stopped]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    pytest.importorskip("reprod_log")
    folder = tmp_path_factory.mktemp("report")
    return report.write(folder, made_up_outcomes(), ["mvf: nothing was compared for step loss"], seconds=3.0,
                        processor=5.0, jobs=2, arguments=["mvf", "--report", "DIR"])


def test_the_planted_faults_join_the_page_before_and_after_it_is_written(written, tmp_path):
    page = (written / "index.html").read_text()
    assert "Not planted yet" in page
    (tmp_path / "index.html").write_text(page)
    for text in ("<h2>nine faults</h2>", "<h2>ten faults</h2>"):
        (tmp_path / "faults.html").write_text(text)
        report.renew_faults(tmp_path)
        renewed = (tmp_path / "index.html").read_text()
        assert renewed == page.replace(report.faults_section(written), report.faults_section(tmp_path))
        assert text in renewed and "Not planted yet" not in renewed
    assert "ten faults" in report.faults_section(tmp_path)
    report.renew_faults(tmp_path / "nowhere")  # no page, nothing to renew


def test_the_page_stands_alone(written):
    page = (written / "index.html").read_text()
    assert not re.search(r'(src|href)="(https?:)?//', page)
    assert "<script" not in page
    sources = re.findall(r'<img[^>]* src="([^"]{0,26})', page)
    assert sources
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert 'name="viewport"' in page


def test_the_page_escapes_what_it_quotes(written):
    page = (written / "index.html").read_text()
    assert "a near tie &lt;of two&gt; logits" in page
    assert "&lt;it&gt; stopped" in page
    assert REASON not in page


def test_failures_come_before_systems_and_the_first_divergence_first(written):
    page = (written / "index.html").read_text()
    assert page.index('id="failures"') < page.index('id="mvf"')
    failures = page[page.index('id="failures"'):page.index('id="mvf"')]
    assert failures.index("forward/layer5") < failures.index("forward/head|x")
    assert "nothing was compared for step loss" in failures


@pytest.mark.parametrize("name", ["index.html", "report.md"])
def test_every_stage_has_the_command_that_repeats_it(written, name):
    text = (written / name).read_text()
    assert "python -m alignment mvf forward --case small --dtype float64 --no-golden" in text
    assert "python -m alignment golden alignment/golden/mvf/recorded --side paddle --only metric" in text


def test_markdown_tables_are_not_broken_by_names(written):
    tables = [line for line in (written / "report.md").read_text().splitlines() if line.startswith("| mvf/small")]
    assert tables
    assert {len(re.split(r"(?<!\\)\|", line)) for line in tables} == {8}


def test_json_holds_every_verdict_and_no_infinity(written):
    found = json.loads((written / "report.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert found["passed"] is False
    assert len(found["verdicts"]) == sum(len(outcome.lines) for outcome in made_up_outcomes())
    bad = [verdict for verdict in found["verdicts"] if not verdict["passed"]]
    assert [(verdict["tensor"], verdict["relative"]) for verdict in bad[:2]] == [("layer5", 1e-2), ("head|x", None)]
    assert all(verdict["command"].startswith("python -m alignment ") for verdict in found["verdicts"])
    assert found["environment"]["seeds (salts of the recipes)"] == "a, twin"
    assert found["environment"]["originals"] == "whwu95/MVFNet 0ddc7e2"


def test_the_guides_files_are_reprod_logs_own(written):
    from reprod_log import ReprodDiffHelper

    result = written / "mvf" / "result"
    losses = ReprodDiffHelper().load_info(str(result / "losses_paddle.npy"))
    assert list(losses) == ["small/loss_0", "small/loss_1", "small/loss_2", "small/lr_0", "small/lr_1", "small/lr_2"]
    assert losses["small/loss_0"].dtype == np.float32
    assert ReprodDiffHelper().load_info(str(result / "forward_ref.npy"))["small/layer0"].shape == (2, 3)
    assert "small/final_loss" in ReprodDiffHelper().load_info(str(result / "train_align_ref.npy"))
    assert not (result / "metric_ref.npy").exists()


def test_each_log_holds_its_own_report_once(written):
    log = written / "mvf" / "result" / "log"
    backward = (log / "backward_diff.log").read_text()
    assert backward.count("small/loss_1: ") == 1
    assert backward.strip().endswith("diff check passed")
    assert "layer0" not in backward
    assert "loss_" not in (log / "forward_diff.log").read_text()
    found = json.loads((written / "report.json").read_text())["customary"]["mvf"]
    assert found == {"forward": "passed", "losses": "passed", "train_align": "passed"}


def test_an_unusable_pair_is_told_by_the_log(tmp_path):
    pytest.importorskip("reprod_log")
    official.save(tmp_path / "loss_ref.npy", {"a": np.ones(2), "b": np.ones(1)})
    official.save(tmp_path / "loss_paddle.npy", {"a": np.ones(2)})
    official.write_logs(tmp_path)
    assert official.verdict(tmp_path / "log" / "loss_diff.log").startswith("error: reprod_log gave no verdict")


def test_integers_are_widened_so_that_the_customary_difference_cannot_wrap():
    assert official.comparable(np.array([255], np.uint8)).dtype == np.int64
    assert official.comparable(np.array([True])).dtype == np.int64
    assert official.comparable(np.ones(1, np.float32)).dtype == np.float32


def test_pictures_show_depth_gradients_and_losses():
    titles = [picture.title for picture in plots.pictures(made_up_outcomes())]
    assert titles == ["small: error by depth (forward)", "small: gradients (backward)",
                      "small: training losses (torch twin)"]


def test_worst_prefers_failures_then_small_margins():
    unit = Unit("mvf", "small", TWIN)
    lines = [Line(unit, "forward", "forward", verdict) for verdict in (
        Verdict("forward/exact", True, 0.0, 1.0), Verdict("forward/near", True, 0.5, 1.0),
        Verdict("forward/far", True, 0.1, 1.0))]
    assert worst(lines).name == "near"
    lines.append(Line(unit, "forward", "forward", missing("forward/gone", "here")))
    assert worst(lines).name == "gone"
    assert worst([]) is None


def test_steps_of_stages():
    assert step_of("backward_train64", {}) == "backward"
    assert step_of("blending", {"data": ("blending",)}) == "data"
    with pytest.raises(ValueError, match="rumour"):
        step_of("rumour", {})


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (float("nan"), "–"), (float("inf"), "incomparable"),
                                             (0.0, "0"), (2.34e-7, "2.3e-07")])
def test_scientific(value, text):
    assert report.scientific(value) == text
