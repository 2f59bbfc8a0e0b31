"""Watching a stream with the AVS system: a mask every so often, as fast as the machine allows."""
from __future__ import annotations

import time
from typing import TYPE_CHECKING

from datasets.live import LiveSource
from deploy.stream_report import StreamReport
from engine.logger import console

if TYPE_CHECKING:
    from systems.avs import AVS


def watch(system: AVS, network, path: str, *, every: float, without_sound: bool) -> StreamReport:
    """Follow a stream to its end (or Ctrl-C); every mask is logged with its delay behind the newest frame.

    Args:
        every: seconds of the stream between two masks; where the machine is slower, masks are skipped, not delayed.
    """
    if every <= 0:
        raise ValueError(f"--stream_every {every}: the seconds between two masks must be positive")
    config = system.config
    source = LiveSource(path, frames=config.network.frames, size=config.data.size, without_sound=without_sound)
    system.listener.vggish.eval()
    report, due, begin = StreamReport(path), 0.0, time.monotonic()
    source.start()
    try:
        while (moment := source.latest(due)) is not None:
            mask = system.masks(network, moment.image, moment.log_mel)[-1]
            report.add(moment.seconds, time.monotonic() - moment.arrived, moment.frame, mask)
            console().info("%7.2f s: %5.2f %% sounding, latency %.0f ms", moment.seconds, 100 * mask.mean(),
                           1000 * report.latencies[-1])
            due = moment.seconds + every
    except KeyboardInterrupt:
        console().info("stopped after %.1f s", time.monotonic() - begin)
    report.finish(source.seen, time.monotonic() - begin)
    return report
