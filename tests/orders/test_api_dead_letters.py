"""Dead letters by the API: listed and requeued by the admin, once under a key."""

from collections.abc import AsyncIterator

import pytest

from tests.orders.sale import Sale
from tests.support import RedisServer
from tests.support.service import ADMIN
from tests.support.shop import Shop, open_shop, problem


@pytest.fixture
async def shop(valkey_server: RedisServer) -> AsyncIterator[Shop]:
    """Yield an API with two lamps, one for each buyer."""
    async with open_shop(valkey_server.url) as shop:
        await shop.put(stock=2, per_user_limit=1)
        yield shop


async def test_dead_letters_are_listed_for_the_admin(shop: Shop) -> None:
    """Those that were given up first at the head."""
    sale = Sale(shop.service.shards)
    dead = [await sale.dead_letter("lamp", user) for user in ("ann", "bob")]
    found = (await shop.client.get("/dead-letters", headers=ADMIN)).json()["orders"]
    assert [order["order_id"] for order in found] == [order.order_id for order in dead]
    assert [order["reason"] for order in found] == ["gateway_down"] * 2
    assert len((await shop.client.get("/dead-letters?limit=1", headers=ADMIN)).json()["orders"]) == 1
    problem(await shop.client.get("/dead-letters"), 401, "unauthorized")
    problem(await shop.client.get("/dead-letters?limit=0", headers=ADMIN), 422, "invalid")


async def test_a_dead_letter_is_requeued_once(shop: Shop) -> None:
    """Under its key it gets an answer again; without one it is told that there is nothing to do."""
    sale = Sale(shop.service.shards)
    dead = await sale.dead_letter("lamp")
    path = f"/dead-letters/{dead.order_id}/requeue"
    problem(await shop.client.post(path), 401, "unauthorized")
    keyed = {**ADMIN, "Idempotency-Key": "k"}
    first = await shop.client.post(path, headers=keyed)
    assert (first.status_code, first.json()["status"]) == (200, "pending")
    again = await shop.client.post(path, headers=keyed)
    assert (again.json(), again.headers["idempotency-replayed"]) == (first.json(), "true")
    problem(await shop.client.post(path, headers=ADMIN), 409, "not_a_dead_letter")
    other = f"/dead-letters/{(await sale.dead_letter('lamp', 'bob')).order_id}/requeue"
    problem(await shop.client.post(other, headers=keyed), 422, "idempotency_conflict")
    assert (await shop.client.get("/dead-letters", headers=ADMIN)).json()["orders"][0]["user_id"] == "bob"


async def test_a_key_is_for_one_death(shop: Shop) -> None:
    """Sent again late, when the order has died once more, it requeues nothing; another key does, and so does none."""
    sale = Sale(shop.service.shards)
    letter = await sale.dead_letter("lamp")
    path = f"/dead-letters/{letter.order_id}/requeue"
    first = await shop.client.post(path, headers={**ADMIN, "Idempotency-Key": "first"})
    for key in ({"Idempotency-Key": "second"}, {}):
        await sale.die(letter)
        late = await shop.client.post(path, headers={**ADMIN, "Idempotency-Key": "first"})
        assert (late.json(), late.headers["idempotency-replayed"]) == (first.json(), "true")
        assert (await shop.client.get("/dead-letters", headers=ADMIN)).json()["orders"]
        anew = await shop.client.post(path, headers={**ADMIN, **key})
        assert (anew.status_code, anew.json()["status"], "idempotency-replayed" in anew.headers) == (
            200,
            "pending",
            False,
        )
    dump = await sale.dump()
    assert (dump.orders[letter.order_id].generation, dump.snapshot.requeued) == (3, 3)


@pytest.mark.parametrize("shards", [4])
async def test_a_key_requeues_one_order_whatever_the_shard(valkey_server: RedisServer, shards: int) -> None:
    """It is claimed in its own shard, so it cannot be used for two orders that live apart."""
    async with open_shop(valkey_server.url, store_shards=shards) as shop:
        sale = Sale(shop.service.shards)
        letters = []
        for number in range(8):
            await shop.put(f"product-{number}")
            letters.append(await sale.dead_letter(f"product-{number}"))
        for number, letter in enumerate(letters):
            keyed = {**ADMIN, "Idempotency-Key": f"key-{number}"}
            for replayed in (False, True):
                answer = await shop.client.post(f"/dead-letters/{letter.order_id}/requeue", headers=keyed)
                assert (answer.status_code, "idempotency-replayed" in answer.headers) == (200, replayed)
            other = letters[(number + 1) % len(letters)]
            conflict = await shop.client.post(f"/dead-letters/{other.order_id}/requeue", headers=keyed)
            problem(conflict, 422, "idempotency_conflict")


async def test_what_cannot_be_requeued_says_why(shop: Shop) -> None:
    """Units that are gone, a buyer who has others by now, an order that was never given up, and one of nobody."""
    sale = Sale(shop.service.shards)
    ann, bob = await sale.dead_letter("lamp"), await sale.dead_letter("lamp", "bob")
    order = (await shop.order(user_id="ann")).json()
    problem(await shop.client.post(f"/dead-letters/{ann.order_id}/requeue", headers=ADMIN), 409, "limit_exceeded")
    assert (await shop.order(user_id="cid")).status_code == 202
    problem(await shop.client.post(f"/dead-letters/{bob.order_id}/requeue", headers=ADMIN), 409, "sold_out")
    path = f"/dead-letters/{order['order_id']}/requeue"
    problem(await shop.client.post(path, headers=ADMIN), 409, "not_a_dead_letter")
    problem(await shop.client.post(f"/dead-letters/00{'f' * 28}/requeue", headers=ADMIN), 404, "unknown_order")
