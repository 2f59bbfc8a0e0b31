import itertools
import json
import os
import random
import re
import signal
import threading
import time
from pathlib import Path

import numpy as np
import paddle
import pytest

from engine import trainer
from engine.checkpoint import NonFiniteWeights, read_state
from engine.interruption import Interrupted, Interruption
from engine.logger import read_log
from engine.trainer import NonFiniteLoss, evaluate
from models import weights


@pytest.fixture(autouse=True)
def without_curves(monkeypatch):
    """Drawing takes longer than everything else here; it is tested in test_logger and in the runs of their own."""
    monkeypatch.setattr(trainer, "draw_curves", lambda log, picture: None)


def history(folder, kind="train"):
    """What must be bit-equal in a resumed run: everything in the log but the times."""
    return [{key: value for key, value in record.items() if key not in ("avg_reader_cost", "avg_batch_cost", "avg_ips")}
            for record in read_log(Path(folder) / "log.jsonl") if record["kind"] == kind]


def final_weights(folder):
    return weights.read(Path(folder) / "latest" / "model.pdparams")


def assert_equal_runs(first, second):
    assert history(first) == history(second)
    assert history(first, "evaluation") == history(second, "evaluation")
    left, right = final_weights(first), final_weights(second)
    assert left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


def test_a_run_learns_and_leaves_its_files(tiny, tmp_path, capsys):
    config = tiny.configure(tmp_path, "train.epochs=12", "train.save_every=5", "dropout=0.0")
    summary = tiny.run(config)
    losses = [record["losses"]["loss"] for record in history(tmp_path)]
    assert len(losses) == summary.updates == 96
    assert np.mean(losses[-8:]) < 0.35 * np.mean(losses[:8])
    scores = [record["metrics"]["fit"] for record in history(tmp_path, "evaluation")]
    assert summary.best == max(scores) and summary.best_epoch == 1 + int(np.argmax(scores))
    assert summary.metrics == {"fit": scores[-1]} and summary.interrupted is None
    assert {p.name for p in tmp_path.iterdir()} == {"latest", "best", "epoch_5", "epoch_10", "log.jsonl", "config.yaml"}
    for folder in ("latest", "best", "epoch_5"):
        assert {p.name for p in (tmp_path / folder).iterdir()} == {"model.pdparams", "model.pdopt", "state.json"}
    network = tiny.System(config).network()
    missing, unexpected = network.set_state_dict(paddle.load(str(tmp_path / "best" / "model.pdparams")))
    assert not missing and not unexpected
    assert evaluate(tiny.System(config), network, "val")["fit"] == summary.best
    assert network.training


def test_console_lines_have_the_form_tipc_reads(tiny, tmp_path, capsys):
    tiny.run(tiny.configure(tmp_path, "train.epochs=1", "train.log_iters=3"))
    lines = [line for line in capsys.readouterr().out.splitlines() if "iter:" in line]
    number = r"\d+\.\d+"
    form = (rf"epoch: \[1/1\], iter: \[\d/8\], lr: {number}, worst: {number}, loss: {number}, "
            rf"avg_reader_cost: {number} sec, avg_batch_cost: {number} sec, avg_samples: 4\.0, "
            rf"avg_ips: {number} images/sec, eta: 0:00:00")
    assert len(lines) == 3 and all(re.search(form, line) for line in lines)
    assert [record["step"] for record in history(tmp_path)] == [3, 6, 8]


@pytest.mark.parametrize("options", [(), ("train.accumulate=2", "train.log_iters=3")], ids=["plain", "accumulate"])
def test_resume_in_the_middle_of_an_epoch_is_exact(tiny, tmp_path, options):
    """Stopped at step 12 of 24 (by max_steps, which also evaluates there), then continued."""
    whole = tiny.configure(tmp_path / "whole", *options, "train.eval_every=0")
    tiny.run(whole)
    part = tiny.configure(tmp_path / "part", *options, "train.eval_every=0", "train.max_steps=12")
    tiny.run(part)
    assert read_state(tmp_path / "part").step == 4
    resumed = tiny.configure(tmp_path / "part", *options, "train.eval_every=0", "resume=latest")
    tiny.run(resumed)
    ours, wanted = history(tmp_path / "part"), history(tmp_path / "whole")
    if not options:
        assert ours == wanted
    left, right = final_weights(tmp_path / "whole"), final_weights(tmp_path / "part")
    assert all(np.array_equal(left[name], right[name]) for name in left)


