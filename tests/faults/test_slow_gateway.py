"""A gateway that is asked for more than it can answer in time is asked for less, so that something gets done."""

from tests.faults.conftest import Paid
from tests.faults.kit import Auditor, assert_paid_once, buy, put_product, sale, statuses
from tests.support import RedisServer

ORDERS = 300
PACE_SECONDS = 0.02  # 6 s for all of them
TIMEOUT_SECONDS = 90


async def test_a_gateway_that_is_overrun_is_not_asked_again_for_ever(
    durable: RedisServer, auditor: Auditor, paid: Paid
) -> None:
    """It answers one after the other, and also whom nobody waits for: of 300 at one time 50 are answered in time."""
    bank, env = paid
    bank.pace = PACE_SECONDS
    env |= {"PAYMENT_TIMEOUT_SECONDS": "1", "PAYMENT_ATTEMPTS": "1", "ORDER_RETRY_SECONDS": "2"}
    async with sale(durable.url, env=env) as (api, _):
        await put_product(api.url, stock=ORDERS)
        await buy(api.url, ORDERS)
        dump = await auditor.at_rest(TIMEOUT_SECONDS)
    assert statuses(dump) == {"confirmed": ORDERS}
    assert_paid_once(bank, dump)
    assert sum(bank.asked.values()) < 5 * ORDERS
