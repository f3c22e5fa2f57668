"""The processes of one command: `run` is everything, `api` and `worker` are the roles for containers.

The parent opens the sockets, owns the embedded store if there is one, and keeps its children alive; it serves
nothing itself. A child is this program again, with its slot (`api-0`) and the descriptor of its socket.
"""

import asyncio
import secrets
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from service.cancellation import unless_stopped
from service.directories import real_path, temporary_directory
from service.ledger.catalogue import ProductCatalogue
from service.ledger.demo import stock_demo
from service.processes.signals import StopRequest
from service.processes.sockets import is_loopback, listen, url_of
from service.processes.startup import open_shards
from service.processes.supervisor import ChildSpec, Supervisor
from service.processes.template import Template
from service.settings import Settings, SettingsError
from service.store.embedded import EmbeddedStore
from service.store.server_process import attach

TOKEN_BYTES = 12
PROGRAM = (sys.executable, "-P", "-m", "service")
"""This program as a fresh interpreter has it; -P: no code of the current directory."""

MODULES = {
    "api": (
        *("uvloop", "service.processes.api"),
        *("anyio.streams.memory", "anyio.streams.stapled", "anyio.streams.tls"),  # Starlette's first file needs them
    ),
    "worker": ("uvloop", "service.processes.worker"),
    "crowd": ("uvloop", "service.crowd.demo", "service.crowd.watch"),
}
"""What each kind of process imports, sooner or later."""


class StopStage(IntEnum):
    """In which order children end: who orders first, then who takes orders, then who works them off."""

    CROWD = 0
    API = 1
    WORKERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSpec:
    """What a command starts: how many API processes and order workers, a crowd, a demo catalogue."""

    api: int = 0
    workers: int = 0
    crowd: float = 0
    demo: bool = False
    worker_port: tuple[str, int] | None = None
    drain_seconds: float = 0
    """How long an API process goes on when it is told to end: as long as those in front need to turn to another."""

    @property
    def modules(self) -> list[str]:
        """What its processes import."""
        counts = {"api": self.api, "worker": self.workers, "crowd": self.crowd}
        return [name for kind, count in counts.items() if count for name in MODULES[kind]]


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the fleet can be reached, for whoever tells the operator."""

    url: str
    store: str
    admin_token: str | None
    shown_token: str | None
    """The admin token if it was made here; one that the operator set is not shown."""


def store_of(settings: Settings, stack: ExitStack, *, own: bool = False) -> tuple[str, EmbeddedStore | None]:
    """Yield the store that the settings name: given, embedded by a running `flash-sale` (unless `own`), or our own.

    Our own has not been started; the stack stops it.
    """
    if settings.redis_url is not None:
        return settings.redis_url.get_secret_value(), None
    data_dir = _absolute(settings.data_dir)
    attached = None if own else attach(data_dir)
    if attached is not None:
        return attached, None
    store = EmbeddedStore(data_dir, fsync=settings.store_fsync)
    stack.callback(store.stop)
    return store.url, store


def _absolute(directory: Path) -> Path:
    """Return a directory as the children find it, too.

    Raises:
        SettingsError: It is below the current directory, which somebody has removed.
    """
    try:
        return directory.absolute()
    except FileNotFoundError:
        raise SettingsError("DATA_DIR: the current directory has been removed; name an absolute path") from None


async def run_fleet(
    settings: Settings,
    fleet: FleetSpec,
    announce: Callable[[Endpoints], None],
    stop: StopRequest,
    *,
    template: Template | None = None,
) -> None:
    """Start everything, and end everything when `stop` is set or a part cannot be kept alive.

    Args:
        settings: The service's settings.
        fleet: What is started.
        announce: Told where it can be reached, once that is known.
        stop: Ends it.
        template: What the processes are forked from, and closed here; each is a fresh interpreter without it.

    Raises:
        SettingsError: A port cannot be had, or is open to strangers.
        StoreRefused, StoreInUse, StoreFailed: The store will not do.
        ChildFailed: A process died again and again.
        Stopped: `stop` was set before all of it had started.
    """
    with ExitStack() as stack:
        if template is not None:
            stack.callback(template.close)
        sockets: dict[str, socket.socket] = {}
        if fleet.api:
            sockets["api"] = stack.enter_context(listen("HOST", settings.host, "PORT", settings.port))
            refuse_strangers(settings, sockets["api"])
        if fleet.worker_port:
            host, port = fleet.worker_port
            listener = listen("OTEL_EXPORTER_PROMETHEUS_HOST", host, "OTEL_EXPORTER_PROMETHEUS_PORT", port)
            sockets["worker"] = stack.enter_context(listener)
        url, store = store_of(settings, stack, own=fleet.demo)
        if store is not None:
            await unless_stopped(store.start_beside(), stop)
        async with open_shards(settings, url, name="flash-sale", stop=stop) as shards:
            if fleet.demo:
                await stock_demo(ProductCatalogue(shards))
        directory = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="flash-sale-", dir=temporary_directory()))
        )
        endpoints = _endpoints(settings, fleet, url, store, sockets)
        env = _environment(fleet, url, endpoints.admin_token, directory)
        supervisor = Supervisor(
            _specs(fleet, sockets, endpoints.url, env, () if template else PROGRAM),
            grace_seconds=settings.shutdown_seconds + 1,
            starter=template,
        )
        announce(endpoints)
        await _keep(supervisor, store, stop)


async def _keep(supervisor: Supervisor, store: EmbeddedStore | None, stop: StopRequest) -> None:
    """Keep the children and the embedded store; the store outlives them, so that they can finish."""
    if store is None:
        await supervisor.run(stop, stop.at_once)
        return
    ended = asyncio.Event()
    keeper = asyncio.create_task(store.keep_running(ended))
    keeper.add_done_callback(lambda _: stop.set())
    try:
        await supervisor.run(stop, stop.at_once)
    finally:
        ended.set()
        await keeper


def _endpoints(
    settings: Settings, fleet: FleetSpec, url: str, store: EmbeddedStore | None, sockets: Mapping[str, socket.socket]
) -> Endpoints:
    token = settings.admin_token.get_secret_value() if settings.admin_token else None
    if token is None and fleet.demo:
        token = secrets.token_urlsafe(TOKEN_BYTES)
    listener = sockets.get("api") or sockets.get("worker")
    shown = None if settings.admin_token else token
    where = str(settings.data_dir) if store else _without_secrets(url)
    return Endpoints(url_of(listener) if listener else "", where, token, shown)


def refuse_strangers(settings: Settings, listener: socket.socket) -> None:
    """Refuse to serve whoever comes from elsewhere without knowing who that is, unless the operator has said so."""
    if not (is_loopback(listener) or settings.auth_jwt.enabled or settings.allow_anonymous):
        raise SettingsError(
            f"ALLOW_ANONYMOUS: HOST={settings.host} is open to other machines, and without AUTH_JWT_SECRET or "
            "AUTH_JWT_PUBLIC_KEY anybody there can list and cancel anybody's orders: set a key, HOST=127.0.0.1, or "
            "ALLOW_ANONYMOUS=true if that is meant"
        )


def store_name(settings: Settings) -> str:
    """Return where the store of these settings is, and the variable that says so; without secrets."""
    keys = f", keys behind {settings.store_prefix} (STORE_PREFIX)" if settings.store_prefix else ""
    if settings.redis_url is not None:
        return f"{_without_secrets(settings.redis_url.get_secret_value())} (REDIS_URL){keys}"
    return f"{real_path(settings.data_dir)} (DATA_DIR){keys}"


def _without_secrets(url: str) -> str:
    """Where a store is: neither who logs in there nor its options, which may hold passwords, too."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"


