"""Training and evaluation of any system: epochs, evaluation, checkpoints, exact resume.

The system (see ``systems/system.py``) says what a step is; this file says when it happens and what is kept.
An epoch is a sequence of batches; every ``train.accumulate`` batches make one optimizer update.
"""
from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import paddle
from paddle import nn

from engine import checkpoint, distributed
from engine.amp import Precision
from engine.checkpoint import BEST, LATEST, State
from engine.clipping import global_norm
from engine.config import RunConfig, dump, to_dict
from engine.files import atomic_write
from engine.interruption import Interrupted, Interruption
from engine.logger import CURVES_FILE, Meter, RunLog, console, draw_curves, train_line
from engine.progress import progress
from engine.seed import random_states, restore_random_states, seed_everything

CONFIG_FILE = "config.yaml"
DRAW_EVERY = 30.0  # seconds between two drawings of the curves


class NonFiniteLoss(FloatingPointError):
    """The loss or its gradient became nan or infinite; nothing was updated with it and nothing saved."""


@dataclass(frozen=True)
class Summary:
    """How a training ended.

    Attributes:
        updates: optimizer updates in all.
        metrics: of the last evaluation.
        best, best_epoch: highest score and the number of epochs after which it was reached; None without evaluation.
        interrupted: ``'SIGTERM'`` or ``'SIGINT'`` where a signal ended it early; then ``latest`` continues it.
    """

    updates: int
    metrics: dict[str, float] = field(default_factory=dict)
    best: float | None = None
    best_epoch: int | None = None
    interrupted: str | None = None


def fit(system: Any, network: nn.Layer, *, config: RunConfig) -> Summary:
    """Train ``network`` as ``system`` and ``config`` say, from the start or from ``config.resume``.

    Writes ``latest``, ``best``, ``epoch_N`` (checkpoints), ``log.jsonl``, ``curves.png`` and ``config.yaml`` below
    ``config.output_dir``. Started by ``paddle.distributed.launch`` it trains data-parallel. SIGTERM and Ctrl-C end it
    after the running update, with ``latest`` saved.

    Args:
        system: offers ``loader``, ``optimizer(network, steps_per_epoch)`` (batches an epoch; every ``train.accumulate``
            make an update, what is left over at the end makes none), ``training_step``, ``evaluate`` (with several
            processes: every one calls it, what rank 0 returns counts), ``score``, and if it likes
            ``after_epoch(network, epoch)``, called between the last update of an epoch (numbered from 0) and its
            evaluation, e.g. for precise batch norm.
        network: what is trained; its weights are set already.
        config: the run; used are ``seed``, ``output_dir``, ``resume`` (a checkpoint, or ``'latest'`` or ``'best'`` of
            the output folder) and ``train``.

    Raises:
        NonFiniteLoss: with the names of the batch's files.
        engine.checkpoint.NonFiniteWeights: when weights went bad although the losses seen were finite.
        ValueError, FileNotFoundError: for settings or a checkpoint that cannot work.
    """
    distributed.initialize()
    with Interruption() as interruption:
        training = _Training(system, network, config, interruption)
        try:
            return training.run()
        finally:
            training.log.close()


def evaluate(system: Any, network: nn.Layer, split: str) -> dict[str, float]:
    """The metrics of ``network`` on a split (``'val'``, ``'test'``), in evaluation mode, without gradients."""
    distributed.initialize()
    was_training = network.training
    network.eval()
    with paddle.no_grad():
        metrics = system.evaluate(network, system.loader(split), progress)
    if was_training:
        network.train()
    return metrics


