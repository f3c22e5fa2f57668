"""Payments, against a real payment server over a loopback socket."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from time import perf_counter
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace import TracerProvider as AnyTracerProvider

from service.orders.payments import (
    Charge,
    Declined,
    PaymentRejected,
    PaymentSettings,
    PaymentUnavailable,
    Receipt,
    gateway,
)
from service.orders.payments.http import HttpGateway
from tests.support import free_port, serve

CHARGE = Charge(order_id="07abc", user_id="ann", amount=2598, currency="EUR")
RECEIPT = Receipt("pay-07abc")
BODY = b'{"status": "captured", "payment_id": "p"}'
CAPTURED = b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
HANG = object()
Behaviour = Response | object | None


class Payments:
    """A payment server: one charge per key; `script` holds its moods, first come first served, then it works."""

    def __init__(self, *script: Behaviour) -> None:
        self.script = list(script)
        self.charges: dict[str, dict[str, Any]] = {}
        self.refunds: Counter[str] = Counter()
        self.requests: list[tuple[str, str]] = []
        self.traceparents: list[str] = []
        self.released = asyncio.Event()

    async def mood(self, request: Request) -> Response | None:
        """Take the request down; return an answer instead of the right one, if the script has it."""
        self.requests.append((request.url.path, request.headers["idempotency-key"]))
        self.traceparents.append(request.headers.get("traceparent", ""))
        behaviour = self.script.pop(0) if self.script else None
        if behaviour is HANG:
            await self.released.wait()
        return behaviour if isinstance(behaviour, Response) else None

    async def charge(self, request: Request) -> Response:
        """Capture once per key, and only then be moody: the answer is lost, the money has moved."""
        key = request.headers["idempotency-key"]
        known = key in self.charges
        mood = await self.mood(request)
        if mood is not None and mood.status_code < 500:
            return mood
        self.charges.setdefault(key, await request.json())
        captured = {"status": "captured", "payment_id": f"pay-{key}"}
        return mood or JSONResponse(captured, 200 if known else 201)

    async def refund(self, request: Request) -> Response:
        """Refund a charge; an unknown one is 404."""
        key = (await request.json())["charge_key"]
        mood = await self.mood(request)
        if mood is not None:
            return mood
        if key not in self.charges:
            return JSONResponse({}, 404)
        self.refunds[key] += 1
        return JSONResponse({"status": "refunded"})

    def app(self) -> FastAPI:
        """Make the application."""
        app = FastAPI()
        app.post("/v1/charges")(self.charge)
        app.post("/v1/refunds")(self.refund)
        return app


@asynccontextmanager
async def paying(
    payments: Payments, provider: AnyTracerProvider, *, limit: float = 1.0, attempts: int = 3
) -> AsyncIterator[HttpGateway]:
    """Yield a gateway to a running payment server."""
    async with serve(payments.app()) as url:
        client = HttpGateway(
            f"{url}/v1",
            timeout=timedelta(seconds=limit),
            attempts=attempts,
            tracer_provider=provider,
        )
        try:
            yield client
        finally:
            payments.released.set()
            await client.aclose()


def named(exporter: InMemorySpanExporter, name: str) -> ReadableSpan:
    """Return the one span of that name."""
    [span] = [span for span in exporter.get_finished_spans() if span.name == name]
    return span


async def test_charge_is_captured_and_traced(provider: TracerProvider, exporter: InMemorySpanExporter) -> None:
    """The server gets the whole charge under the order's key, in the trace of the order."""
    payments = Payments()
    async with paying(payments, provider) as client:
        with provider.get_tracer("test").start_as_current_span("order"):
            assert await client.charge(CHARGE) == RECEIPT
    assert payments.charges == {"07abc": {"order_id": "07abc", "user_id": "ann", "amount": 2598, "currency": "EUR"}}
    order, charge = named(exporter, "order"), named(exporter, "charge")
    [request] = [span for span in exporter.get_finished_spans() if span.name.startswith("POST")]
    assert charge.kind is request.kind is SpanKind.CLIENT
    assert charge.parent == order.context
    assert request.parent == charge.context
    assert request.context is not None
    [traceparent] = payments.traceparents
    assert traceparent.startswith(f"00-{request.context.trace_id:032x}-{request.context.span_id:016x}-")
    assert charge.attributes == {"flash_sale.order_id": "07abc", "flash_sale.payment.outcome": "captured"}


async def test_charging_twice_is_one_charge(provider: TracerProvider) -> None:
    """A redelivered order gets the receipt of its one charge."""
    payments = Payments()
    async with paying(payments, provider) as client:
        answers = [await client.charge(CHARGE), *await asyncio.gather(client.charge(CHARGE), client.charge(CHARGE))]
    assert answers == [RECEIPT] * 3
    assert len(payments.charges) == 1


