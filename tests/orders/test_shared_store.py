"""A store that others live in, too: another service under a prefix of its own, and any number of foreign keys."""

import re
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.client import NEVER_DECODE

from service.faults import Fault, FaultRule, Faults, faulty_shards
from service.ledger.audit import dump_ledger, violations
from service.ledger.ledger import ledger_scripts
from service.settings import Settings, SettingsError
from service.store import Shards, keys
from service.store.scan import STEP
from tests.orders.sale import Sale

FOREIGN = 20_000
NEVER: dict[str, Any] = {NEVER_DECODE: True}


async def opened(client: Redis, prefix: str, count: int = 1) -> Sale:
    """Open a sale behind a prefix, as a process does in which faults may be switched on."""
    shards = Shards(client, ledger_scripts(), count=count, prefix=prefix)
    await shards.prepare()
    faults = Faults(client, "api-0", prefix)
    await faults.switch_on(Fault.PAYMENT_DELAY, FaultRule())
    return Sale(faulty_shards(shards, faults))


async def test_two_services_share_a_store_without_seeing_each_other(store: Redis) -> None:
    """The same product and user in both, other numbers of shards; one prefix is the start of the other."""
    sales = {
        "": await opened(store, ""),
        "shop": await opened(store, "shop", 3),
        "shop:2-": await opened(store, "shop:2-"),
    }
    for units, sale in enumerate(sales.values(), 1):
        await sale.product(stock=10, limit=units)
        assert [str(await sale.try_buy()) for _ in range(units + 1)] == ["accepted"] * units + ["limit_exceeded"]
    for units, sale in enumerate(sales.values(), 1):
        assert len((await sale.dump()).orders) == units
        assert await sale.units() == (10 - units, units, 0)
    found = {key.decode(errors="replace").partition("{fs:")[0] async for key in store.scan_iter(**NEVER)}
    assert found == set(sales)


@pytest.mark.parametrize("prefix", ["a{b", "}", "*", "shop ", "ä", "x" * 65, "a/b", "\\"])
def test_a_prefix_that_would_break_the_keys_is_refused(prefix: str) -> None:
    """Braces would change where keys lie in a cluster, stars and the like what a scan finds."""
    with pytest.raises(SettingsError, match=r"^STORE_PREFIX: "):
        Settings.from_env({"STORE_PREFIX": f"x{prefix}x"})


async def test_no_script_goes_through_the_keys_of_others() -> None:
    """It would stop the store for as long as that takes."""
    assert [name for name, text in ledger_scripts().items() if re.search(r"'(SCAN|KEYS|RANDOMKEY)'", text)] == []


async def test_an_audit_goes_through_foreign_keys_once_and_in_steps(store: Redis) -> None:
    """Whatever the number of shards, and whether they are read at one instant or in parts."""
    sale = await Sale.open(store, count=4)
    for product in ("a", "b", "c", "d"):
        await sale.product(product, stock=100)
        await sale.place(*[sale.request(product, f"user-{n}") for n in range(50)])
    await store.mset({f"foreign:{number}": "" for number in range(FOREIGN)})
    for limit in (1000, 10):
        await store.config_resetstat()
        dump = await dump_ledger(sale.shards, limit)
        assert (len(dump.orders), violations(dump)) == (200, [])
        statistics: dict[str, Any] = await store.info("commandstats")
        assert FOREIGN / STEP <= statistics["cmdstat_scan"]["calls"] <= 1.5 * FOREIGN / STEP


@pytest.mark.parametrize("limit", [1000, 10])
async def test_an_audit_finds_what_no_list_names(store: Redis, limit: int) -> None:
    """An order that is in no list, and units of a user who has no order."""
    sale = await Sale.open(store)
    await sale.product(stock=100)
    await sale.place(*[sale.request(user_id=f"user-{n}") for n in range(20)])
    lost = await sale.buy(user_id="ann")
    start = keys.prefix(0)
    newest: Any = await store.xrevrange(start + "accepted", count=1)
    await store.xdel(start + "accepted", newest[0][0])
    await store.zadd(start + "u:ghost", {"=phone": 3})
    found = [violation.detail for violation in violations(await dump_ledger(sale.shards, limit))]
    assert found == ["ghost has 0 of phone, counted as 3", f"order {lost.order_id} is not in the list"]
