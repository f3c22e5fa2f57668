"""The sold-out mark: refused from memory while nothing is left, with the ledger's own word, and never for long."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from time import monotonic
from typing import Any

import pytest

from service.ledger.audit import dump_ledger, violations
from service.ledger.products import Product
from service.ledger.snapshot import Snapshot
from service.orders.sold_out import LIFETIME_SECONDS, SoldOutCache
from tests.orders.sale import Sale
from tests.support import RedisServer, wait_until
from tests.support.service import ADMIN
from tests.support.shop import Shop, open_shop, problem


@pytest.fixture
async def shop(valkey_server: RedisServer) -> AsyncIterator[Shop]:
    """Yield a shop with two lamps, which reads the ledger when the test says so."""
    async with open_shop(valkey_server.url) as opened:
        await opened.put(stock=2)
        await opened.service.poller.fresh()
        yield opened
        assert violations(await dump_ledger(opened.service.shards)) == []


async def placed_in_store(shop: Shop) -> int:
    """Return how often this store ran a script so far."""
    stats = await shop.service.shards.client.info("commandstats")
    return int(stats["cmdstat_evalsha"]["calls"])


async def test_the_answer_that_takes_the_last_unit_is_remembered(shop: Shop) -> None:
    """Of many who come too late most are refused without a word to the store; all are counted."""
    assert "lamp" not in shop.service.sold_out
    assert (await shop.order(quantity=2)).status_code == 202
    assert "lamp" in shop.service.sold_out
    before = await placed_in_store(shop)
    for answer in await asyncio.gather(*(shop.order(user_id=f"u{n}") for n in range(100))):
        assert problem(answer, 409, "sold_out")["detail"] == "0 units are left."
    assert await placed_in_store(shop) - before < 75
    assert await shop.rejections(reason="sold_out") == 100


async def test_fewer_left_than_asked_for_is_not_sold_out_for_others(shop: Shop) -> None:
    """An order for too many is refused by the ledger, and the next one is served."""
    problem(await shop.order(quantity=3), 409, "sold_out")
    assert "lamp" not in shop.service.sold_out
    assert (await shop.order(quantity=2)).status_code == 202


async def test_the_same_key_gives_the_same_order_although_all_is_sold(shop: Shop) -> None:
    """A request with a key is never refused from memory: it may have been placed before."""
    first = await shop.order("mine", quantity=2)
    assert "lamp" in shop.service.sold_out
    again = await shop.order("mine", quantity=2)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert again.json()["order_id"] == first.json()["order_id"]
    problem(await shop.order("another"), 409, "sold_out")
    problem(await shop.order("mine"), 422, "idempotency_conflict")


@pytest.mark.parametrize("way", ["cancel", "restock", "put", "patch"])
async def test_units_that_come_back_through_this_process_are_on_sale_at_once(shop: Shop, way: str) -> None:
    """The mark is forgotten with the answer."""
    order = (await shop.order(quantity=2)).json()
    assert "lamp" in shop.service.sold_out
    if way == "cancel":
        await shop.client.post(f"/orders/{order['order_id']}/cancel")
    elif way == "restock":
        await shop.client.post("/inventory/lamp/restock", json={"quantity": 1}, headers=ADMIN)
    elif way == "put":
        await shop.put(stock=1)
    else:
        await shop.client.patch("/inventory/lamp", json={"stock": 1}, headers=ADMIN)
    assert (await shop.order()).status_code == 202


async def test_units_that_come_back_elsewhere_are_on_sale_within_a_second(shop: Shop) -> None:
    """Even though this process hears nothing of it but what it asks for."""
    assert (await shop.order(quantity=2)).status_code == 202
    elsewhere = Sale(shop.service.shards)
    await elsewhere.catalogue.restock("lamp", 1)
    since = monotonic()

    async def sold() -> bool:
        return (await shop.order()).status_code == 202

    await wait_until(sold, 15, "the unit is sold")
    assert monotonic() - since < LIFETIME_SECONDS + 2


class Shelf:
    """A mark with a clock of its own, and the readings that it learns from."""

    def __init__(self, product: Product, snapshot: Snapshot) -> None:
        self.now = 100.0
        self.mark = SoldOutCache(lambda: self.now)
        self._product = product
        self._snapshot = snapshot

    def read(self, stock: int, asked: float, **window: timedelta | None) -> None:
        """Read a snapshot of one product; its window is given from the snapshot's time on."""
        at = self._snapshot.taken_at
        times: dict[str, Any] = {name: None if after is None else at + after for name, after in window.items()}
        product = replace(self._product, stock=stock, always_open="opens_at" not in window, **times)
        self.mark.refresh(replace(self._snapshot, products=(product,)), asked)

    def marked(self) -> bool:
        """Whether the product is refused now."""
        return "phone" in self.mark


@pytest.fixture
async def shelf(sale: Sale) -> Shelf:
    """Return a shelf with a product of a real ledger."""
    await sale.product(stock=1)
    snapshot = await sale.snapshot()
    return Shelf(snapshot.products[0], snapshot)


def seconds(number: float) -> timedelta:
    """Return a duration."""
    return timedelta(seconds=number)


async def test_a_mark_ends_a_second_after_the_question(shelf: Shelf) -> None:
    """Not after the answer, which may be late; the next reading makes another one."""
    shelf.read(0, asked=99.8)
    assert shelf.marked()
    shelf.now = 100.79
    assert shelf.marked()
    shelf.now = 100.81
    assert not shelf.marked()
    shelf.read(0, asked=100.8)
    assert shelf.marked()
    shelf.now = 101.0
    shelf.read(1, asked=101.0)
    assert not shelf.marked()


async def test_older_news_do_not_count(shelf: Shelf) -> None:
    """What was asked before units came back through this process, or before a later answer, says nothing."""
    shelf.read(1, asked=99.0)
    shelf.mark.record("phone", 0, 99.9)
    shelf.mark.record("phone", 3, 99.8)
    assert shelf.marked()
    shelf.mark.invalidate("phone")
    shelf.read(0, asked=99.95)
    assert not shelf.marked()
    shelf.mark.record("phone", 0, 100.0)
    assert shelf.marked()


async def test_outside_the_window_only_the_ledger_speaks(shelf: Shelf) -> None:
    """It says that the sale is not open, or closed; near the edges, where the clocks are unsure, it is asked, too."""
    shelf.read(0, asked=99.9, opens_at=seconds(0.2))
    assert not shelf.marked()
    shelf.now = 100.25
    assert shelf.marked()
    shelf.read(0, asked=100.2, opens_at=seconds(-60), closes_at=seconds(0.5))
    assert shelf.marked()
    shelf.now = 100.69
    assert shelf.marked()
    shelf.now = 100.71
    assert not shelf.marked()


async def test_what_no_snapshot_knows_is_not_marked(shelf: Shelf) -> None:
    """Its window is not known."""
    shelf.mark.record("phone", 0, 100.0)
    assert not shelf.marked()
