"""What has to be done by the clock: reservations end, deferred orders come back, what is old is forgotten.

Any number of processes may do it. In a fleet the first of a kind does, `api-0` and `order-0`: each look costs the store
the same, found or not. It is kept alive by its supervisor; while it hangs (15 s at most) no other of its kind looks.
"""

import re
from functools import partial

import structlog

from service.background import Work, every
from service.ledger.ledger import Ledger
from service.store import STORE_ERRORS
from telemetry import suppressed

INTERVAL_SECONDS = 0.5
MEND_SECONDS = 2.0
TRIM_SECONDS = 2.0
MAX_BATCH = 500
_NOT_FIRST = re.compile(r".+-[1-9]\d*")


def maintenance(ledger: Ledger, slot: str) -> list[Work]:
    """Return what is to be kept going in a process of a fleet; a shard that is down is waited for, alone.

    Args:
        ledger: What is looked after.
        slot: The slot of this process, such as `api-0`; one that is not the first of its kind has nothing to do.
    """
    if _NOT_FIRST.fullmatch(slot):
        return []
    return [
        partial(every, seconds, partial(work, ledger, shard), outage=STORE_ERRORS)
        for shard in ledger.shards
        for seconds, work in ((INTERVAL_SECONDS, _round), (MEND_SECONDS, _mend), (TRIM_SECONDS, _trim))
    ]


async def _mend(ledger: Ledger, shard: int) -> None:
    """Put back orders that somebody took out of the queue."""
    with suppressed():
        mended = await ledger.mend(shard)
    if mended:
        structlog.get_logger("service.orders.maintenance").error(
            "orders were missing in the queue and were put back", shard=shard, orders=mended
        )


async def _trim(ledger: Ledger, shard: int) -> bool:
    """Take changes of orders off the feed that are too old; say whether there is more."""
    with suppressed():
        return await ledger.trim(shard)


async def _round(ledger: Ledger, shard: int) -> bool:
    """Do what is due in a shard, up to `MAX_BATCH` of a kind; say whether there is more."""
    log = structlog.get_logger("service.orders.maintenance")
    with suppressed():
        expired = await ledger.expire(shard, MAX_BATCH)
        promoted = await ledger.promote(shard, MAX_BATCH)
        forgotten = await ledger.forget(shard, MAX_BATCH)
    if expired:
        log.info("reservations ended", shard=shard, orders=len(expired))
    if forgotten:
        log.info("orders were forgotten after their retention", shard=shard, orders=forgotten)
    return MAX_BATCH in (len(expired), promoted, forgotten)