def test_resume_after_real_kills_is_bit_equal(tiny, tmp_path, start_tiny):
    """``kill -9`` at random moments, twice; log, evaluations and weights are those of the unbroken run."""
    options = ("train.epochs=4", "train.save_steps=3", "train.log_iters=2", "train.save_every=2")
    tiny.run(tiny.configure(tmp_path / "whole", *options))
    rng = random.Random()
    output = tmp_path / "killed"
    kills = 0
    for _ in range(2):
        resume = ["resume=latest"] if (output / "latest").exists() else []
        process = start_tiny(output, *options, *resume, "pause=0.01", "train.workers=1")
        for line in process.stdout:
            if "iter:" in line:
                break
        time.sleep(rng.uniform(0, 0.5))
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        if (output / "latest").exists():
            read_state(output / "latest")
            assert final_weights(output)
    assert kills
    tiny.run(tiny.configure(output, *options, *(["resume=latest"] if (output / "latest").exists() else [])))
    assert_equal_runs(tmp_path / "whole", output)


def test_ctrl_c_saves_and_ends_cleanly(tiny, tmp_path, start_tiny):
    """As a terminal sends it: to the processes that read the data, too."""
    options = ("train.epochs=4", "train.log_iters=2")
    process = start_tiny(tmp_path / "stopped", *options, "pause=0.05", "train.workers=2")
    for line in process.stdout:
        if "iter: [4/8]" in line:
            break
    os.killpg(process.pid, signal.SIGINT)
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text
    assert "Traceback" not in text
    assert f"stopped by SIGINT in epoch 1; continue with --resume {tmp_path}/stopped/latest" in text
    assert json.loads(text.splitlines()[-1])["interrupted"] == "SIGINT"
    assert 4 <= read_state(tmp_path / "stopped").step < 8
    assert (tmp_path / "stopped" / "curves.png").exists()

    tiny.run(tiny.configure(tmp_path / "stopped", *options, "resume=latest"))
    tiny.run(tiny.configure(tmp_path / "whole", *options))
    assert_equal_runs(tmp_path / "whole", tmp_path / "stopped")


def test_sigterm_waits_for_the_end_of_the_update(tiny, tmp_path):
    """Sent in step 5 of 8 with three steps an update: stops after the sixth, in the middle of a log window."""
    class Stopped(tiny.System):
        steps = 0

        def training_step(self, network, batch):
            self.steps += network.training
            if self.steps == 5:
                signal.raise_signal(signal.SIGTERM)
            return super().training_step(network, batch)

    options = ("train.accumulate=3", "train.log_iters=4")
    summary = tiny.run(tiny.configure(tmp_path / "stopped", *options), Stopped)
    assert summary.interrupted == "SIGTERM" and summary.updates == 2
    assert read_state(tmp_path / "stopped").step == 6
    tiny.run(tiny.configure(tmp_path / "stopped", *options, "resume=latest"))
    tiny.run(tiny.configure(tmp_path / "whole", *options))
    assert_equal_runs(tmp_path / "whole", tmp_path / "stopped")