def _environment(fleet: FleetSpec, url: str, token: str | None, directory: Path) -> dict[str, str]:
    env = {
        "REDIS_URL": url,
        "REDIS_URL_FILE": "",
        "DRAIN_SECONDS": str(fleet.drain_seconds),
        "FLEET_ID": secrets.token_hex(8),
        "TELEMETRY_SOCKET_DIR": str(directory),
        "PYTHONUNBUFFERED": "1",
    }
    return env | ({"ADMIN_TOKEN": token, "ADMIN_TOKEN_FILE": ""} if token else {})


def _specs(
    fleet: FleetSpec,
    sockets: Mapping[str, socket.socket],
    url: str,
    env: Mapping[str, str],
    program: Sequence[str],
) -> list[ChildSpec]:
    def child(name: str, stage: StopStage, *args: str, serves: str = "") -> ChildSpec:
        given = (sockets[serves],) if serves in sockets else ()
        fd = [word for listening in given for word in ("--fd", str(listening.fileno()))]
        argv = [*program, "process", name, *fd, *args]
        drain = fleet.drain_seconds if stage is StopStage.API else 0
        return ChildSpec(name=name, argv=argv, env=env, sockets=given, stage=stage, drain_seconds=drain)

    specs = [child(f"api-{slot}", StopStage.API, serves="api") for slot in range(fleet.api)]
    specs += [
        child(f"order-{slot}", StopStage.WORKERS, serves="" if slot else "worker") for slot in range(fleet.workers)
    ]
    if fleet.crowd:
        specs.append(child("crowd", StopStage.CROWD, "--url", url, "--rate", str(fleet.crowd)))
    return specs
