"""Which faults are on: kept in the store with a time to live, read twice a second by every process."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from time import monotonic

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.background import background_tasks, every
from service.settings import Settings
from service.store import STORE_ERRORS, StoreClient, connect, keys

INTERVAL_SECONDS = 0.5
MAX_SECONDS = 3600


class Fault(StrEnum):
    """What can be broken."""

    API_ERRORS = "api_errors"
    API_DELAY = "api_delay"
    STORE_OUTAGE = "store_outage"
    LEDGER_DRIFT = "ledger_drift"
    OVERSELL = "oversell"
    PAYMENT_OUTAGE = "payment_outage"
    PAYMENT_DECLINES = "payment_declines"
    PAYMENT_DELAY = "payment_delay"
    PAYMENT_STALL = "payment_stall"
    REFUNDS_REJECTED = "refunds_rejected"
    TELEMETRY_MISUSE = "telemetry_misuse"


MEANINGS: dict[Fault, str] = {
    Fault.API_ERRORS: "requests for orders and products crash",
    Fault.API_DELAY: "requests for orders and products take `seconds` longer",
    Fault.STORE_OUTAGE: "no step of the ledger reaches the store",
    Fault.LEDGER_DRIFT: "snapshots say that one unit more was restocked",
    Fault.OVERSELL: "snapshots say that one unit more was sold than there was; so products look sold out",
    Fault.PAYMENT_OUTAGE: "charges get no answer",
    Fault.PAYMENT_DECLINES: "charges are declined",
    Fault.PAYMENT_DELAY: "charges take `seconds` longer",
    Fault.PAYMENT_STALL: "charges hang until the fault is off",
    Fault.REFUNDS_REJECTED: "the gateway calls refunds wrong",
    Fault.TELEMETRY_MISUSE: "charges are recorded with an attribute that is not declared",
}


class FaultRule(BaseModel):
    """How hard a fault strikes. What a fault has no use for is ignored."""

    model_config = ConfigDict(extra="forbid")

    share: float = Field(1.0, gt=0, le=1, description="of the calls that are hit")
    seconds: float = Field(1.0, gt=0, le=60, allow_inf_nan=False, description="of a delay")
    worker: str | None = Field(None, max_length=64, description="only in this process, say `api-1`; null = all")
    ttl_seconds: float = Field(60.0, ge=1, le=MAX_SECONDS, allow_inf_nan=False, description="off again after that")


class Faults:
    """The faults as one process sees them.

    Args:
        client: A client of its own: the fault `store_outage` must not hide that it is off again.
        slot: The slot of this process, such as `api-0`.
        prefix: What stands before the hash tag of each key.
    """

    def __init__(self, client: StoreClient, slot: str, prefix: str = "") -> None:
        self._client = client
        self._prefix = prefix
        self._slot = slot
        self._on: dict[Fault, FaultRule] = {}
        self._read = monotonic()
        self._log = structlog.get_logger("service.faults")

    def should_inject(self, fault: Fault) -> FaultRule | None:
        """Return the fault if it is on here and hits this call."""
        rule = self._on.get(fault)
        if rule is None or rule.worker not in (None, self._slot) or monotonic() - self._read > MAX_SECONDS:
            return None
        return rule if random.random() < rule.share else None

    async def switch_on(self, fault: Fault, rule: FaultRule) -> None:
        """Switch a fault on in the whole fleet.

        Raises:
            redis.exceptions.RedisError: The store is down.
        """
        await self._client.set(self._key(fault), rule.model_dump_json(), px=int(rule.ttl_seconds * 1000))
        self._log.warning("a fault was switched on", fault=fault, **rule.model_dump())
        await self.read()

    async def switch_off(self, *faults: Fault) -> None:
        """Switch faults off.

        Raises:
            redis.exceptions.RedisError: The store is down.
        """
        await self._client.delete(*map(self._key, faults))
        self._log.warning("faults were switched off", faults=list(faults))
        await self.read()

    async def read(self) -> dict[Fault, FaultRule]:
        """Read which faults are on; `ttl_seconds` is as it was given.

        Raises:
            redis.exceptions.RedisError: The store is down.
        """
        found = await self._client.mget([self._key(fault) for fault in Fault])
        self._on = {fault: rule for fault, text in zip(Fault, found, strict=True) if text and (rule := _read(text))}
        self._read = monotonic()
        return dict(self._on)

    def _key(self, fault: Fault) -> str:
        return f"{keys.prefix(0, self._prefix)}fault:{fault}"

    async def watch(self) -> None:
        """Read twice a second until it is cancelled."""

        async def read() -> None:
            await self.read()

        await every(INTERVAL_SECONDS, read, outage=STORE_ERRORS, on_outage=lambda _: self._on.clear())


def _read(text: str | bytes) -> FaultRule | None:
    try:
        return FaultRule.model_validate_json(text)
    except ValidationError:  # another version of the service wrote it
        return None


@asynccontextmanager
async def watched(settings: Settings, store_url: str, slot: str) -> AsyncIterator[Faults | None]:
    """Yield the faults of a process, watched while the block lasts; None unless FAULTS_ENABLED is set."""
    if not settings.faults_enabled:
        yield None
        return
    structlog.get_logger("service.faults").warning("FAULTS_ENABLED is set: an admin can break this service")
    async with connect(store_url, name=f"{slot}-faults", timeout_seconds=settings.store_timeout_seconds) as client:
        faults = Faults(client, slot, settings.store_prefix)
        async with background_tasks(faults.watch):
            yield faults
