"""`/asyncapi.json`: what the service sends by itself, as AsyncAPI 3.0 describes it: a WebSocket and server-sent events.

The schemas are those of the models that are sent, so they cannot differ; a test receives all kinds and validates them.
AsyncAPI has no binding for server-sent events: a message's `headers` are the fields of an event beside its `data`.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, RootModel
from pydantic.json_schema import models_json_schema

from service.api.cloud_events import OrderEvent
from service.api.orders import OrderNow
from service.api.watch_auth import SUBPROTOCOL
from service.monitoring.live import MetricsData
from service.monitoring.messages import Unavailable
from service.settings import Settings

TITLE = "flash-sale, what it sends by itself"
DESCRIPTION = """Live figures over a WebSocket, and changes of orders as server-sent events. What is asked for and
answered is in `openapi.json`. Connect again when a connection ends, where events have an `id` with the last as
`Last-Event-ID`."""


class MissingShardsEvent(RootModel[list[int]]):
    """Shards that did not answer: their changes come later."""


MODELS: tuple[type[BaseModel], ...] = (MetricsData, Unavailable, OrderEvent, OrderNow, MissingShardsEvent)


def create_router(settings: Settings) -> APIRouter:
    """Return the route of the document, which like that of OpenAPI's is no part of the API."""
    router = APIRouter(include_in_schema=False)

    @router.get("/asyncapi.json")
    async def read_asyncapi() -> JSONResponse:
        """Describe what is sent by itself."""
        return JSONResponse(document(settings))

    return router


def document(settings: Settings) -> dict[str, Any]:
    """Return the AsyncAPI document of a service with these settings."""
    tokens = _tokens(settings)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": TITLE,
            "version": version("flash-sale"),
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
            "tags": [{"name": "monitoring"}, {"name": "orders"}],
        },
        "defaultContentType": "application/json",
        "servers": {
            "websocket": _server(settings, "ws", "with TLS in front: `wss`"),
            "events": _server(settings, "http", "with TLS in front: `https`"),
        },
        "channels": {"monitoring": _monitoring(), "events": _events(), "order": _order()},
        "operations": {
            "sendSnapshot": _sends("monitoring", "A message once a second.", tokens),
            "sendOrderEvent": _sends("events", "Each change of each order, at least once.", tokens),
            "sendOrder": _sends("order", "At each change, and each second while the order is pending.", tokens),
        },
        "components": {"schemas": _schemas(), "securitySchemes": _security_schemes(tokens)},
    }


def _server(settings: Settings, protocol: str, description: str) -> dict[str, Any]:
    pathname = {"pathname": settings.root_path} if settings.root_path else {}
    host = {"default": "localhost:8000", "description": "the name and the port of the service"}
    return {
        "host": "{host}", "protocol": protocol, "description": description, "variables": {"host": host}, **pathname
    }  # fmt: skip


def _monitoring() -> dict[str, Any]:
    protocols = {"type": "string", "description": f"`{SUBPROTOCOL}, bearer.<token>` of a page; others none"}
    headers = {"type": "object", "properties": {"Sec-WebSocket-Protocol": protocols}}
    return {
        "address": "/monitoring",
        "title": "Live figures",
        "description": "Nothing is expected of the client but answers to pings.",
        "servers": [{"$ref": "#/servers/websocket"}],
        "messages": {
            "snapshot": _message("MetricsData", "All figures of the sale and of the requests of the last 60 s."),
            "unavailable": _message("Unavailable", "Instead of a snapshot, while the store does not answer."),
        },
        "bindings": {"ws": {"method": "GET", "headers": headers}},
    }


def _events() -> dict[str, Any]:
    cursor = {"type": "string", "description": "a cursor: `Last-Event-ID` of the next request"}
    return {
        "address": "/events",
        "title": "Changes of orders",
        "description": "With `Accept: text/event-stream`; lines that begin with `:` say that the stream is alive.",
        "servers": [{"$ref": "#/servers/events"}],
        "messages": {
            "orderEvent": _message("OrderEvent", "A CloudEvent; events of one order come in their order.", id=cursor),
            "missingShards": _message(
                "MissingShardsEvent", "Shards of the store that did not answer.", event={"const": "missing_shards"}
            ),
        },
    }


def _order() -> dict[str, Any]:
    return {
        "address": "/orders/{order_id}/events",
        "title": "One order",
        "description": "The stream ends after the event that says how the order ended.",
        "parameters": {"order_id": {"description": "as `POST /orders` returned it"}},
        "servers": [{"$ref": "#/servers/events"}],
        "messages": {"order": _message("OrderNow", "The order as it is now.", event={"const": "order"})},
    }


def _message(model: str, summary: str, **fields: dict[str, Any]) -> dict[str, Any]:
    headers = {"headers": {"type": "object", "required": [*fields], "properties": fields}} if fields else {}
    return {"name": model, "title": model, "summary": summary, "contentType": "application/json", **headers,
            "payload": {"$ref": f"#/components/schemas/{model}"}}  # fmt: skip


def _sends(channel: str, description: str, tokens: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{channel}"},
        "description": description,
        "security": [{"$ref": f"#/components/securitySchemes/{scheme}"} for scheme in tokens[channel]],
        "bindings": {} if channel == "monitoring" else {"http": {"method": "GET"}},
    }


def _tokens(settings: Settings) -> dict[str, list[str]]:
    """Return which token is to be shown for each channel, any one of several."""
    return {
        "monitoring": ["watcher"] if settings.monitoring_token else [],
        "events": ["admin"],
        "order": ["shopper", "admin"] if settings.auth_jwt.enabled else [],
    }


def _security_schemes(tokens: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    words = {"admin": "ADMIN_TOKEN", "shopper": "a JWT", "watcher": "MONITORING_TOKEN"}
    asked = {name for names in tokens.values() for name in names}
    return {
        name: {"type": "http", "scheme": "bearer", "description": text} for name, text in words.items() if name in asked
    }


def _schemas() -> dict[str, Any]:
    _, found = models_json_schema(
        [(model, "serialization") for model in MODELS], ref_template="#/components/schemas/{model}"
    )
    schemas: dict[str, Any] = found["$defs"]
    return schemas
