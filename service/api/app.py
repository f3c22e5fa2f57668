"""The API as an ASGI application: its routes, its errors, and what runs beside them in the same process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from opentelemetry.trace import format_trace_id, get_current_span
from starlette.middleware import Middleware
from starlette.types import Scope

from service.api import errors, health, pages, websocket
from service.api import faults as faults_api
from service.api import inventory as inventory_api
from service.api import monitoring as monitoring_api
from service.api import orders as orders_api
from service.api.context import Service
from service.api.middleware.body_limit import BodyLimitMiddleware
from service.api.middleware.crash_guard import CrashGuardMiddleware
from service.api.middleware.fast_orders import OrderFastPathMiddleware
from service.api.middleware.faults import FaultInjectionMiddleware
from service.background import background_tasks
from service.metrics import ACTIVE_CONNECTIONS, REASONS, SNAPSHOT_AGE, WINDOWS_DROPPED, observe_ledger
from service.monitoring.live import SERVER_ERROR
from service.monitoring.reporting import keep_reporting, report_last
from service.orders.maintenance import run_maintenance
from service.problems import Problem, ProblemDetails

MAX_BODY_BYTES = 64 * 1024
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
DESCRIPTION = """Sells a limited stock to far more buyers than there are units.

Every error is `application/problem+json` with a stable `code`. A refusal (`sold_out`, `limit_exceeded`, ...) is an
answer, not a failure. Send an `Idempotency-Key` with `POST /orders` and it is safe to send again."""


def create_app(service: Service) -> FastAPI:
    """Builds the application around one process's parts; its lifespan runs what belongs to them."""
    telemetry = service.telemetry
    telemetry.on_request(service.windows.record)

    def note(scope: Scope, problem: Problem) -> None:
        _note(service, scope, problem)

    handlers = errors.ErrorHandlers(note)
    app = FastAPI(
        title="flash-sale",
        version=version("flash-sale"),
        description=DESCRIPTION,
        telemetry=telemetry.fastapi_config(),
        lifespan=_lifespan,
        redirect_slashes=False,
        exception_handlers=handlers.by_type(),
        middleware=_layers(service, note, handlers.crash),
    )
    app.state.service = service
    if service.faults is not None:
        app.include_router(faults_api.router)
    app.include_router(pages.create_router(service.settings))
    for module in (orders_api, inventory_api, monitoring_api, websocket, health):
        app.include_router(module.router)
    observe_ledger(telemetry, service.sampler.exported, silence=service.settings.worker_silence)
    telemetry.observe(SNAPSHOT_AGE, lambda: [(service.sampler.age_seconds(), {})])
    telemetry.observe(WINDOWS_DROPPED, lambda: [(service.windows.dropped, {})])
    telemetry.observe(ACTIVE_CONNECTIONS, lambda: [(service.connections(), {})])
    websocket.observe(telemetry, service.broadcast)
    telemetry.instrument(app)
    _document(app, service)
    return app


def _layers(service: Service, note: errors.OnProblem, crash: errors.ErrorHandler) -> list[Middleware]:
    """Return the layers around the routes, the outermost first.

    Around all of them stand the interceptor of `telemetry`, whose span is current in each, and Starlette's own last
    resort; inside all of them are the exception handlers and the routes.
    """
    faults = [] if service.faults is None else [Middleware(FaultInjectionMiddleware, faults=service.faults)]
    return [
        # First: what is too large is refused before anything reads it, and counted while it is read by the others.
        Middleware(BodyLimitMiddleware, max_bytes=MAX_BODY_BYTES, on_problem=note),
        # Around all that may crash, the faults and the fast path too; its own answers need no limit.
        Middleware(CrashGuardMiddleware, answer=crash),
        # Inside the guard, so that an injected crash is answered like a real one; before orders, which it breaks.
        *faults,
        # Last before the routes: what it does not answer goes to them as it came.
        Middleware(OrderFastPathMiddleware, service=service, on_problem=note),
    ]


def _note(service: Service, scope: Scope, problem: Problem) -> None:
    """Counts an order that was refused, unless the ledger did; keeps the context of a failure."""
    path, method = scope["path"], scope["method"]
    if method == "POST" and path == "/orders" and not problem.counted:
        service.rejections.count(problem.code if problem.code in REASONS else "other")
    status = problem.kind.status
    if status >= SERVER_ERROR and path not in service.telemetry.settings.excluded_paths:
        context = get_current_span().get_span_context()
        service.windows.fail(
            method=method if method in METHODS else "_OTHER",
            route=errors.route_of(scope),
            status=status,
            code=problem.code,
            exception=problem.__cause__,
            trace_id=format_trace_id(context.trace_id) if context.is_valid else None,
        )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Shuts the telemetry down itself: uvicorn ends with the lifespan and never reaches `atexit`."""
    service: Service = app.state.service
    service.telemetry.start()
    try:
        async with (
            background_tasks(
                service.sampler.run(),
                run_maintenance(service.ledger),
                keep_reporting(service.rejections, service.windows),
                service.broadcast.run(),
            ),
            service.telemetry.serving_peers(),
        ):
            yield
            service.draining = True
    finally:
        await service.aclose()
        await report_last(service.rejections, service.windows)
        await asyncio.to_thread(service.telemetry.shutdown)


def _document(app: FastAPI, service: Service) -> None:
    """Puts into the OpenAPI document what the code cannot say: the shape of a problem, who needs a `user_id`."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            schemas = document["components"]["schemas"]
            problem = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= problem.pop("$defs", {})
            schemas["ProblemDetails"] = problem
            if not service.settings.auth_jwt.enabled:
                _document_without_tokens(document)
            if service.settings.monitoring_token is None:
                _leave_out(document, "watcher")
        return app.openapi_schema or document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _document_without_tokens(document: dict[str, Any]) -> None:
    """Where shoppers show no token, an order names its user."""
    order = document["components"]["schemas"]["OrderRequest"]
    order["required"].append("user_id")
    order["properties"]["user_id"] = order["properties"]["user_id"]["anyOf"][0]
    for parameter in document["paths"]["/orders"]["get"]["parameters"]:
        if parameter["name"] == "user_id":
            parameter |= {"required": True, "schema": parameter["schema"]["anyOf"][0]}
    _leave_out(document, "shopper")


def _leave_out(document: dict[str, Any], scheme: str) -> None:
    """A token that is not in use is asked for nowhere."""
    del document["components"]["securitySchemes"][scheme]
    for operations in document["paths"].values():
        for operation in operations.values():
            if operation.get("security") == [{scheme: []}]:
                del operation["security"], operation["responses"]["401"]
