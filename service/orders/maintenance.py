"""What has to be done by the clock: reservations end, deferred orders come back, what is old is forgotten.

Any number of processes may do it. In a fleet one does (`service.ledger.turns`), which looks once a second, and when the
next is due; any other follows it.
"""

from functools import partial

import structlog

from service.background import Work
from service.ledger.due import due
from service.ledger.ledger import Ledger
from service.ledger.turns import MORE, NEXT, FleetTurns, Siblings, Told
from service.store import STORE_ERRORS
from telemetry import suppressed

AGAIN_SECONDS = 0.25
"""Until the next look where something was due: more of its kind may be soon."""
LOOK_SECONDS = 1.0
MEND_SECONDS = 2.0
AT_REST_SECONDS = 2.0
MEND_AT_REST_SECONDS = 10.0
MAX_BATCH = 500


def maintenance(ledger: Ledger, siblings: Siblings) -> list[Work]:
    """Return what is to be kept going in each process of a fleet; a shard that is down is waited for, alone.

    Args:
        ledger: What is looked after.
        siblings: The fleet.
    """
    turns = [
        FleetTurns(siblings, f"due:{shard}", partial(_do_what_is_due, ledger, shard), seconds=AT_REST_SECONDS)
        for shard in ledger.shards
    ]
    turns += [
        FleetTurns(siblings, f"mend:{shard}", partial(_mend, ledger, shard), seconds=MEND_AT_REST_SECONDS)
        for shard in ledger.shards
    ]
    return [partial(one.run, outage=STORE_ERRORS) for one in turns]


async def _mend(ledger: Ledger, shard: int) -> Told:
    """Put back orders that somebody took out of the queue."""
    with suppressed():
        mended, at_rest = await ledger.mend(shard)
    if mended:
        structlog.get_logger("service.orders.maintenance").error(
            "orders were missing in the queue and were put back", shard=shard, orders=mended
        )
    return {} if at_rest else {NEXT: MEND_SECONDS}


async def _do_what_is_due(ledger: Ledger, shard: int) -> Told:
    """Do what is due in a shard, up to `MAX_BATCH` of a kind; say whether there is more, or when there will be."""
    log = structlog.get_logger("service.orders.maintenance")
    with suppressed():
        until = await due(ledger, shard)
        expired = await ledger.expire(shard, MAX_BATCH) if not until.expire else []
        promoted = await ledger.promote(shard, MAX_BATCH) if not until.promote else 0
        trimmed = await ledger.trim(shard, MAX_BATCH) if not until.trim else 0
        forgotten = await ledger.forget(shard, MAX_BATCH) if not until.forget else 0
    if expired:
        log.info("reservations ended", shard=shard, orders=len(expired))
    if forgotten:
        log.info("orders were forgotten after their retention", shard=shard, orders=forgotten)
    more = trimmed or MAX_BATCH in (len(expired), promoted, forgotten)
    if more:
        return {MORE: True}
    look = AT_REST_SECONDS if until.at_rest else LOOK_SECONDS
    return {NEXT: max(min(look, *until), AGAIN_SECONDS)}
