"""What has to be done by the clock: reservations end, deferred orders come back, old ones are forgotten.

Any number of processes may do it.
"""

from functools import partial

import structlog

from service.background import Work, every
from service.ledger.ledger import Ledger
from service.store import STORE_ERRORS
from telemetry import suppressed

INTERVAL_SECONDS = 0.5
MEND_SECONDS = 2.0
MAX_BATCH = 500


def maintenance(ledger: Ledger) -> list[Work]:
    """Return what is to be kept going in some process of a fleet; a store that is down is waited for."""
    return [
        partial(every, INTERVAL_SECONDS, partial(_round, ledger), outage=STORE_ERRORS),
        partial(every, MEND_SECONDS, partial(_mend, ledger), outage=STORE_ERRORS),
    ]


async def _mend(ledger: Ledger) -> None:
    """Put back orders that somebody took out of the queue."""
    for shard in ledger.shards:
        with suppressed():
            mended = await ledger.mend(shard)
        if mended:
            structlog.get_logger("service.orders.maintenance").error(
                "orders were missing in the queue and were put back", shard=shard, orders=mended
            )


async def _round(ledger: Ledger) -> bool:
    """Do what is due, up to `MAX_BATCH` of a kind in each shard; say whether there is more."""
    log = structlog.get_logger("service.orders.maintenance")
    busy = False
    for shard in ledger.shards:
        with suppressed():
            expired = await ledger.expire(shard, MAX_BATCH)
            promoted = await ledger.promote(shard, MAX_BATCH)
            forgotten = await ledger.forget(shard, MAX_BATCH)
        if expired:
            log.info("reservations ended", shard=shard, orders=len(expired))
        if forgotten:
            log.info("orders were forgotten after their retention", shard=shard, orders=forgotten)
        busy |= MAX_BATCH in (len(expired), promoted, forgotten)
    return busy
