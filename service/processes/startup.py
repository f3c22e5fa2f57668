"""What a process does before it serves: its telemetry's settings, and opening the store.

A store that will not do is refused, a late one waited for.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version

import structlog
from opentelemetry.trace import Tracer

from service.cancellation import unless_stopped
from service.ledger.ledger import ledger_scripts
from service.settings import Settings
from service.store import STORE_ERRORS, Shards, connect
from service.store.preflight import Durability, check, refusal
from telemetry import TelemetrySettings

PAUSE_SECONDS = 0.2
SAY_SECONDS = 5.0
"""How often it is said what is waited for."""


def telemetry_settings(environ: Mapping[str, str], slot: str) -> TelemetrySettings:
    """Make the telemetry of the process in a slot, such as `api-0`."""
    return TelemetrySettings.from_env(
        environ, service_name="flash-sale", service_version=version("flash-sale"), worker=slot
    )


@asynccontextmanager
async def open_shards(
    settings: Settings,
    url: str,
    *,
    name: str,
    tracer: Tracer | None = None,
    block_seconds: float = 0.0,
    wait_seconds: float = 30.0,
    stop: asyncio.Event | None = None,
) -> AsyncIterator[Shards]:
    """Connect, check the server and prepare the shards; close the clients at the end.

    Args:
        settings: The service's settings.
        url: Where the store is.
        name: The client's name in `CLIENT LIST`.
        tracer: Makes the spans of store calls.
        block_seconds: How long a read may block; 0 where none does.
        wait_seconds: How long a store that does not answer yet is waited for.
        stop: Ends the wait when it is set.

    Raises:
        StoreRefused: The server is too old, may evict keys, is read-only, or will never let us in.
        SchemaMismatchError: The store was first used with another number of shards.
        redis.exceptions.RedisError: The store did not answer in time.
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
        shards = Shards(client, scripts, count=settings.store_shards, tracer=tracer, blocking_client=blocking)
        await unless_stopped(_prepare(shards, settings.durability, wait_seconds), stop or asyncio.Event())
        yield shards


async def _prepare(shards: Shards, durability: Durability, wait_seconds: float) -> None:
    log = structlog.get_logger("service.store")
    loop = asyncio.get_running_loop()
    begun = loop.time()
    said = begun - SAY_SECONDS + 1  # first after a second: a store that starts beside us is no news
    while True:
        try:
            facts = await check(shards.client, durability)
            await shards.prepare()
        except STORE_ERRORS as error:
            if (never := refusal(error)) is not None:
                raise never from None
            now = loop.time()
            if now >= begun + wait_seconds:
                raise
            if now >= said + SAY_SECONDS:
                said = now
                log.warning("REDIS_URL: waiting for the store", waited_seconds=round(now - begun), error=str(error))
            await asyncio.sleep(PAUSE_SECONDS)
            continue
        shards.server = f"{facts.server} {facts.version}"
        for warning in facts.warnings:
            log.warning(warning)
        return
