"""The OpenAPI document: what the code cannot say, words for people, names for the methods of generated clients."""

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from service.problems import ProblemDetails
from service.settings import Settings

DESCRIPTION = """Sells a limited stock to far more buyers than there are units.

Every error is `application/problem+json` with a stable `code`. A refusal (`sold_out`, `limit_exceeded`, ...) is an
answer, not a failure. Send an `Idempotency-Key` with `POST /orders` and it is safe to send again.

The messages of `WS /monitoring` and the server-sent events are described in [asyncapi.json](asyncapi.json)."""
TAGS = {
    "orders": "To buy, to see what became of it, and to give it back.",
    "events": "Every change of every order, for the programs of who sells.",
    "inventory": "What is on sale.",
    "dead letters": "Orders that could not be processed, for the admin.",
    "monitoring": "Live figures, as JSON.",
    "health": "What load balancers and Prometheus ask.",
}


def operation_id(route: APIRoute) -> str:
    """Return the name of a generated client's method: that of the function, which must be the only one of its name."""
    return route.name


def about(settings: Settings) -> dict[str, Any]:
    """Return what `FastAPI` is told of its document."""
    return {
        "title": "flash-sale",
        "version": version("flash-sale"),
        "description": DESCRIPTION,
        "license_info": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        "openapi_tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "servers": [{"url": settings.root_path or "/"}],
        "generate_unique_id_function": operation_id,
    }


def complete(app: FastAPI, settings: Settings) -> None:
    """Put into the document what the code cannot say: the shape of a problem, who needs a `user_id`."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            schemas = document["components"]["schemas"]
            problem = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= problem.pop("$defs", {})
            schemas["ProblemDetails"] = problem
            if not settings.auth_jwt.enabled:
                _document_without_tokens(document)
            if settings.monitoring_token is None:
                _leave_out(document, "watcher")
        return app.openapi_schema or document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _document_without_tokens(document: dict[str, Any]) -> None:
    """Where shoppers show no token, an order names its user."""
    for name in ("OrderRequest", "TicketRequest"):
        asked = document["components"]["schemas"][name]
        asked.setdefault("required", []).append("user_id")
        asked["properties"]["user_id"] = asked["properties"]["user_id"]["anyOf"][0]
    _leave_out(document, "shopper")


def _leave_out(document: dict[str, Any], scheme: str) -> None:
    """Remove from the document a token that is not in use."""
    del document["components"]["securitySchemes"][scheme]
    for operations in document["paths"].values():
        for operation in operations.values():
            allowed = operation.get("security", [])
            if allowed == [{scheme: []}]:
                del operation["security"], operation["responses"]["401"]
            elif {scheme: []} in allowed:  # who has none of the others is not turned away either
                operation["security"] = [{} if one == {scheme: []} else one for one in allowed]