def test_a_signal_ends_an_evaluation_and_resume_repeats_it(tiny, tmp_path):
    class Slow(tiny.System):
        def evaluate(self, network, loader, progress):
            network(next(loader.epoch(0))["x"])
            signal.raise_signal(signal.SIGTERM)
            return super().evaluate(network, loader, progress)

    summary = tiny.run(tiny.configure(tmp_path / "part"), Slow)
    assert summary.interrupted == "SIGTERM" and summary.metrics == {}
    assert read_state(tmp_path / "part").step == 8
    tiny.run(tiny.configure(tmp_path / "part", "resume=latest"))
    tiny.run(tiny.configure(tmp_path / "whole"))
    assert_equal_runs(tmp_path / "whole", tmp_path / "part")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_ctrl_c_acts_as_usual(number):
    with Interruption() as interruption:
        for _ in range(3 if number == signal.SIGTERM else 1):
            signal.raise_signal(number)
        assert interruption.signal == number.name
        with pytest.raises(Interrupted):
            list(interruption.watch([1]))
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_interruption_outside_the_main_thread_is_harmless():
    seen = []

    def work():
        with Interruption() as interruption:
            seen.extend(interruption.watch([1, 2]))
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [1, 2]


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_non_finite_loss_names_the_files_and_saves_nothing(tiny, tmp_path, where):
    """With a relu behind the poisoned layer Paddle's loss stays finite and only the gradient tells."""
    class WithoutRelu(tiny.System):
        def network(self):
            network = super().network()
            return paddle.nn.Sequential(network[0], network[4])

    kind = WithoutRelu if where == "loss" else tiny.System
    tiny.run(tiny.configure(tmp_path, "train.epochs=2"), kind)
    before = {p: p.read_bytes() for p in tmp_path.rglob("model.*")}
    config = tiny.configure(tmp_path, "train.epochs=3", "nan_at=9", "resume=latest")
    with pytest.raises(NonFiniteLoss) as caught:
        tiny.run(config, kind)
    message = str(caught.value)
    names = re.search("Files of this batch: (.*)", message).group(1)
    start = {"loss": "loss is nan", "gradient": "the gradient's norm is nan"}[where]
    assert message.startswith(f"{start} in epoch 3, iteration") and "sample_9.avi" in names
    assert names.count("sample_") == 4 and str(tmp_path / "latest") in message
    assert {p: p.read_bytes() for p in tmp_path.rglob("model.*")} == before


def test_weights_gone_bad_are_not_saved(tiny, tmp_path):
    class Poisoned(tiny.System):
        def after_epoch(self, network, epoch):
            if epoch == 1:
                network[0].bias.set_value(paddle.full([8], float("nan")))

    with pytest.raises(NonFiniteWeights, match=r"after 16 updates 0\.bias holds nan"):
        tiny.run(tiny.configure(tmp_path, "train.eval_every=0"), Poisoned)
    assert all(np.isfinite(value).all() for value in final_weights(tmp_path).values())


def test_accumulation_equals_one_big_batch(tiny, tmp_path):
    """Two batches of 4 make the update of a batch of 8: no batch norm, no dropout, float64."""
    options = ("dtype=float64", "batch_norm=false", "dropout=0.0", "samples=32")
    tiny.run(tiny.configure(tmp_path / "small", *options, "train.batch_size=4", "train.accumulate=2"))
    tiny.run(tiny.configure(tmp_path / "big", *options, "train.batch_size=8"))
    small, big = final_weights(tmp_path / "small"), final_weights(tmp_path / "big")
    assert read_state(tmp_path / "small").updates == read_state(tmp_path / "big").updates == 12
    for name in big:
        np.testing.assert_allclose(small[name], big[name], rtol=1e-12)


def test_batches_left_over_make_no_update(tiny, tmp_path):
    summary = tiny.run(tiny.configure(tmp_path, "train.accumulate=3", "train.epochs=2"))
    assert summary.updates == 4  # 2 of 8 // 3


def test_too_few_batches_for_one_update(tiny, tmp_path):
    with pytest.raises(ValueError, match="8 batches, too few for one update of 9"):
        tiny.run(tiny.configure(tmp_path, "train.accumulate=9"))


def test_max_steps_ends_with_an_evaluation(tiny, tmp_path):
    summary = tiny.run(tiny.configure(tmp_path, "train.max_steps=3", "train.eval_every=10"))
    assert summary.updates == 3 and "fit" in summary.metrics
    assert (tmp_path / "best").exists()


