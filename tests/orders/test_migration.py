"""A store of an older form is brought forward: whole, once, and by nobody who would be in somebody's way."""

from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as StoreConnectionError

from service.ledger import migration
from service.ledger.audit import dump_ledger, violations
from service.ledger.migration import Migration, StoreInUseError, migrate
from service.ledger.order_list import OrderFilter, OrderList
from service.store import SchemaMismatchError, Shards, StoreUnusedError, keys
from tests.orders.sale import Sale

SHARDS = 3


async def older(store: Redis, shards: int = SHARDS) -> Sale:
    """Return a sale in a store as form 3 had it: without list, revenue, and what form 4 says of the store."""
    sale = await Sale.open(store, count=shards)
    for product in ("a", "b", "c", "d"):
        await sale.product(product, stock=5000, limit=None)
        await sale.place(*[sale.request(product, f"user-{n % 7}") for n in range(60)])
    for begun in await sale.take(limit=20):
        assert begun.order is not None
        await sale.settle(begun.order)
    for shard in sale.shards:
        await store.hdel(f"{keys.prefix(shard)}totals", "revenue:EUR")
        await store.delete(keys.prefix(shard) + "accepted", keys.identity(shard))
    await store.hdel(keys.settings(), "store", "complete", "numbers")
    await store.hset(keys.settings(), "form", "3")
    return sale


async def listed(shards: Shards) -> list[str]:
    """Return the ids of all orders, the oldest first, as `GET /orders/export` has them."""
    return [order.order_id async for orders in OrderList(shards).pages(OrderFilter(), 100) for order in orders]


async def forms(store: Redis) -> str:
    """Return the form that the store says it is in."""
    return str(await store.hget(keys.settings(), "form"))


async def test_every_order_is_listed_in_the_order_of_its_acceptance(store: Redis) -> None:
    """The audit is clean, the same orders are there, and a second time there is nothing to do."""
    old = await older(store)
    assert await migrate(old.shards) == Migration("3", keys.SCHEMA_VERSION, 240, SHARDS)
    dump = await old.dump()
    assert len(dump.orders) == 240
    assert dump.snapshot.revenue == {"EUR": 20 * 99_900}
    in_turn = sorted(dump.orders.values(), key=lambda order: (order.accepted_at, order.order_id))
    assert await listed(old.shards) == [order.order_id for order in in_turn]
    await old.buy("a")
    assert await migrate(old.shards) == Migration(keys.SCHEMA_VERSION, keys.SCHEMA_VERSION, 0, 0)
    assert len(await listed(old.shards)) == 241


async def test_what_forgotten_orders_earned_is_said_to_be_unknown(store: Redis) -> None:
    """Form 3 kept their number alone; it is told, also by a second try that finds all shards done."""
    old = await older(store)
    confirmed = [order for order in (await dump_ledger(old.shards)).orders.values() if order.status == "confirmed"]
    for shard in old.shards:
        await store.hincrby(f"{keys.prefix(shard)}totals", "archived:confirmed", 2)
        await store.hincrby(f"{keys.prefix(shard)}totals", "archived:failed", 5)
    assert (await migrate(old.shards)).forgotten == 2 * SHARDS
    await store.hset(keys.settings(), "form", "3-4")
    assert (await migrate(old.shards))[2::2] == (0, 2 * SHARDS)
    earned = (await dump_ledger(old.shards)).snapshot.revenue
    assert earned == {"EUR": sum(order.unit_price * order.quantity for order in confirmed)}


async def test_an_older_form_and_one_half_way_are_refused_by_whoever_starts(store: Redis) -> None:
    old = await older(store)
    for form in ("3", "3-4"):
        await store.hset(keys.settings(), "form", form)
        with pytest.raises(SchemaMismatchError, match=f"orders in form {form}.*flash-sale migrate"):
            await old.shards.prepare()


class ShardsThatStop(Shards):
    """Lose the store after so many steps; every one of them is sent twice."""

    steps_left: int

    async def run(self, step: str, shard: int, *args: Any, **rest: Any) -> Any:
        """Run the step twice, or not at all."""
        if not self.steps_left:
            raise StoreConnectionError
        self.steps_left -= 1
        await super().run(step, shard, *args, **rest)
        return await super().run(step, shard, *args, **rest)


async def test_it_may_be_stopped_at_any_step_and_done_again(store: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that are sent twice, because a connection broke, count once."""
    monkeypatch.setattr(migration, "STEP", 50)
    old = await older(store)
    expected = sorted((await dump_ledger(old.shards)).orders)
    shards = ShardsThatStop(store, old.shards.scripts, count=SHARDS)
    for steps in range(40):
        shards.steps_left = steps
        try:
            await migrate(shards)
            break
        except StoreConnectionError:
            assert await forms(store) in ("3-4", keys.SCHEMA_VERSION), "what is left then each start does anyway"
    assert steps > 10
    assert sorted(await listed(old.shards)) == expected
    assert violations(await dump_ledger(old.shards)) == []
    assert not [key async for key in store.scan_iter(match="*migrating*")]


@pytest.mark.parametrize("form", ["5", "12", "4-5"])
async def test_a_newer_form_is_refused(store: Redis, form: str) -> None:
    old = await older(store)
    await store.hset(keys.settings(), "form", form)
    with pytest.raises(SchemaMismatchError, match=f"orders in form {form}, and this version reads"):
        await migrate(old.shards)
    assert await forms(store) == form


async def test_what_cannot_be_brought_forward_is_left_alone(store: Redis) -> None:
    """A store that is too old, one of another number of shards, one in use, and one that nobody ever used."""
    old = await older(store)
    await store.hset(keys.settings(), "form", "2")
    with pytest.raises(SchemaMismatchError, match="orders in form 2, and this version migrates from form 3"):
        await migrate(old.shards)
    await store.hset(keys.settings(), "form", "3")
    with pytest.raises(SchemaMismatchError, match="STORE_SHARDS is 2, but this store was first used with 3"):
        await migrate(Shards(store, old.shards.scripts, count=2))
    await old.shards.run("beat", 0, 0, empty_too=True)
    with pytest.raises(StoreInUseError, match="a service uses this store"):
        await migrate(old.shards)
    assert await forms(store) == "3"
    await store.flushall()
    with pytest.raises(StoreUnusedError):
        await migrate(old.shards)
    assert await store.dbsize() == 0
