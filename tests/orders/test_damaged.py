"""Keys of another type and values that are not ours harm one entry; the others are sold and settled beside it."""

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from service.ledger.audit import LedgerDump, dump_ledger, violations
from service.ledger.catalogue import Change
from service.ledger.order_list import OrderFilter
from service.ledger.orders import Outcome, Status
from service.store import keys
from tests.orders.sale import Sale

P = keys.prefix(0)
FOREIGN = "of another type"
FIXED = (
    *("queue", "accepted", "ended", "workers", "deadlines", "begun", "delayed", "retried", "dead", "refunds"),
    *("catalogue", "totals", "refused", "beat", "lease:exporter", "damaged"),
)


async def spoil(store: Redis, key: str) -> None:
    """Put a key of a type that ours has not there."""
    await store.delete(key)
    await (store.set(key, FOREIGN) if key.endswith("catalogue") else store.sadd(key, FOREIGN))


@pytest.fixture
async def sale(store: Redis) -> Sale:
    """Return a sale that nobody audits at the end."""
    return await Sale.open(store, cancellations_per_minute=60)


async def dump_of(sale: Sale) -> LedgerDump:
    """Read the ledger, whatever is wrong with it."""
    return await dump_ledger(sale.shards)


async def found(sale: Sale) -> set[str]:
    """Return the invariants that are broken, but for the one that says that something was set aside."""
    return {one.invariant for one in violations(await dump_of(sale))} - {"nothing_was_set_aside"}


@pytest.mark.parametrize("harm", ["product", "stock", "held", "opens", "price", "limit", "closes"])
async def test_an_order_whose_keys_are_damaged_harms_no_other_of_its_call(sale: Sale, store: Redis, harm: str) -> None:
    """It is told so, and nothing is written of it; those before and behind it are accepted."""
    await sale.product()
    await sale.product("watch")
    if harm == "product":
        await spoil(store, f"{P}product:watch")
    else:
        await store.hset(f"{P}product:watch", harm, "plenty")
    requests = [sale.request(), sale.request("watch", "bob"), sale.request(user_id="cid")]
    placed = await sale.place(*requests)
    assert [one.outcome for one in placed] == [Outcome.ACCEPTED, Outcome.STORE_UNAVAILABLE, Outcome.ACCEPTED]
    assert await sale.units() == (8, 2, 0)
    again = await sale.place(*requests)
    assert [one.outcome for one in again] == [one.outcome for one in placed]
    assert await sale.units() == (8, 2, 0)
    assert await store.hget(f"{P}totals", "pending") == "2"


async def test_cancellations_that_are_none_keep_nobody_from_ordering_and_cancelling(sale: Sale, store: Redis) -> None:
    """Nothing is known of them; the next one is counted, and what was there is put aside."""
    await sale.product()
    await spoil(store, f"{P}cancels:bob")
    order = await sale.buy(user_id="bob")
    await sale.ledger.cancel(order.order_id)
    assert await sale.status(order) is Status.CANCELLED
    assert await store.type(f"{P}cancels:bob") == "string"
    assert "user bob" in (await dump_of(sale)).damaged
    assert await sale.units() == (10, 0, 0)


async def test_a_user_whose_list_is_of_another_type_orders_and_cancels_all_the_same(sale: Sale, store: Redis) -> None:
    """What was there is put aside, whichever step finds it."""
    await sale.product(limit=5)
    first = await sale.buy(user_id="bob")
    for step in ("cancel", "buy"):
        await spoil(store, f"{P}u:bob")
        if step == "cancel":
            await sale.ledger.cancel(first.order_id)
            assert await sale.status(first) is Status.CANCELLED
        else:
            assert await sale.try_buy(user_id="bob") is Outcome.STORE_UNAVAILABLE
            assert await sale.try_buy(user_id="bob") is Outcome.ACCEPTED
    assert await sale.units() == (9, 1, 0)
    assert "user bob" in (await dump_of(sale)).damaged


@pytest.mark.parametrize("name", FIXED)
async def test_a_key_of_another_type_is_put_aside_and_orders_go_on(sale: Sale, store: Redis, name: str) -> None:
    """Before that no order is taken by halves; afterwards orders are placed, begun and settled; the audit names it."""
    await sale.product()
    first = await sale.buy()
    await spoil(store, P + name)
    await sale.ledger.mend(0)
    second = await sale.buy(user_id="bob")
    await sale.take()
    await sale.settle(second)
    assert await sale.status(second) is Status.CONFIRMED
    assert await sale.status(first) in {Status.PENDING, Status.PROCESSING}
    dump = await dump_of(sale)
    assert f"key {name}" in dump.damaged
    assert await store.keys(f"{P}damaged:{name}:*")


