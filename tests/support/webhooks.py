"""A merchant's endpoint for webhooks, which verifies them with a library of another maker."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from standardwebhooks import Webhook
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the example of the specification
Mood = Callable[[dict[str, Any]], Response | Awaitable[Response]]


def takes(_: dict[str, Any]) -> Response:
    """Take every event."""
    return Response(status_code=204)


class Receiver:
    """What came, as ids, types and subjects: `asked` each attempt, `taken` those that were answered well.

    Attributes:
        mood: Makes the answer to an event; a test may change it at any time.
    """

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.taken: list[dict[str, Any]] = []
        self.elsewhere = 0
        self.mood: Mood = takes

    def app(self) -> Starlette:
        """Return the endpoint, `/hook`, and a place to which it may redirect."""
        routes = [Route("/hook", self._hook, methods=["POST"]), Route("/elsewhere", self._other, methods=["POST"])]
        return Starlette(routes=routes)

    def told(self) -> dict[str, list[str]]:
        """Return what happened to each order, an event that came again left out."""
        known: set[str] = set()
        found: dict[str, list[str]] = {}
        for event in self.taken:
            if event["id"] not in known:
                known.add(event["id"])
                found.setdefault(event["subject"], []).append(event["type"].removeprefix("flashsale.order."))
        return found

    async def _hook(self, request: Request) -> Response:
        body = await request.body()
        event: dict[str, Any] = Webhook(SECRET).verify(body, dict(request.headers))  # raises: a 500 that the test sees
        assert request.headers["webhook-id"] == event["id"]
        assert json.loads(body) == event
        self.asked.append(event)
        answer = self.mood(event)
        response = answer if isinstance(answer, Response) else await answer
        if response.status_code < 300:
            self.taken.append(event)
        return response

    async def _other(self, _: Request) -> Response:
        self.elsewhere += 1
        return Response(status_code=204)
