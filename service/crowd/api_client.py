"""The service as its shoppers see it: HTTP only. No answer of it and no broken connection raises here."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import aiohttp
from yarl import URL

from service.crowd.plan import CrowdPlan, PlannedOrder

# Below uvicorn's 5 s, so that the client closes an idle connection and the server never does so
# under an order that is on its way.
KEEP_ALIVE_SECONDS = 4
SOLD_OUT_WEIGHT = 0.1
NEVER_PLACED = frozenset({"overloaded"})
PLACED = frozenset({"accepted", "replayed"})


class Decision(StrEnum):
    """What an answer means to a shopper: yes, no (and the order does not exist), or a broken service."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: `code` is the problem's, or `accepted`, `replayed`, `ok`, or `http_<status>`."""

    status: int
    code: str
    order_id: str | None = None

    @property
    def decision(self) -> Decision:
        """A 5xx leaves open whether there is an order, unless the store was never asked."""
        if self.order_id is not None:
            return Decision.ACCEPTED
        if self.status < HTTPStatus.INTERNAL_SERVER_ERROR or self.code in NEVER_PLACED:
            return Decision.REFUSED
        return Decision.FAILED


@dataclass(frozen=True, slots=True)
class NoResponse:
    """No answer, and why. `arrived` is False when the request certainly never reached the service."""

    kind: str
    arrived: bool


class ApiClient:
    """A client of one service. Use as an async context manager."""

    def __init__(self, plan: CrowdPlan) -> None:
        """Take the address, the headers and the timeout of the plan; nothing is opened yet."""
        self._plan = plan
        self._orders = URL(plan.base_url) / "orders"

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._plan.timeout.total_seconds()),
            headers=self._plan.headers,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()

    async def place(self, planned: PlannedOrder) -> Answer | NoResponse:
        """Place the shopper's order."""
        order = {
            "product_id": planned.product_id,
            "user_id": planned.user_id,
            "quantity": planned.quantity,
        }
        headers = {"Content-Type": "application/json"}
        if planned.key is not None:
            headers["Idempotency-Key"] = planned.key
        answer = await self._ask("POST", self._orders, json.dumps(order).encode(), headers)
        if isinstance(answer, NoResponse):
            return answer
        status, body = answer
        if status not in {HTTPStatus.ACCEPTED, HTTPStatus.OK}:
            return Answer(status, _code(status, body))
        order_id = body.get("order_id")
        if not isinstance(order_id, str) or not order_id:
            return NoResponse("unreadable_answer", arrived=True)
        return Answer(status, "accepted" if status == HTTPStatus.ACCEPTED else "replayed", order_id)

    async def cancel(self, order_id: str) -> Answer | NoResponse:
        """Cancel an order."""
        answer = await self._ask("POST", self._orders / order_id / "cancel")
        return answer if isinstance(answer, NoResponse) else Answer(answer[0], _code(*answer))

    async def order(self, order_id: str) -> tuple[int, dict[str, Any]] | NoResponse:
        """Return the status and the body of `GET /orders/{order_id}`."""
        return await self._ask("GET", self._orders / order_id)

    async def ready(self) -> bool:
        """Whether `GET /readyz` says yes."""
        answer = await self._ask("GET", URL(self._plan.base_url) / "readyz")
        return not isinstance(answer, NoResponse) and answer[0] == HTTPStatus.OK

    async def product_weights(self) -> dict[str, float] | NoResponse:
        """Weigh the products whose sale is open: alike, but few still ask for what is sold out."""
        answer = await self._ask("GET", URL(self._plan.base_url) / "inventory")
        if isinstance(answer, NoResponse):
            return answer
        status, body = answer
        if status != HTTPStatus.OK:
            return NoResponse(f"http_{status}", arrived=True)
        now = datetime.now(UTC)
        products = [product for product in body.get("products", []) if _is_open(product, now)]
        return {p["product_id"]: 1 if p.get("stock", 0) > 0 else SOLD_OUT_WEIGHT for p in products}

    async def _ask(
        self, method: str, url: URL, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, Any]] | NoResponse:
        try:
            async with self._session.request(method, url, data=body, headers=headers) as response:
                return response.status, _fields(await response.read())
        except aiohttp.ClientConnectorError:
            return NoResponse("connect", arrived=False)
        except TimeoutError:
            return NoResponse("timeout", arrived=True)
        except aiohttp.ClientConnectionError:
            return NoResponse("disconnected", arrived=True)
        except aiohttp.ClientError as error:
            return NoResponse(type(error).__name__, arrived=True)


def _fields(text: bytes) -> dict[str, Any]:
    """Read a JSON object; anything else is an empty one."""
    try:
        body = json.loads(text)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _code(status: int, body: dict[str, Any]) -> str:
    code = body.get("code")
    if isinstance(code, str):
        return code
    return "ok" if status < HTTPStatus.BAD_REQUEST else f"http_{status}"


def _is_open(product: dict[str, Any], now: datetime) -> bool:
    opens, closes = product.get("opens_at"), product.get("closes_at")
    return (opens is None or datetime.fromisoformat(opens) <= now) and (
        closes is None or now < datetime.fromisoformat(closes)
    )
