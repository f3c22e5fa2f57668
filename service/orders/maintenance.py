"""What has to be done by the clock: reservations end, deferred orders come back, old ones are forgotten.

Any number of processes may do it.
"""

import asyncio

import structlog

from service.ledger.ledger import Ledger
from service.store import STORE_ERRORS
from telemetry import suppressed

INTERVAL_SECONDS = 0.5
MAX_BATCH = 500


async def run_maintenance(ledger: Ledger) -> None:
    """Does it twice a second until it is cancelled; a store that is down is waited for."""
    log = structlog.get_logger("service.orders.maintenance")
    while True:
        try:
            with suppressed():
                busy = await _round(ledger, log)
        except STORE_ERRORS:
            busy = False
        await asyncio.sleep(0 if busy else INTERVAL_SECONDS)


async def _round(ledger: Ledger, log: structlog.stdlib.BoundLogger) -> bool:
    busy = False
    for shard in ledger.shards:
        expired = await ledger.expire(shard, MAX_BATCH)
        if expired:
            log.info("reservations ended", shard=shard, orders=len(expired))
        promoted = await ledger.promote(shard, MAX_BATCH)
        forgotten = await ledger.forget(shard, MAX_BATCH)
        if forgotten:
            log.info("orders were forgotten after their retention", shard=shard, orders=forgotten)
        busy |= MAX_BATCH in (len(expired), promoted, forgotten)
    return busy