@pytest.mark.parametrize("name", ["deadlines", "totals"])
async def test_a_step_that_cannot_be_whole_is_not_begun(sale: Sale, store: Redis, name: str) -> None:
    await sale.product()
    await spoil(store, P + name)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await sale.buy()
    assert await sale.units() == (10, 0, 0)
    assert await store.xlen(keys.queue(0)) == 0


@pytest.mark.parametrize("value", [b"\xff\x00garbage", b"", b"\x90", b"another", b"\x9f" + b"\x01" * 15])
async def test_an_order_that_is_none_is_put_aside_and_the_others_go_on(sale: Sale, store: Redis, value: bytes) -> None:
    """Expired, settled, read, listed, audited: each step goes past it."""
    await sale.product()
    lost, kept = await sale.buy(), await sale.buy(user_id="bob")
    await store.set(f"{P}o:".encode() + bytes.fromhex(lost.order_id[2:]), value)
    await sale.take()
    await sale.settle(kept)
    assert await sale.status(kept) is Status.CONFIRMED
    assert await sale.ledger.order(lost.order_id) is None
    assert [order.order_id for order in await sale.orders_of("bob", 10)] == [kept.order_id]
    assert await sale.orders_of("ann", 10) == []
    await sale.ledger.expire(0)
    await sale.ledger.mend(0)
    dump = await dump_of(sale)
    assert f"order {lost.order_id}" in dump.damaged
    assert "units_add_up" not in await found(sale)


async def test_a_product_that_is_none_is_left_out_and_put_aside(sale: Sale, store: Redis) -> None:
    """The snapshot and the lists have the others; it can be offered anew."""
    await sale.product()
    for name, harm in (("a", "type"), ("b", "figure"), ("c", "gone")):
        await sale.product(name)
        if harm == "figure":
            await store.hset(f"{P}product:{name}", "held", "\x00x")
        else:
            await store.delete(f"{P}product:{name}")
    await spoil(store, f"{P}product:a")
    assert [product.product_id for product in (await sale.snapshot()).products] == ["phone"]
    await sale.ledger.mend(0)
    assert {f"product {name}" for name in "abc"} <= (await dump_of(sale)).damaged.keys()
    for name in "abc":
        await store.hincrby(f"{P}product:{name}", "held", -1)  # as when an order of it ends
        assert await sale.catalogue.patch(name, price=1) == (Change.UNKNOWN_PRODUCT, None)
        await sale.product(name)
        assert await sale.try_buy(name) is Outcome.ACCEPTED


@pytest.mark.parametrize("fields", [["last"], ["last", "resumed", "leapt", "leap"]])
async def test_a_beat_that_is_none_stops_nothing(sale: Sale, store: Redis, fields: list[str]) -> None:
    await sale.product()
    await store.hset(f"{P}beat", mapping=dict.fromkeys(fields, "x"))
    await sale.buy()
    assert (await sale.snapshot()).waiting == 1


async def test_an_entry_that_is_not_ours_is_left_out_of_the_list_of_orders(sale: Sale, store: Redis) -> None:
    await sale.product()
    order = await sale.buy()
    for name, value in (("hello", "world"), ("o", "short"), (b"\xff", b"\x00")):
        await store.xadd(f"{P}accepted", {name: value})
    await store.zadd(f"{P}u:ann", {"foreign": 2e12, "": 3e12, "endless": float("inf"), "late": 1e300, "early": -1e300})
    for wanted in (OrderFilter(), OrderFilter(user_id="ann")):
        page = await sale.order_list.page(wanted, 10, None)
        assert [one.order_id for one in page.orders] == [order.order_id]


async def test_totals_that_are_none_are_mended_and_no_order_is_taken_by_halves(sale: Sale, store: Redis) -> None:
    await sale.product()
    await sale.buy()
    await store.hset(f"{P}totals", mapping={"pending": "many", "busy": b"\xff"})
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await sale.buy()
    assert await sale.units() == (9, 1, 0)
    await sale.ledger.mend(0)
    await sale.buy()
    assert await sale.units() == (8, 2, 0)
    assert "figure totals pending" in (await dump_of(sale)).damaged
