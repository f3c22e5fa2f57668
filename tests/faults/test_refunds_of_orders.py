"""Refunds of confirmed orders through deaths: each is booked once and paid out once, whoever dies in between."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from random import Random
from typing import Any, NamedTuple

import httpx

from tests.faults.bank import Bank, BankProcess
from tests.faults.conftest import Paid
from tests.faults.kit import PRODUCT, Auditor, put_product, sale
from tests.support import RedisServer, wait_until
from tests.support.http import http_client
from tests.support.service import ADMIN

ORDERS = 6
MANY, UNITS, PRICE = 40, 3, 100
AT_A_TIME = 4
AGAIN = (500, 502, 503, 504)


class Part(NamedTuple):
    """A refund that the merchant wants: of which order, how many units, whether they are for sale again."""

    order_id: str
    number: int
    units: int
    returns: bool


class Merchant:
    """Refunds orders, and sends each request under its key until it is answered; some once more after that."""

    def __init__(self, url: str, wanted: list[Part]) -> None:
        self.booked = 0
        self._url = url
        self._orders = iter([list(parts) for _, parts in groupby(wanted, key=lambda part: part.order_id)])

    def has_booked(self, units: int) -> bool:
        """Whether so many units are refunded."""
        return self.booked >= units

    async def work(self) -> None:
        """Go through the orders, one after the other; several may do so."""
        for parts in self._orders:
            for part in parts:
                for _ in range(1 + part.number):
                    await self._refund(part)
                self.booked += part.units

    async def _refund(self, part: Part) -> None:
        body = {"quantity": part.units, "return_to_stock": part.returns}
        headers = {**ADMIN, "Idempotency-Key": f"{part.order_id}-{part.number}"}
        answered: httpx.Response | None = None
        while answered is None or answered.status_code in AGAIN:
            try:  # each over a connection of its own: that of a process that was killed is broken
                async with http_client(self._url, timeout=5) as client:
                    answered = await client.post(f"/orders/{part.order_id}/refund", json=body, headers=headers)
            except httpx.TransportError:
                await asyncio.sleep(0.05)
        assert answered.status_code == httpx.codes.OK, answered.text


@contextmanager
def running_bank(seed: int) -> Iterator[BankProcess]:
    """Yield a gateway in a process of its own."""
    bank = BankProcess(seed)
    try:
        yield bank
    finally:
        bank.end()


async def confirmed_orders(client: httpx.AsyncClient, count: int = ORDERS, units: int = 2) -> list[str]:
    """Buy so many times, and wait until all are paid."""
    body = {"product_id": PRODUCT, "user_id": "ada", "quantity": units}
    placed = [(await client.post("/orders", json=body)).json()["order_id"] for _ in range(count)]

    async def paid() -> bool:
        listed = await client.get("/orders", params={"status": "confirmed", "limit": 1000}, headers=ADMIN)
        return len(listed.json()["orders"]) == count

    await wait_until(paid, 30, "all are paid")
    return placed


async def test_a_refund_is_paid_out_once_whoever_dies(durable: RedisServer, paid: Paid, auditor: Auditor) -> None:
    """A bank that is down, then a worker that is killed; each request is sent twice with its key."""
    bank, env = paid
    async with sale(durable.url, env=env) as (api, worker), http_client(api.url, timeout=20) as client:
        await put_product(api.url, stock=100)
        orders = await confirmed_orders(client)
        bank.down = True
        for order_id in orders:
            for key, body in (("a", {"quantity": 1}), ("a", {"quantity": 1}), ("b", {"return_to_stock": False})):
                headers = {**ADMIN, "Idempotency-Key": f"{order_id}-{key}"}
                answer = await client.post(f"/orders/{order_id}/refund", json=body, headers=headers)
                assert answer.status_code == 200, answer.text
        worker.kill("order-0")
        bank.down = False
        await wait_until(auditor.no_refund_owed, 60, "all is given back")
        price = next(iter(bank.captured.values()))["amount"] // 2
        assert bank.parts == {f"refund-{order_id}.{part}": price for order_id in orders for part in (1, 2)}
        assert not bank.refunded, "nothing was given back as a whole"
        dump = await auditor.dump()
        assert {str(order.status) for order in dump.orders.values()} == {"refunded"}
        assert (dump.products[PRODUCT].stock, dump.products[PRODUCT].sold) == (100 - ORDERS, ORDERS)


async def refund_through(
    merchant: Merchant, wanted: list[Part], strikes: list[Callable[[], Any]], store: RedisServer
) -> None:
    """Refund all that is wanted while one strike after the other falls."""
    units = sum(part.units for part in wanted)
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_A_TIME):
            group.create_task(merchant.work())
        for number, strike in enumerate(strikes, 1):
            due = units * number // (len(strikes) + 1)
            await wait_until(partial(merchant.has_booked, due), 30, "more is refunded")
            await asyncio.to_thread(strike)
            if not store.running():
                await asyncio.to_thread(store.start)


def check_books(books: Bank, wanted: list[Part]) -> None:
    """Hold what the gateway gave back against what was wanted: each part once, with its amount, and nothing whole."""
    assert books.parts == {f"refund-{part.order_id}.{part.number + 1}": PRICE * part.units for part in wanted}
    assert (books.wrong, books.refunded, len(books.captured)) == ([], Counter(), MANY)


async def test_money_is_given_back_once_through_every_death(durable: RedisServer, auditor: Auditor, seed: int) -> None:
    """API, worker, store and gateway die or hang in turn, while a merchant refunds orders whole and in parts."""
    random = Random(seed)
    with running_bank(seed) as bank:
        env = {"PAYMENT_GATEWAY_URL": bank.url, "WORKER_SILENCE_SECONDS": "1"}
        async with sale(durable.url, api=2, workers=2, env=env) as (api, workers):
            await put_product(api.url, stock=UNITS * MANY)
            async with http_client(api.url, timeout=20) as client:
                orders = await confirmed_orders(client, MANY, UNITS)
            wanted = [
                Part(order_id, number, units, returns=random.random() < 0.5)
                for order_id in orders
                for number, units in enumerate(random.choice([(3,), (1, 2), (2,), (1, 1, 1), ()]))
            ]
            strikes: list[Callable[[], Any]] = [
                *(lambda: api.kill("api-0"), lambda: workers.kill("order-0")),
                *(durable.kill9, lambda: workers.kill("order-1"), lambda: api.kill("api-1")),
            ]
            await refund_through(Merchant(api.url, wanted), wanted, strikes, durable)
            await bank.hang(0.5)
            await wait_until(auditor.no_refund_owed, 60, "all is given back")
            dump, books = await auditor.at_rest(), await bank.books()
    units = {order_id: sum(part.units for part in wanted if part.order_id == order_id) for order_id in orders}
    assert {order.order_id: order.refunded_quantity for order in dump.orders.values()} == units
    assert Counter(str(order.status) for order in dump.orders.values()) == Counter(
        "refunded" if gone == UNITS else "confirmed" for gone in units.values()
    )
    check_books(books, wanted)
    back = sum(part.units for part in wanted if part.returns)
    product = dump.products[PRODUCT]
    assert (product.stock, product.sold, product.drift) == (back, UNITS * MANY - back, 0)
    assert dump.snapshot.revenue == {"EUR": PRICE * (UNITS * MANY - sum(units.values()))}
