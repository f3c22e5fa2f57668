"""The commands that start processes: `run`, `api`, `worker`, and the hidden `process` that each child is."""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.limits import refuse_limits
from service.cli.streams import complain, say

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from service.processes.fleet import Endpoints, FleetSpec
    from service.processes.signals import StopRequest
    from service.settings import Settings
    from telemetry import Telemetry

_CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv")
PROMETHEUS_PORT = "OTEL_EXPORTER_PROMETHEUS_PORT"
PROMETHEUS_HOST = "OTEL_EXPORTER_PROMETHEUS_HOST"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("run")(run)
    app.command("api")(api)
    app.command("worker")(worker)
    app.command("process", hidden=True)(process)
    app.command("template", hidden=True)(template)


def run() -> None:
    """Start everything: an embedded store, the API, an order worker, a demo sale and a gentle crowd.

    PORT (8000), WORKERS (API processes, 1), ORDER_WORKERS (1), CROWD (orders per second, 20; 0 for none),
    REDIS_URL (unset: a store of its own in DATA_DIR, .data) and ADMIN_TOKEN (unset: one is made) say how.
    Ctrl-C stops all of it; the orders are still there next time.
    """
    refuse_limits()
    from service.processes.fleet import FleetSpec

    settings = _settings()
    workers, crowd = settings.order_workers, _crowd_of(settings)
    # What ends is all there is, unless the operator says otherwise: nobody in front has another one to turn to.
    drain = settings.drain_seconds if "drain_seconds" in settings.model_fields_set else 0
    _start(settings, FleetSpec(api=settings.workers, workers=workers, crowd=crowd, demo=True, drain_seconds=drain))


def _crowd_of(settings: "Settings") -> float:
    """Return how many orders per second the crowd sends: none where it is not installed and nobody asked for it."""
    from service.cli.extras import has_crowd, require_crowd

    if not settings.crowd or has_crowd():
        return settings.crowd
    if "crowd" in settings.model_fields_set:
        require_crowd()
    sys.stderr.write("flash-sale: there is no crowd: it comes with pip install 'flash-sale[crowd]'\n")
    return 0


def api() -> None:
    """Serve the API with WORKERS processes on HOST:PORT. Without ADMIN_TOKEN the admin routes are off."""
    refuse_limits()
    from service.processes.fleet import FleetSpec

    settings = _with_a_store(_settings())
    _start(settings, FleetSpec(api=settings.workers, drain_seconds=settings.drain_seconds))


def worker() -> None:
    """Work off the queue with ORDER_WORKERS processes.

    /metrics, /healthz and /readyz are on OTEL_EXPORTER_PROMETHEUS_HOST:OTEL_EXPORTER_PROMETHEUS_PORT (localhost:9464).
    """
    refuse_limits()
    from service.processes.fleet import FleetSpec

    settings = _with_a_store(_settings())
    _start(settings, FleetSpec(workers=max(settings.order_workers, 1), worker_port=_prometheus_address()))


def process(
    slot: Annotated[str, typer.Argument(help="api-0, order-0, crowd")],
    fd: Annotated[int | None, typer.Option(help="descriptor of a socket that listens")] = None,
    url: Annotated[str, typer.Option(help="where the API is, for the crowd")] = "",
    rate: Annotated[float, typer.Option(help="orders per second, for the crowd")] = 0,
) -> None:
    """Be one process of a fleet."""
    import uvloop

    from service.processes.heartbeat import with_heartbeat
    from service.processes.signals import until_signalled

    settings = _settings(tell=False)
    listener = socket.socket(fileno=fd) if fd is not None else None
    # The telemetry makes many short-lived objects: a collector run for every 700 of them costs a quarter of a request.
    gc.set_threshold(50_000, 20, 100)
    if slot == "crowd":
        uvloop.run(_shop(url, rate))
        return
    serve = _server_of(slot, listener)
    from service.processes.startup import telemetry_settings
    from telemetry import Telemetry

    telemetry = Telemetry(telemetry_settings(os.environ, slot))
    gc.freeze()  # what was imported stays: the collector need not look at it again
    store_url = settings.redis_url.get_secret_value() if settings.redis_url else ""
    served = partial(serve, settings, telemetry, store_url)
    uvloop.run(until_signalled(partial(with_heartbeat, os.environ, served)))