async def test_charge_may_carry_a_key_of_its_own(provider: TracerProvider) -> None:
    """An order that is paid anew, after it was given up, pays under another key."""
    payments = Payments()
    async with paying(payments, provider) as client:
        again = Charge(order_id="07abc", user_id="ann", amount=1, currency="EUR", key="07abc-1")
        assert await client.charge(again) == Receipt("pay-07abc-1")
    assert payments.requests == [("/v1/charges", "07abc-1")]


async def test_declined_is_an_answer_and_no_error(provider: TracerProvider, exporter: InMemorySpanExporter) -> None:
    """402 is asked for once, gives the reason, and leaves the span without an error."""
    payments = Payments(JSONResponse({"reason": "insufficient_funds"}, 402))
    async with paying(payments, provider) as client:
        assert await client.charge(CHARGE) == Declined("insufficient_funds")
    assert len(payments.requests) == 1
    span = named(exporter, "charge")
    assert span.status.status_code is StatusCode.UNSET
    assert (span.attributes or {})["flash_sale.payment.outcome"] == "declined"


@pytest.mark.parametrize("body", [b"", b"[]", b'{"reason": 5}', b'{"reason": "' + b"x" * 65 + b'"}', b"{"])
async def test_reason_that_is_no_word_is_not_passed_on(body: bytes, provider: TracerProvider) -> None:
    """What the gateway writes is bounded before it reaches the ledger."""
    async with paying(Payments(Response(body, 402)), provider) as client:
        assert await client.charge(CHARGE) == Declined("declined")


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503])
async def test_passing_trouble_is_tried_again_with_the_same_key(
    status: int, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    """The money moves once, although the answer was lost on the way."""
    payments = Payments(Response(status_code=status), Response(status_code=status))
    async with paying(payments, provider) as client:
        assert await client.charge(CHARGE) == RECEIPT
    assert payments.requests == [("/v1/charges", "07abc")] * 3
    assert len(payments.charges) == 1
    assert named(exporter, "charge").status.status_code is StatusCode.UNSET
    assert len(set(payments.traceparents)) == 3


async def test_trouble_that_stays_is_unavailable(provider: TracerProvider, exporter: InMemorySpanExporter) -> None:
    """After the attempts the caller has to defer; the span is an error with a code."""
    payments = Payments(*[Response(status_code=503)] * 5)
    async with paying(payments, provider) as client:
        with pytest.raises(PaymentUnavailable, match="the gateway answered 503"):
            await client.charge(CHARGE)
    assert len(payments.requests) == 3
    span = named(exporter, "charge")
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "payment_unavailable"


@pytest.mark.parametrize("status", [302, 400, 401, 404, 422])
async def test_wrong_request_is_rejected_at_once(status: int, provider: TracerProvider) -> None:
    """A bug is not tried again."""
    payments = Payments(Response(status_code=status))
    async with paying(payments, provider) as client:
        with pytest.raises(PaymentRejected) as caught:
            await client.charge(CHARGE)
    assert (caught.value.status, caught.value.code) == (status, "payment_rejected")
    assert len(payments.requests) == 1


@pytest.mark.parametrize("body", [{"status": "pending"}, {"status": "captured"}, []])
async def test_success_without_a_receipt_is_not_taken_for_failure(body: object, provider: TracerProvider) -> None:
    """The money may have moved: the order must neither fail nor be confirmed."""
    async with paying(Payments(JSONResponse(body, 200)), provider) as client:
        with pytest.raises(PaymentUnavailable, match="no receipt"):
            await client.charge(CHARGE)


async def test_hanging_server_costs_an_attempt_and_no_more(provider: TracerProvider) -> None:
    """The first attempt is given up after its timeout; the second one finds the charge made."""
    payments = Payments(HANG)
    async with paying(payments, provider, limit=0.2) as client:
        begun = perf_counter()
        assert await client.charge(CHARGE) == RECEIPT
        assert 0.2 <= perf_counter() - begun < 0.6
    assert payments.requests == [("/v1/charges", "07abc")] * 2


async def test_total_time_is_bounded(provider: TracerProvider) -> None:
    """A server that always hangs holds the caller no longer than the attempts' timeouts together."""
    async with paying(Payments(*[HANG] * 5), provider, limit=0.2) as client:
        begun = perf_counter()
        with pytest.raises(PaymentUnavailable):
            await client.charge(CHARGE)
        assert 0.55 < perf_counter() - begun < 1.0


async def test_pauses_count_in_the_total_time(provider: TracerProvider) -> None:
    """A pause that the gateway asked for leaves the next attempt only what is left."""
    payments = Payments(Response(status_code=503, headers={"Retry-After": "1"}), HANG)
    async with paying(payments, provider, limit=0.55, attempts=2) as client:
        begun = perf_counter()
        with pytest.raises(PaymentUnavailable, match=r"no answer within 1\.1 s"):
            await client.charge(CHARGE)
        assert 1.05 < perf_counter() - begun < 1.4
    assert len(payments.requests) == 2


@asynccontextmanager
async def raw_server(
    answer: Callable[[int, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """Serve sockets by hand: `answer` gets the number of the connection once its request is there."""
    connections: list[asyncio.Task[None] | None] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(asyncio.current_task())
        try:
            await reader.readuntil(b"}")
            await answer(len(connections), writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await asyncio.gather(*filter(None, connections), return_exceptions=True)


async def test_dropped_connection_is_tried_again(provider: TracerProvider) -> None:
    """A connection that breaks under the request is trouble that passes."""

    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        if number == 3:
            writer.write(CAPTURED)

    async with raw_server(answer) as url:
        client = gateway(PaymentSettings.model_validate({"gateway_url": url}), provider)
        try:
            assert await client.charge(CHARGE) == Receipt("p")
        finally:
            await client.aclose()


async def test_dripping_server_does_not_hold_an_attempt(provider: TracerProvider) -> None:
    """A header now and then is no answer: the limit is on the whole of an attempt, not on each read."""

    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        if number == 2:
            writer.write(CAPTURED)
            return
        writer.write(b"HTTP/1.1 201 Created\r\n")
        with suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b"X-Drip: drop\r\n")
                await writer.drain()
                await asyncio.sleep(0.02)  # the pace of the drops

    async with raw_server(answer) as url:
        client = HttpGateway(url, timeout=timedelta(seconds=0.2), attempts=3, tracer_provider=provider)
        try:
            assert await client.charge(CHARGE) == Receipt("p")
        finally:
            await client.aclose()


async def test_nobody_listening_is_unavailable(provider: TracerProvider) -> None:
    """A gateway that is not there is trouble that may pass."""
    client = HttpGateway(
        f"http://127.0.0.1:{free_port()}",
        timeout=timedelta(seconds=0.2),
        attempts=2,
        tracer_provider=provider,
    )
    with pytest.raises(PaymentUnavailable, match="ConnectError"):
        await client.charge(CHARGE)
    await client.aclose()


async def test_retry_after_is_honoured(provider: TracerProvider) -> None:
    """The gateway's own pause is kept, where the budget has room for it."""
    payments = Payments(Response(status_code=429, headers={"Retry-After": "1"}))
    async with paying(payments, provider) as client:
        begun = perf_counter()
        assert await client.charge(CHARGE) == RECEIPT
        assert perf_counter() - begun >= 1


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_long_retry_after_is_left_to_the_caller(form: str, provider: TracerProvider) -> None:
    """A pause beyond the budget ends the attempts at once, and the caller is told of it."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=61), usegmt=True)
    value = "60" if form == "seconds" else date
    payments = Payments(Response(status_code=503, headers={"Retry-After": value}))
    async with paying(payments, provider) as client:
        with pytest.raises(PaymentUnavailable) as caught:
            await client.charge(CHARGE)
    assert len(payments.requests) == 1
    assert caught.value.retry_after is not None
    assert 0 < caught.value.retry_after.total_seconds() <= 61


@pytest.mark.parametrize("value", ["soon", "-1", "1e9", "9" * 30])
async def test_retry_after_that_makes_no_sense_is_ignored(value: str, provider: TracerProvider) -> None:
    """An unreadable pause is no pause."""
    payments = Payments(Response(status_code=503, headers={"Retry-After": value}))
    async with paying(payments, provider) as client:
        assert await client.charge(CHARGE) == RECEIPT


async def test_refund_gives_back_once_under_a_key_of_its_own(
    provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    """A refund is retried like a charge, and is a span of its own."""
    payments = Payments()
    async with paying(payments, provider) as client:
        await client.charge(CHARGE)
        payments.script = [Response(status_code=500)]
        await client.refund(CHARGE, payment_id="pay-07abc")
    assert payments.refunds == {"07abc": 1}
    assert payments.requests[1:] == [("/v1/refunds", "refund-07abc")] * 2
    assert named(exporter, "refund").kind is SpanKind.CLIENT


async def test_refund_of_nothing_does_nothing(provider: TracerProvider) -> None:
    """An order whose charge never arrived can be refunded blindly; a wrong request still shows."""
    payments = Payments()
    async with paying(payments, provider) as client:
        await client.refund(CHARGE)
        payments.script = [Response(status_code=400)]
        with pytest.raises(PaymentRejected):
            await client.refund(CHARGE)
    assert not payments.refunds