def test_after_epoch_runs_before_the_evaluation(tiny, tmp_path):
    seen = []

    class Watching(tiny.System):
        def after_epoch(self, network, epoch):
            seen.append((epoch, network.training))

        def evaluate(self, *arguments):
            seen.append("evaluate")
            return super().evaluate(*arguments)

    tiny.run(tiny.configure(tmp_path, "train.eval_every=2"), Watching)
    assert seen == [(0, True), (1, True), "evaluate", (2, True), "evaluate"]


def test_mixed_precision_is_refused_on_a_cpu(tiny, tmp_path):
    with pytest.raises(ValueError, match=r"train\.amp=O1 needs a GPU; this run is on cpu"):
        tiny.run(tiny.configure(tmp_path, "train.amp=O1"))


@pytest.mark.parametrize("change, message", [
    (("seed=6",), "seed must stay 5 .is 6."),
    (("train.batch_size=5",), r"train\.batch_size must stay 4 .is 5."),
])
def test_another_data_order_is_refused_in_the_middle_of_an_epoch(tiny, tmp_path, change, message):
    tiny.run(tiny.configure(tmp_path, "train.max_steps=3"))
    with pytest.raises(ValueError, match=message):
        tiny.run(tiny.configure(tmp_path, *change, "resume=latest"))


def test_other_settings_are_told_on_resume(tiny, tmp_path, capsys):
    tiny.run(tiny.configure(tmp_path, "train.epochs=1"))
    tiny.run(tiny.configure(tmp_path, "train.epochs=2", "seed=6", "resume=latest"))
    text = capsys.readouterr().out
    assert "WARNING: resuming with another seed: 6, was 5" in text
    assert "another train.epochs: 2, was 1" in text and "another output_dir" not in text


def test_a_loader_that_ends_early_is_reported(tiny, tmp_path):
    class Short(tiny.System):
        def loader(self, split):
            loader = super().loader(split)
            whole = loader.epoch
            loader.epoch = lambda epoch, start=0: itertools.islice(whole(epoch, start), 3)
            return loader

    with pytest.raises(RuntimeError, match="ended after 3 of 8 batches"):
        tiny.run(tiny.configure(tmp_path), Short)


def launched(tmp_path):
    return ("-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", str(tmp_path / "log"))


def test_two_processes_equal_one_with_the_same_global_batch(tiny, tmp_path, start_tiny):
    """Also after a nan in the last batch of the first epoch stopped both, and the run was continued without it."""
    options = ("dropout=0.0", "batch_norm=false", "dtype=float64", "samples=36")
    one = tiny.configure(tmp_path / "one", *options, "train.batch_size=6")
    poisoned = tiny.System(one).loader("train").batches(0)[-1][1]
    process = start_tiny(tmp_path / "two", *options, "train.batch_size=3", "train.save_steps=1", f"nan_at={poisoned}",
                         launcher=launched(tmp_path))
    process.communicate(timeout=300)
    assert process.returncode != 0
    for rank in range(2):
        text = (tmp_path / "log" / f"workerlog.{rank}").read_text()
        names = re.search("Files of this batch: (.*)", text).group(1)
        assert "NonFiniteLoss" in text and f"sample_{poisoned}.avi" in names and names.count("sample_") == 6
    assert read_state(tmp_path / "two").step == 5 and len(read_state(tmp_path / "two").random) == 2

    process = start_tiny(tmp_path / "two", *options, "train.batch_size=3", "resume=latest", launcher=launched(tmp_path))
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text + (tmp_path / "log" / "workerlog.1").read_text()
    tiny.run(one)
    ours, wanted = history(tmp_path / "two"), history(tmp_path / "one")
    assert len(ours) == len(wanted) == 18
    for left, right in zip(ours, wanted, strict=True):
        assert left["losses"]["loss"] == pytest.approx(right["losses"]["loss"], rel=1e-12)
    left, right = final_weights(tmp_path / "two"), final_weights(tmp_path / "one")
    for name in right:
        np.testing.assert_allclose(left[name], right[name], rtol=1e-11)
    assert read_state(tmp_path / "two").updates == 18
