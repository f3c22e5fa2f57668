"""A gateway over HTTP, with retries in process; trace context goes along with each request."""

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from http import HTTPStatus
from itertools import cycle
from typing import Any, TypeAlias

import httpx
import stamina
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import TracerProvider

from service.orders.payments.gateway import (
    DECLINED,
    Charge,
    Declined,
    PaymentRejected,
    PaymentTimedOut,
    PaymentUnavailable,
    Receipt,
    answered,
    client_span,
)
from service.retry_after import parse_retry_after

# 409: another request with the same key is still under way, say from a worker that has stalled.
TRANSIENT_STATUSES = frozenset({408, 409, 425, 429})
REASON_LENGTH = 64
PAYMENT_ID_LENGTH = 255
MAX_BODY_BYTES = 64 * 1024
"""Of an answer; a receipt takes 100."""
# A client looks at all its connections for each request: docs/decisions/payments.md has the figures.
CLIENTS = 16

Backoff: TypeAlias = Callable[[Exception], bool | float]


class HttpGateway:
    """Payments over HTTP: `POST {url}/charges` and `POST {url}/refunds` with an `Idempotency-Key`.

    An attempt takes at most `timeout`, a call at most `attempts` times that, pauses included.
    """

    def __init__(self, url: str, *, timeout: timedelta, attempts: int, tracer_provider: TracerProvider) -> None:
        """Make the client; it opens connections as it needs them."""
        self._timeout = timeout.total_seconds()
        self._attempts = attempts
        self._budget = self._timeout * attempts
        self._tracer = tracer_provider.get_tracer(__name__)
        tls = httpx.create_ssl_context()  # one for all: to read the certificates takes some 20 ms
        clients = [_client(url, self._timeout, tls, tracer_provider) for _ in range(CLIENTS)]
        self._clients = tuple(clients)
        self._turns = cycle(clients)

    async def charge(self, charge: Charge) -> Receipt | Declined:
        """See `PaymentGateway`."""
        body: dict[str, object] = {
            "order_id": charge.order_id,
            "user_id": charge.user_id,
            "amount": charge.amount,
            "currency": charge.currency,
        }
        if charge.reference is not None:
            body["reference"] = charge.reference
        if charge.payment_token:
            body["payment_token"] = charge.payment_token
        with client_span(self._tracer, "charge", charge.order_id) as span:
            response, maybe_captured = await self._post("charges", charge.idempotency_key, body)
            if response.status_code == HTTPStatus.PAYMENT_REQUIRED:
                return answered(span, Declined(_word(_fields(response).get("reason")), maybe_captured))
            if not response.is_success:
                raise _rejected(response)
            return answered(span, _receipt(response))

    async def refund(self, charge: Charge, *, payment_id: str | None = None, part: int = 0) -> None:
        """See `PaymentGateway`. A 404 says that nothing was captured."""
        key = charge.idempotency_key
        body = {
            "order_id": charge.order_id,
            "charge_key": key,
            "payment_id": payment_id,
            "amount": charge.amount,
            "currency": charge.currency,
        }
        with client_span(self._tracer, "refund", charge.order_id):
            response, _ = await self._post("refunds", f"refund-{key}.{part}" if part else f"refund-{key}", body)
            if not response.is_success and response.status_code != HTTPStatus.NOT_FOUND:
                raise _rejected(response)

    async def aclose(self) -> None:
        """Close the connections."""
        for client in self._clients:
            await client.aclose()

    async def _post(self, path: str, key: str, body: Mapping[str, object]) -> tuple[httpx.Response, bool]:
        """Post until there is an answer other than "not now", within the attempts and the budget.

        Returns: the answer, and whether a request before it had none.
        """
        attempts = stamina.retry_context(
            on=_backoff(time.monotonic() + self._budget),
            attempts=self._attempts,
            timeout=self._budget,
            wait_initial=self._timeout / 20,
            wait_max=self._timeout / 2,
            wait_jitter=self._timeout / 20,
        )
        try:
            async with asyncio.timeout(self._budget):
                async for attempt in attempts:
                    with attempt:
                        return await self._attempt(path, key, body), attempt.num > 1
        except TimeoutError as error:
            raise PaymentTimedOut(f"no answer within {self._budget:g} s") from error
        raise AssertionError("stamina returns or raises")  # pragma: no cover

    async def _attempt(self, path: str, key: str, body: Mapping[str, object]) -> httpx.Response:
        try:
            # httpx limits each read, not the whole: a gateway that drips would hold the order.
            async with asyncio.timeout(self._timeout):
                response = await _bounded(next(self._turns), path, key, body)
        except (httpx.TimeoutException, TimeoutError) as error:
            raise PaymentTimedOut(f"the gateway gave no answer: {type(error).__name__}") from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise PaymentUnavailable(f"the gateway gave no answer: {type(error).__name__}") from error
        if response.is_server_error or response.status_code in TRANSIENT_STATUSES:
            pause = parse_retry_after(response.headers.get("Retry-After"))
            raise PaymentUnavailable(f"the gateway answered {response.status_code}", pause)
        return response