class _Training:
    """One run of :func:`fit`; ``state`` is at every moment what a checkpoint would hold, but for the random states."""

    def __init__(self, system: Any, network: nn.Layer, config: RunConfig, interruption: Interruption) -> None:
        self.system, self.network, self.config, self.interruption = system, network, config, interruption
        self.train, self.output = config.train, Path(config.output_dir)
        self.precision = Precision(self.train.amp, self.train.amp_scale)
        seed_everything(config.seed + distributed.rank())
        network.train()
        self.precision.prepare(network)
        self.loader = system.loader("train")
        self.steps = len(self.loader)
        if self.steps < self.train.accumulate:
            raise ValueError(f"an epoch has {self.steps} batches, too few for one update of "
                             f"{self.train.accumulate}; lower train.accumulate or train.batch_size, or add data")
        self.optimizer = system.optimizer(network, self.steps)
        self.state, self.meter, self.metrics = State(), Meter(), {}
        self.stop, self.drawn = False, time.monotonic()
        resumed = self._resume() if config.resume else 0
        distributed.broadcast(network)
        self.log = RunLog(self.output, keep=resumed)
        if distributed.is_main():
            with atomic_write(self.output / CONFIG_FILE) as file:
                file.write(dump(config))

    def _resume(self) -> int:
        """Take up a checkpoint; returns how much of the log to keep."""
        name = self.config.resume
        folder = checkpoint.find(self.output / name if name in (LATEST, BEST) else name)
        self.state = state = checkpoint.load(folder, self.network, self.optimizer)
        _check_resumable(state, self.config, folder)
        self.meter = Meter(**state.meter)
        self.precision.restore(state.scaler)
        if distributed.rank() < len(state.random):
            restore_random_states(state.random[distributed.rank()])
        console().info("resumed from %s: epoch %d, step %d, %d updates done", folder, state.epoch + 1, state.step,
                       state.updates)
        return state.log_bytes if folder.parent.resolve() == self.output.resolve() else 0

    def run(self) -> Summary:
        while self.state.epoch < self.train.epochs and not self._limit_reached():
            self._train_epoch()
            if not self.stop:
                # What Interrupted leaves undone is done again on resume: 'latest' was saved before it.
                with contextlib.suppress(Interrupted):
                    self._finish_epoch()
                self.stop = self._signalled()
            if self.stop and self.state.epoch < self.train.epochs:
                name = self.interruption.signal or "a signal to another process"
                console().info("stopped by %s in epoch %d; continue with --resume %s", name, self.state.epoch + 1,
                               self.output / LATEST)
                return self._summary(interrupted=name)
        return self._summary()

    def _summary(self, interrupted: str | None = None) -> Summary:
        self._draw()
        return Summary(self.state.updates, self.metrics, self.state.best, self.state.best_epoch, interrupted)

    def _signalled(self) -> bool:
        """Whether a signal has come to any process."""
        return distributed.any_of(self.interruption.signal is not None)[0]

    # ---- steps

    def _train_epoch(self) -> None:
        """The rest of the running epoch, or less if a signal or ``max_steps`` ends it."""
        shown = progress(self.loader.epoch(self.state.epoch, start=self.state.step), f"epoch {self.state.epoch + 1}",
                         self.steps, initial=self.state.step, summary=False)
        with contextlib.closing(shown) as batches:  # also after an error the readers end at once
            while self.state.step < self.steps and not self._limit_reached() and not (self.stop and self._at_update()):
                self._timed_step(batches)
                due = self.train.save_steps and self.state.step % self.train.save_steps == 0
                if (self.stop or due) and self._at_update():
                    self._save(LATEST)
        self.optimizer.clear_grad()  # batches left over at the end make no update

    def _timed_step(self, batches: Iterator[dict[str, Any]]) -> None:
        started = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            raise RuntimeError(f"the loader ended after {self.state.step} of {self.steps} batches")
        read = time.perf_counter()
        losses = self._step(batch)
        self.meter.add(losses, _batch_size(batch), read - started, time.perf_counter() - started)
        if self.state.step % self.train.log_iters == 0 or self.state.step == self.steps or self._limit_reached():
            self._log_steps()

    def _step(self, batch: dict[str, Any]) -> dict[str, float]:
        """Forward, backward and, every ``accumulate`` batches, an update; returns the losses as numbers."""
        with self.precision.autocast():
            losses = self.system.training_step(self.network, batch)
        values = {name: loss.item() for name, loss in losses.items()}
        bad, self.stop = distributed.any_of(not math.isfinite(values["loss"]), self.interruption.signal is not None)
        if bad:
            raise NonFiniteLoss(self._describe(f"loss is {values['loss']}", batch, values))
        loss = losses["loss"] / self.train.accumulate if self.train.accumulate > 1 else losses["loss"]
        self.precision.scaled(loss).backward()
        if (self.state.step + 1) % self.train.accumulate == 0:
            self._update(batch, values)
        self.state.step += 1
        return values

    def _update(self, batch: dict[str, Any], values: dict[str, float]) -> None:
        parameters = self.optimizer.parameters.values()
        distributed.average_gradients(parameters)
        if self.precision.unscale(parameters):
            # A finite loss is no proof: Paddle's relu turns nan into 0, and its gradient back into nan.
            norm = global_norm([p for p in parameters if p.grad is not None]).item()
            if not math.isfinite(norm):
                raise NonFiniteLoss(self._describe(f"the gradient's norm is {norm}", batch, values))
            self.optimizer.step()
        self.optimizer.clear_grad()
        self.state.updates = self.optimizer.updates

    def _at_update(self) -> bool:
        """Whether no gradient is waiting for more batches."""
        return self.state.step % self.train.accumulate == 0 or self.state.step == self.steps

    def _limit_reached(self) -> bool:
        limit = self.train.max_steps
        return bool(limit) and self.state.epoch * self.steps + self.state.step >= limit and self._at_update()

    # ---- ends of epochs

    def _finish_epoch(self) -> None:
        epoch, done = self.state.epoch, self.state.step == self.steps
        last = not done or epoch + 1 == self.train.epochs or self._limit_reached()
        every = self.train.eval_every
        evaluated = bool(every) and (last or (epoch + 1) % every == 0)
        hooked = done and hasattr(self.system, "after_epoch")
        if hooked or evaluated:
            self._save(LATEST)  # both may take long; if they are killed, a resumed run does them again
        if hooked:
            self.system.after_epoch(self.network, epoch)
        improved = evaluated and self._evaluate()
        if done:
            self.state.epoch, self.state.step = epoch + 1, 0
        if improved:
            self._save(BEST)
        if done and self.train.save_every and (epoch + 1) % self.train.save_every == 0:
            self._save(f"epoch_{epoch + 1}")
        self._save(LATEST)  # last: a kill before it repeats the evaluation and the copies
        if time.monotonic() - self.drawn > DRAW_EVERY:
            self._draw()

    def _draw(self) -> None:
        if distributed.is_main():
            draw_curves(self.log.path, self.output / CURVES_FILE)
        self.drawn = time.monotonic()

    def _evaluate(self) -> bool:
        """Evaluate on ``'val'``; returns whether the score is the best so far."""
        distributed.broadcast(self.network)  # running statistics differ between processes
        self.network.eval()
        with paddle.no_grad(), self.precision.autocast():
            metrics = self.system.evaluate(self.network, self.system.loader("val"), self._watched_progress)
        self.network.train()
        self.metrics = distributed.gather({name: float(value) for name, value in metrics.items()})[0]
        score, number = self.metrics[self.system.score], self.state.epoch + 1
        improved = checkpoint.is_better(score, self.state.best)
        if improved:
            self.state.best, self.state.best_epoch = score, number
        self.log.write("evaluation", epoch=number, updates=self.state.updates, metrics=self.metrics)
        best = "none" if self.state.best is None else f"{self.state.best:.5f} after epoch {self.state.best_epoch}"
        console().info("evaluation after epoch %d: %s; best %s: %s", number,
                       ", ".join(f"{name}: {value:.5f}" for name, value in self.metrics.items()),
                       self.system.score, best)
        return improved

    def _watched_progress(self, iterable: Iterable, title: str, total: int | None = None) -> Iterator:
        """Progress that a signal ends at once; with several processes, which must stop together, it does not."""
        shown = progress(iterable, title, total)
        return self.interruption.watch(shown) if distributed.world_size() == 1 else shown

    # ---- what is written

    def _log_steps(self) -> None:
        averages = self.meter.averages()
        rates = self.optimizer.rates()
        console().info("%s", train_line(epoch=self.state.epoch + 1, epochs=self.train.epochs, step=self.state.step,
                                        steps=self.steps, rate=next(iter(rates.values())), averages=averages))
        self.log.write("train", epoch=self.state.epoch + 1, step=self.state.step, updates=self.state.updates,
                       losses={name: averages[name] for name in self.meter.losses}, rates=rates,
                       **{name: value for name, value in averages.items() if name.startswith("avg_")})
        self.meter = Meter()

    def _save(self, name: str) -> None:
        """Write the checkpoint ``output_dir/name``; every process takes part, rank 0 writes."""
        states = distributed.gather(random_states())
        if distributed.is_main():
            self.state.random, self.state.meter = states, asdict(self.meter)
            self.state.scaler, self.state.log_bytes = self.precision.state(), self.log.size()
            self.state.config, self.state.revision = _plain(self.config), checkpoint.revision()
            checkpoint.save(self.output / name, self.network, self.optimizer, self.state)
        distributed.barrier()

    def _describe(self, what: str, batch: dict[str, Any], values: dict[str, float]) -> str:
        names = [name for part in distributed.gather(list(batch.get("name", []))) for name in part]
        kept = self.output / LATEST
        return (f"{what} in epoch {self.state.epoch + 1}, iteration {self.state.step + 1} "
                f"({', '.join(f'{name} {value:g}' for name, value in values.items())}).\n"
                f"Files of this batch: {', '.join(map(str, names)) or 'the data set gives no names'}.\n"
                f"Look at these files, lower the learning rate or clip the gradients. "
                + (f"The state before is kept in {kept}." if kept.exists() else "Nothing was saved yet."))