def template(
    modules: Annotated[list[str], typer.Argument(help="what the processes will need")],
    fd: Annotated[int, typer.Option(help="descriptor of the socket by which it is asked")],
    supervisor: Annotated[int, typer.Option(help="process id of who asks")],
) -> None:
    """Be what the processes of a fleet are forked from."""
    from service.processes.template import serve

    serve(socket.socket(fileno=fd), supervisor, modules)


def _server_of(
    slot: str, listener: socket.socket | None
) -> "Callable[[Settings, Telemetry, str, StopRequest], Coroutine[Any, Any, None]]":
    """Load what serves this slot, and no more."""
    if not slot.startswith("api-"):
        from service.processes.worker import serve_worker

        return partial(serve_worker, listener=listener)
    if listener is None:
        raise typer.BadParameter("an API process needs --fd")
    from service.processes.api import serve_api

    return partial(serve_api, listener=listener)


async def _shop(url: str, rate: float) -> None:
    """Shop until SIGTERM, and still say what the last round came to."""
    from service.cli.extras import require_crowd

    require_crowd()
    from service.crowd import run_demo_crowd

    task = asyncio.ensure_future(run_demo_crowd(url, rate))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


def _settings(*, tell: bool = True) -> "Settings":
    """Read the settings; who starts the fleet tells of slips, and none of its processes does again."""
    from service.settings import Settings, unknown_variables
    from telemetry import configure_logging

    settings = Settings.from_env(os.environ)
    json = settings.log_format == "json"
    configure_logging(level=settings.log_level.upper(), stream=sys.stdout, json=json, wait=False)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it writes a line for each payment
    for line in unknown_variables(os.environ) if tell else ():
        complain(line, 0)
    return settings


def _start(settings: "Settings", fleet: "FleetSpec") -> None:
    from service.processes.fleet import run_fleet
    from service.processes.signals import until_signalled
    from service.processes.startup import telemetry_settings
    from service.processes.template import Template, can_fork

    telemetry = telemetry_settings(os.environ, "main")  # a bad value is refused here, once, not by every child
    announce = partial(_announce, fleet=fleet)
    starter = None
    if can_fork():
        starter = Template([*fleet.modules, *telemetry.modules])
        starter.fork()  # while this process has no thread, no socket and no event loop
    asyncio.run(until_signalled(partial(run_fleet, settings, fleet, announce, template=starter)))


def _with_a_store(settings: "Settings") -> "Settings":
    """Refuse a role that would sell from a store of its own: in a container nobody shares its directory.

    Raises:
        SettingsError: REDIS_URL is not set in a container, and no directory was chosen either.
    """
    from service.settings import SettingsError

    chosen = settings.redis_url is not None or os.environ.get("DATA_DIR", "").strip()
    inside = "KUBERNETES_SERVICE_HOST" in os.environ or any(Path(mark).exists() for mark in _CONTAINER_MARKS)
    if inside and not chosen:
        raise SettingsError("REDIS_URL: must be set in a container, or each process sells from a store of its own")
    return settings


def _token_line(endpoints: "Endpoints") -> str:
    if endpoints.admin_token is None:
        return "none: the admin routes are off, set ADMIN_TOKEN"
    return endpoints.shown_token or "the one in ADMIN_TOKEN"


def _announce(endpoints: "Endpoints", fleet: "FleetSpec") -> None:
    lines = [f"flash-sale   {endpoints.url}"]
    if fleet.api:
        lines += [f"live page    {endpoints.url}/", f"shop         {endpoints.url}/shop"]
        lines += [f"api docs     {endpoints.url}/docs", f"metrics      {endpoints.url}/metrics"]
    lines += [f"store        {endpoints.store}"]
    if fleet.api:
        lines += [f"admin token  {_token_line(endpoints)}"]
    if fleet.crowd:
        lines += [f"crowd        {fleet.crowd:g} orders per second"]
    say("\n".join(["", *lines, "Ctrl-C stops everything.", "", ""]))


def _prometheus_address() -> tuple[str, int]:
    from service.settings import SettingsError

    text = os.environ.get(PROMETHEUS_PORT, "").strip() or "9464"
    if not text.isdecimal() or not int(text) <= 65535:  # noqa: PLR2004 - the highest port there is
        raise SettingsError(f"{PROMETHEUS_PORT}: {text!r} is not a port")
    return os.environ.get(PROMETHEUS_HOST, "").strip() or "localhost", int(text)