async def _bounded(client: httpx.AsyncClient, path: str, key: str, body: Mapping[str, object]) -> httpx.Response:
    """Post, and read no more of the answer than a gateway has to say.

    Raises:
        PaymentUnavailable: The answer is longer.
    """
    headers = {"Idempotency-Key": key, "Accept-Encoding": "identity"}  # what is not unpacked cannot grow
    async with client.stream("POST", path, json=body, headers=headers) as response:
        content = bytearray()
        async for chunk in response.aiter_raw():
            content += chunk
            if len(content) > MAX_BODY_BYTES:
                raise PaymentUnavailable(
                    f"the gateway answered {response.status_code} with over {MAX_BODY_BYTES} bytes"
                )
    # As bytes: what is no ASCII, such as the name of a bank, cannot be given to httpx as text.
    kept = [(name, value) for name, value in response.headers.raw if name.lower() != b"content-encoding"]
    return httpx.Response(response.status_code, headers=kept, content=bytes(content), request=response.request)


def _client(url: str, timeout: float, tls: ssl.SSLContext, tracer_provider: TracerProvider) -> httpx.AsyncClient:
    client = httpx.AsyncClient(base_url=url, timeout=timeout, verify=tls, trust_env=False)
    # The service's metrics are a fixed set, and `charge` has a duration of its own: spans only.
    HTTPXClientInstrumentor.instrument_client(
        client, tracer_provider=tracer_provider, meter_provider=NoOpMeterProvider()
    )
    return client


def _backoff(deadline: float) -> Backoff:
    """Return stamina's hook: try again if the gateway's own pause ends before `deadline`."""

    def pause(error: Exception) -> bool | float:
        if not isinstance(error, PaymentUnavailable):
            return False
        if error.retry_after is None:
            return True
        seconds = error.retry_after.total_seconds()
        return seconds if time.monotonic() + seconds < deadline else False

    return pause


def _fields(response: httpx.Response) -> Mapping[str, Any]:
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _receipt(response: httpx.Response) -> Receipt:
    match _fields(response):
        case {"status": "captured", "payment_id": str(payment_id)} if _is_plain(payment_id):
            return Receipt(payment_id)
    # The money may have moved, so the order must not fail on this: somebody has to look.
    raise PaymentUnavailable(f"the gateway answered {response.status_code} with no receipt in it")


def _is_plain(payment_id: str) -> bool:
    """Whether it can stand in a log, a page and a spreadsheet: printable ASCII of bounded length, no space."""
    return 0 < len(payment_id) <= PAYMENT_ID_LENGTH and all("!" <= char <= "~" for char in payment_id)


def _rejected(response: httpx.Response) -> PaymentRejected:
    path = response.request.url.path
    return PaymentRejected(f"the gateway answered {response.status_code} to {path}", response.status_code)


def _word(reason: object) -> str:
    """Return the gateway's reason if it is a plain word of bounded length."""
    text = reason if isinstance(reason, str) else ""
    plain = text.isascii() and text.replace("_", "").isalnum() and len(text) <= REASON_LENGTH
    return text if plain else DECLINED
