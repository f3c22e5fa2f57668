"""What the payment gateway says that it captured: from the gateway itself, or from a file that was exported there.

`GET {url}/charges?after=CURSOR&limit=1000` answers `{"charges": [...], "cursor": "..." or null}`, the oldest first; a
charge is `{"order_id", "charge_key", "payment_id", "amount", "currency", "refunded"}`. A file has one such object a
line, or one order id.
"""

import json
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.ledger.orders import ORDER_ID

LIMIT = 1000
MAX_PAGES = 100_000
SECONDS = 30.0
"""For one page."""
ORDER_ATTRIBUTE = "flash_sale.order_id"


class CapturesUnreadableError(Exception):
    """The gateway or the file does not say what was captured; the message is one line."""


class Capture(BaseModel):
    """One charge that was captured; `refunded` once all of it was given back."""

    model_config = ConfigDict(frozen=True)

    order_id: str = Field(pattern=ORDER_ID)
    charge_key: str | None = None
    payment_id: str | None = None
    amount: int | None = Field(None, ge=0)
    currency: str | None = Field(None, pattern=r"^[A-Z]{3}$")
    refunded: bool = False


async def captures_of_gateway(url: str, *, page_seconds: float = SECONDS) -> AsyncIterator[Capture]:
    """Read every charge of the gateway; those that are no order of a sale are left out.

    Raises:
        CapturesUnreadableError: It does not list its charges, or not to the end.
    """
    cursor = ""
    async with httpx.AsyncClient(base_url=url, timeout=page_seconds, trust_env=False) as client:
        for _ in range(MAX_PAGES):
            page = await _page(client, cursor)
            for charge in page["charges"]:
                if (capture := _capture(charge)) is not None:
                    yield capture
            following = page.get("cursor")
            if not following:
                return
            if following == cursor:
                break
            cursor = following
    raise CapturesUnreadableError("the gateway's list of charges does not end")


async def _page(client: httpx.AsyncClient, cursor: str) -> dict[str, Any]:
    try:
        answer = await client.get("charges", params={"after": cursor, "limit": LIMIT})
        answer.raise_for_status()
        page = answer.json()
    except (httpx.HTTPError, ValueError, RecursionError) as error:
        told = f" {error.response.status_code}" if isinstance(error, httpx.HTTPStatusError) else ""
        why = f"{type(error).__name__}{told}"
        raise CapturesUnreadableError(f"the gateway does not list its charges (GET /charges): {why}") from None
    if not isinstance(page, dict) or not isinstance(page.get("charges"), list):
        raise CapturesUnreadableError("the gateway does not list its charges (GET /charges): no list of `charges`")
    return page


def captures_in(lines: Iterable[str]) -> Iterator[Capture]:
    """Read a file of charges: an object or an order id a line; those that are no order of a sale are left out.

    Raises:
        CapturesUnreadableError: A line is neither.
    """

    def charge(line: str) -> Iterator[object]:
        yield json.loads(line) if line.startswith("{") else {"order_id": line}

    return _captures(lines, charge, "is neither a JSON object nor an order id")


def orders_in_traces(lines: Iterable[str]) -> Iterator[Capture]:
    """Read the orders that spans name, from a file of OTLP in JSON, one export a line, as the collector writes it.

    Raises:
        CapturesUnreadableError: A line is no export.
    """

    def named(line: str) -> Iterator[object]:
        for attribute in _attributes(json.loads(line)):
            if attribute.get("key") == ORDER_ATTRIBUTE:
                yield {"order_id": attribute.get("value", {}).get("stringValue")}

    return _captures(lines, named, "is no export of traces in JSON")


def orders_in_events(lines: Iterable[str]) -> Iterator[Capture]:
    """Read the orders that events name, as whoever followed `GET /events` kept them: an event or a page of them a line.

    Raises:
        CapturesUnreadableError: A line is neither.
    """

    def subjects(line: str) -> Iterator[object]:
        said = json.loads(line)
        for event in said.get("events", [said]):
            yield {"order_id": event.get("subject")}

    return _captures(lines, subjects, "is neither an event in JSON nor a page of them")


def _captures(lines: Iterable[str], read: Callable[[str], Iterator[object]], wrong: str) -> Iterator[Capture]:
    for number, line in enumerate(lines, 1):
        if text := line.strip():
            try:
                found = [_capture(said) for said in read(text)]
            except (ValueError, AttributeError, TypeError):  # no JSON, or of another shape
                raise CapturesUnreadableError(f"line {number} {wrong}") from None
            yield from filter(None, found)


def _attributes(export: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for resource in export.get("resourceSpans", ()):
        for scope in resource.get("scopeSpans", ()):
            for span in scope.get("spans", ()):
                yield from span.get("attributes", ())


def _capture(said: object) -> Capture | None:
    """Return a charge; None for one that is no order of a sale.

    Raises:
        CapturesUnreadableError: It is one, and something else in it is not as it should be.
    """
    order_id = said.get("order_id") if isinstance(said, dict) else None
    if not isinstance(order_id, str) or not re.fullmatch(ORDER_ID, order_id):
        return None
    try:
        return Capture.model_validate(said)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise CapturesUnreadableError(f"the charge of order {order_id} has a {place} that cannot be read") from None
