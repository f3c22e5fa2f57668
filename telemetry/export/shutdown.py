"""Ending what exports, in bounded time: several pipelines at once, each waited for as long as that is worth it."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .health import Health, MonitoredExporter

UNKNOWN_SECONDS = 1.0
"""How long `drain` waits for a collector that has not been sent anything yet."""
UNHEALTHY_SECONDS = 0.3
"""How long it waits for one that did not take the last batch, or holds one for too long."""
_POLL_SECONDS = 0.02

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One pipeline to be ended.

    Attributes:
        name: what it carries.
        stop: hands over what is left; may wait for long, or for ever.
        exporter: where it ends; None when that is not a collector.
    """

    name: str
    stop: Callable[[], object]
    exporter: MonitoredExporter[Any, Any] | None


def drain(pipelines: Sequence[Pipeline], timeout: float) -> bool:
    """End pipelines, and wait up to ``timeout`` seconds for what they still have to hand over.

    Only a healthy collector is given all of the time. The SDK waits 30 s for a batch that is under way, and its
    ``force_flush`` waits for ever; so each pipeline is ended in a thread, which is left behind when the time is up.

    Returns:
        Whether everything was handed over in time.
    """
    begun = time.monotonic()
    exporters = [pipeline.exporter for pipeline in pipelines if pipeline.exporter]
    known = [health for exporter in exporters if (health := exporter.health) is not Health.UNKNOWN]
    threads = []
    for pipeline in pipelines:
        grace = timeout if pipeline.exporter is None else _grace(pipeline.exporter.health, known, timeout)
        threads.append((pipeline, _begin(pipeline), grace))
    done = True
    for pipeline, thread, grace in threads:
        _wait(thread, pipeline.exporter, begun + grace, begun + timeout)
        if thread.is_alive():
            done = False
            _logger.warning("%s are left unsent: the collector did not take them in time", pipeline.name)
            if pipeline.exporter is not None:
                pipeline.exporter.shutdown()
    return done


def _begin(pipeline: Pipeline) -> threading.Thread:
    """Begin to end a pipeline in a thread, or end it here: Python 3.12.0 and 3.12.1 start no thread at their exit."""
    thread = threading.Thread(target=pipeline.stop, name=f"telemetry-drain-{pipeline.name}", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        if pipeline.exporter is not None and pipeline.exporter.health is Health.UNHEALTHY:
            pipeline.exporter.shutdown()  # nobody else could end a wait for its collector
        pipeline.stop()
    return thread


def _wait(thread: threading.Thread, exporter: MonitoredExporter[Any, Any] | None, soon: float, end: float) -> None:
    """Wait until ``soon``; until ``end`` once the collector takes what it is sent."""
    while thread.is_alive():
        healthy = exporter is not None and exporter.health is Health.HEALTHY
        if time.monotonic() >= (end if healthy else soon):
            return
        thread.join(_POLL_SECONDS)


def _grace(health: Health, known: Sequence[Health], timeout: float) -> float:
    """Say how long a pipeline is worth waiting for; one that has not sent anything is judged by the others."""
    if health is Health.UNKNOWN and known:
        health = Health.HEALTHY if Health.HEALTHY in known else Health.UNHEALTHY
    seconds = {Health.HEALTHY: timeout, Health.UNKNOWN: UNKNOWN_SECONDS, Health.UNHEALTHY: UNHEALTHY_SECONDS}
    return min(timeout, seconds[health])