def _batch_size(batch: dict[str, Any]) -> int:
    return len(batch["name"]) if "name" in batch else next(len(v) for v in batch.values() if hasattr(v, "__len__"))


def _plain(config: RunConfig) -> dict[str, Any]:
    """The configuration as it comes back from JSON."""
    return json.loads(json.dumps(to_dict(config)))


def _check_resumable(state: State, config: RunConfig, folder: Path) -> None:
    """In the middle of an epoch the data order must be the old one; elsewhere changes are only told."""
    now = _plain(config)
    changed = {key: (old, new) for key, old, new in _differences(state.config, now)
               if key not in ("resume", "output_dir")}
    ranks = (len(state.random), distributed.world_size())
    if state.step and ranks[0] != ranks[1]:
        raise ValueError(f"{folder} was saved in the middle of an epoch by {ranks[0]} processes, there are {ranks[1]} "
                         "now; start as many, or resume from a checkpoint at the end of an epoch")
    fixed = [key for key in ("seed", "train.batch_size", "train.accumulate") if key in changed]
    if state.step and fixed:
        raise ValueError(f"{folder} was saved in the middle of an epoch; to continue it "
                         + ", ".join(f"{key} must stay {changed[key][0]} (is {changed[key][1]})" for key in fixed))
    for key, (old, new) in changed.items():
        console().warning("resuming with another %s: %s, was %s", key, new, old)


def _differences(old: Any, new: Any, prefix: str = "") -> list[tuple[str, Any, Any]]:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [(prefix.rstrip("."), old, new)]
    return [found for key in dict.fromkeys([*old, *new])
            for found in _differences(old.get(key), new.get(key), f"{prefix}{key}.")]
