"""Gateways that change their mind, wish for a year, send gigabytes: nobody pays for an order that failed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from time import perf_counter

import pytest
from opentelemetry.trace import NoOpTracerProvider
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from service.orders.payments import Charge, PaymentUnavailable, Receipt
from service.orders.payments.http import MAX_BODY_BYTES, HttpGateway
from tests.faults.conftest import Paid
from tests.faults.kit import Auditor, assert_paid_once, buy, put_product, sale, statuses
from tests.support import RedisServer, serve, wait_until

ORDERS = 5
GIGABYTE = 2**30


@pytest.mark.parametrize("attempts", ["1", "3"], ids=["in another attempt", "in the same attempt"])
async def test_a_refusal_after_an_answer_that_was_lost(
    durable: RedisServer, auditor: Auditor, paid: Paid, attempts: str
) -> None:
    """The money was taken, the answer lost, and the same charge refused after that: the money goes back."""
    bank, env = paid
    bank.fickle = True
    env |= {"PAYMENT_ATTEMPTS": attempts, "ORDER_RETRY_SECONDS": "0.1"}
    async with sale(durable.url, env=env) as (api, _):
        await put_product(api.url, stock=100)
        await buy(api.url, ORDERS)
        dump = await auditor.at_rest()
        assert statuses(dump) == {"failed": ORDERS}
        assert len(bank.captured) == ORDERS
        await wait_until(lambda: len(bank.refunded) == ORDERS, 20, "the money went back")
        assert_paid_once(bank, dump)


async def test_a_gateway_that_wishes_for_a_year(durable: RedisServer, auditor: Auditor, seed: int) -> None:
    """`Retry-After` is a wish: an order is not put aside for longer than some minutes."""
    async with (
        gateway_that(always({}, 503, {"Retry-After": str(365 * 86400)})) as url,
        sale(durable.url, env={"PAYMENT_GATEWAY_URL": url, "PAYMENT_ATTEMPTS": "1"}) as (api, _),
    ):
        await put_product(api.url, stock=100)
        (order_id,) = await buy(api.url, 1)

        async def put_aside() -> float | None:
            return await auditor.client.zscore("{fs:00}:delayed", order_id)

        due = await wait_until(put_aside, 20, "it is put aside")
        now = (await auditor.client.time())[0] * 1000
        assert due - now < timedelta(minutes=10) / timedelta(milliseconds=1), seed


@asynccontextmanager
async def gateway_that(charge: Callable[[Request], Awaitable[Response]]) -> AsyncIterator[str]:
    """Serve a gateway that answers each charge so."""
    async with serve(Starlette(routes=[Route("/charges", charge, methods=["POST"])])) as url:
        yield url


def always(
    body: object, status: int = 200, headers: dict[str, str] | None = None
) -> Callable[[Request], Awaitable[Response]]:
    """Return what answers each charge so."""

    async def charge(_: Request) -> Response:
        return JSONResponse(body, status, headers)

    return charge


async def charged(url: str) -> object:
    """Charge once; return the answer, or the error that says that none is known."""
    gateway = HttpGateway(url, timeout=timedelta(seconds=5), attempts=1, tracer_provider=NoOpTracerProvider())
    try:
        return await gateway.charge(Charge("o", "u", 1, "EUR"))
    except PaymentUnavailable as error:
        return error
    finally:
        await gateway.aclose()


async def test_an_answer_of_a_gigabyte_is_not_read() -> None:
    """No more is read than a receipt can have, so neither memory nor time is the gateway's to spend."""
    sent = 0

    async def much() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < GIGABYTE:
            sent += 2**20
            yield b" " * 2**20
            await asyncio.sleep(0)

    async def charge(_: Request) -> Response:
        return StreamingResponse(much(), media_type="application/json")

    async with gateway_that(charge) as url:
        began = perf_counter()
        found = await charged(url)
    assert isinstance(found, PaymentUnavailable)
    assert str(MAX_BODY_BYTES) in str(found)
    assert sent < GIGABYTE / 8
    assert perf_counter() - began < 5


async def test_a_header_that_is_no_ascii_is_no_reason_to_lose_a_receipt() -> None:
    """The money was taken: the name of a bank, or an odd pause, must not break the order."""
    captured = {"status": "captured", "payment_id": "pay-1"}
    async with gateway_that(always(captured, headers={"Server": "B\xe4nk \xff"})) as url:
        assert await charged(url) == Receipt("pay-1")
    for pause in ("\xb2", "\xe4", "9" * 5000, "-1", "1e9", "NaN", "Fri, 31 Dec 99999 23:59:59 GMT"):
        async with gateway_that(always({}, 503, {"Retry-After": pause})) as url:
            assert isinstance(await charged(url), PaymentUnavailable), pause


@pytest.mark.parametrize(
    "body", ["[" * 60_000, '{"status":' + "9" * 30_000 + "}", "null", "[]", "1e999", "\ud800", ""], ids=range(7)
)
async def test_a_body_of_any_form_is_no_receipt(body: str) -> None:
    """Deep, long, of another type, or none: it is asked again under the same key."""

    async def charge(_: Request) -> Response:
        return Response(body.encode("utf-8", "surrogatepass"), media_type="application/json")

    async with gateway_that(charge) as url:
        assert isinstance(await charged(url), PaymentUnavailable)


@pytest.mark.parametrize("payment_id", ["", " ", "a\nb", "p\x00", "\u202epay", "x" * 256, 7, None])
async def test_an_id_that_is_not_plain_is_no_receipt(payment_id: object) -> None:
    """It would stand in logs and pages; the order is tried again under the same key instead."""
    async with gateway_that(always({"status": "captured", "payment_id": payment_id})) as url:
        assert isinstance(await charged(url), PaymentUnavailable)
