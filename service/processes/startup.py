"""What a process does before it serves: its telemetry's settings, and opening the store.

A store that will not do is refused, a late one waited for.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from importlib.metadata import version

import structlog
from opentelemetry.trace import Tracer

from service.cancellation import cancel_and_wait, unless_stopped
from service.ledger.ledger import ledger_scripts
from service.secret_files import OF_TELEMETRY, with_secret_files
from service.settings import Settings, SettingsError
from service.store import STORE_ERRORS, Shards, StoreConnectionError, connect, plain_words
from service.store.preflight import Durability, check, refusal
from service.store.replication import WAIT_SHARE
from telemetry import TelemetrySettings

PAUSE_SECONDS = 0.2
FIRST_SAY_SECONDS = 0.7  # a store that starts beside us is no news
SAY_SECONDS = 5.0
"""How often it is said what is waited for."""

ONCE_SECONDS = 2.0
"""How long a store may take that is asked once."""


class StoreUnreachableError(StoreConnectionError):
    """The store did not answer in time; the message is one line that names REDIS_URL."""


def telemetry_settings(environ: Mapping[str, str], slot: str) -> TelemetrySettings:
    """Make the telemetry of the process in a slot, such as `api-0`.

    Raises:
        SettingsError: A file that should hold a secret cannot be used.
    """
    try:
        environ = with_secret_files(environ, OF_TELEMETRY)
    except ValueError as error:
        raise SettingsError(str(error)) from None
    settings = TelemetrySettings.from_env(
        environ, service_name="flash-sale", service_version=version("flash-sale"), worker=slot
    )
    of_otel = tuple(name for name in settings.ignored_variables if name.startswith("OTEL_"))
    return replace(settings, ignored_variables=of_otel)  # the program tells the others itself, with its own


@asynccontextmanager
async def open_shards(
    settings: Settings,
    url: str,
    *,
    name: str,
    tracer: Tracer | None = None,
    block_seconds: float = 0.0,
    wait_seconds: float = 30.0,
    create: bool = True,
    prepare: bool = True,
    stop: asyncio.Event | None = None,
) -> AsyncIterator[Shards]:
    """Connect, check the server and prepare the shards; close the clients at the end.

    Args:
        settings: The service's settings.
        url: Where the store is.
        name: The client's name in `CLIENT LIST`.
        tracer: Makes the spans of store calls.
        block_seconds: How long a read may block; 0 where none does.
        wait_seconds: How long a store that does not answer yet is waited for; 0: it is asked once.
        create: Whether a store that was never used becomes one of ours.
        prepare: Whether the shards are made ready; else they are taken as they are.
        stop: Ends the wait when it is set.

    Raises:
        StoreRefused: The server is too old, may evict keys, is read-only, or will never let us in.
        SchemaMismatchError: The store was first used with another number of shards.
        StoreUnusedError: It was never used, and is not to be created.
        StoreUnreachableError: The store did not answer in time.
        Stopped: `stop` was set while the store was waited for.
    """
    timeout = settings.store_timeout_seconds
    async with AsyncExitStack() as clients:
        # Not entered: a client of a cluster would connect there, and not be waited for.
        client = connect(url, name=name, timeout_seconds=timeout)
        clients.push_async_callback(client.aclose)
        blocking = None
        if block_seconds:
            blocking = connect(url, name=f"{name}-reader", timeout_seconds=timeout, block_seconds=block_seconds)
            clients.push_async_callback(blocking.aclose)
        scripts = ledger_scripts()
        shards = Shards(
            client,
            scripts,
            count=settings.store_shards,
            tracer=tracer,
            blocking_client=blocking,
            prefix=settings.store_prefix,
        )
        if settings.durability == "replicated":
            shards.replicas_wait_seconds = timeout * WAIT_SHARE
        start = _Start(shards, settings.durability, create=create, prepare=prepare)
        await unless_stopped(start.within(wait_seconds), stop or asyncio.Event())
        yield shards


class _Start:
    """Prepares a store that may not answer yet, and says meanwhile what is waited for.

    Both go by the clock alone: an attempt may hang for as long as STORE_TIMEOUT_SECONDS.
    """

    def __init__(self, shards: Shards, durability: Durability, *, create: bool, prepare: bool) -> None:
        self._shards = shards
        self._durability = durability
        self._create = create
        self._prepare = prepare
        self._error = "no answer yet"
        self._log = structlog.get_logger("service.store")

    async def within(self, seconds: float) -> None:
        saying = asyncio.create_task(self._say())
        try:
            async with asyncio.timeout(seconds or ONCE_SECONDS):
                if await self._ready(asyncio.get_running_loop().time() + seconds):
                    return
        except TimeoutError:
            pass
        finally:
            await cancel_and_wait([saying])
        raise StoreUnreachableError(f"REDIS_URL: the store does not answer: {self._error}")

    async def _ready(self, until: float) -> bool:
        while not (ready := await self._attempted()) and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110 - the event is in another process
            await asyncio.sleep(PAUSE_SECONDS)
        return ready

    async def _attempted(self) -> bool:
        """Try once; return whether the store is ready."""
        try:
            facts = await check(self._shards.client, self._durability)
            away = await self._shards.prepare(create=self._create) if self._prepare else {}
        except STORE_ERRORS as error:
            if (never := refusal(error)) is not None:
                raise never from None
            self._error = plain_words(error)
            return False
        if away:
            why = str(next(iter(away.values())))
            structlog.get_logger("service.store").error("shards of the store are away", shards=list(away), error=why)
        self._shards.server = f"{facts.server} {facts.version}"
        for warning in facts.warnings:
            self._log.warning(warning)
        return True

    async def _say(self) -> None:
        begun = asyncio.get_running_loop().time()
        await asyncio.sleep(FIRST_SAY_SECONDS)
        while True:
            waited = round(asyncio.get_running_loop().time() - begun)
            self._log.warning("REDIS_URL: waiting for the store", waited_seconds=waited, error=self._error)
            await asyncio.sleep(SAY_SECONDS)
