"""The API as an ASGI application: its routes, its errors, and what runs beside them in the same process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus

from fastapi import FastAPI
from opentelemetry.trace import format_trace_id, get_current_span
from starlette.middleware import Middleware
from starlette.types import Scope

from service.api import asyncapi, errors, health, openapi, pages, product_list, websocket
from service.api import dead_letters as dead_letters_api
from service.api import events as events_api
from service.api import faults as faults_api
from service.api import inventory as inventory_api
from service.api import monitoring as monitoring_api
from service.api import order_events as order_events_api
from service.api import order_list as order_list_api
from service.api import orders as orders_api
from service.api import refunds as refunds_api
from service.api import tickets as tickets_api
from service.api.context import ApiContext
from service.api.middleware.body_limit import BodyLimitMiddleware
from service.api.middleware.cors import CorsMiddleware
from service.api.middleware.crash_guard import CrashGuardMiddleware
from service.api.middleware.fast_orders import OrderFastPathMiddleware
from service.api.middleware.faults import FaultInjectionMiddleware
from service.api.middleware.head import HeadMiddleware
from service.background import background_tasks
from service.metrics import (
    ACTIVE_CONNECTIONS,
    EVENT_STREAMS,
    REASONS,
    SNAPSHOT_AGE,
    WINDOWS_DROPPED,
)
from service.monitoring.flushing import flush_last, flush_periodically
from service.monitoring.ledger_metrics import observe_ledger, observe_store_memory, observe_webhook
from service.orders.maintenance import maintenance
from service.problems import Problem

MAX_BODY_BYTES = 64 * 1024
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


def create_app(context: ApiContext) -> FastAPI:
    """Build the application around one process's parts; its lifespan runs what belongs to them."""
    telemetry = context.telemetry
    telemetry.on_request(context.windows.record)

    def note(scope: Scope, problem: Problem) -> None:
        _note(context, scope, problem)

    handlers = errors.ErrorHandlers(note)
    app = FastAPI(
        **openapi.about(context.settings),
        telemetry=telemetry.fastapi_config(),
        lifespan=_lifespan,
        redirect_slashes=False,
        docs_url=None,  # one of our own, with a policy
        redoc_url=None,
        exception_handlers=handlers.by_type(),
        middleware=_layers(context, note, handlers.crash),
    )
    app.state.context = context
    if context.faults is not None:
        app.include_router(faults_api.router)
    app.include_router(pages.create_router(context.settings))
    app.include_router(asyncapi.create_router(context.settings))
    orders = (events_api, order_list_api, order_events_api, refunds_api, orders_api, dead_letters_api)
    for module in (*orders, product_list, inventory_api, tickets_api, monitoring_api):
        app.include_router(module.router)
    app.include_router(websocket.router)
    app.include_router(health.create_router(telemetry, draining=lambda: context.draining, ask_store=context.ask_store))
    _observe(context)
    telemetry.instrument(app)
    openapi.complete(app, context.settings)
    return app


def _observe(context: ApiContext) -> None:
    """Export what is read when it is asked for."""
    telemetry = context.telemetry
    observe_ledger(telemetry, context.poller.exported, silence=context.settings.worker_silence)
    observe_store_memory(telemetry, lambda: context.writes.memory if context.poller.exported() else None)
    if context.settings.webhook.url is not None:
        observe_webhook(telemetry, context.poller.exported)
    telemetry.observe(SNAPSHOT_AGE, lambda: [(context.poller.age_seconds(), {})])
    telemetry.observe(WINDOWS_DROPPED, lambda: [(context.windows.dropped, {})])
    telemetry.observe(ACTIVE_CONNECTIONS, lambda: [(context.connections(), {})])
    websocket.observe(telemetry, context.broadcast)
    telemetry.observe(
        EVENT_STREAMS, lambda: [(count, {"route": route}) for route, count in context.event_streams().items()]
    )


def _layers(context: ApiContext, note: errors.OnProblem, crash: errors.ErrorHandler) -> list[Middleware]:
    """Return the layers around the routes, the outermost first.

    Around all of them stand the interceptor of `telemetry`, whose span is current in each, and Starlette's own last
    resort; inside all of them are the exception handlers and the routes.
    """
    faults = [] if context.faults is None else [Middleware(FaultInjectionMiddleware, faults=context.faults)]
    origins = context.settings.cors_origins
    cors = [Middleware(CorsMiddleware, origins=origins)] if origins else []
    return [
        # Around all others, so that a page of another origin may read any answer, a refusal too.
        *cors,
        # First of those that answer, for most requests of a sale; what it does not answer goes on as it came.
        Middleware(OrderFastPathMiddleware, context=context, on_problem=note, crash=crash),
        # Around those that answer, so that no answer to a HEAD has a body.
        Middleware(HeadMiddleware),
        # What is too large is refused before anything reads it, and counted while it is read by the others.
        Middleware(BodyLimitMiddleware, max_bytes=MAX_BODY_BYTES, on_problem=note),
        # Around all that may crash, the faults too; its own answers need no limit.
        Middleware(CrashGuardMiddleware, answer=crash),
        # Inside the guard, so that an injected crash is answered like a real one.
        *faults,
    ]


def _note(context: ApiContext, scope: Scope, problem: Problem) -> None:
    """Count an order that was refused, unless the ledger did; keep the context of a failure."""
    path, method = scope["path"], scope["method"]
    if method == "POST" and path == "/orders" and not problem.counted:
        context.rejections.count(problem.code if problem.code in REASONS else "other")
    status = problem.kind.status
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and path not in context.telemetry.settings.excluded_paths:
        span_context = get_current_span().get_span_context()
        context.windows.fail(
            method=method if method in METHODS else "_OTHER",
            route=errors.route_of(scope),
            status=status,
            code=problem.code,
            exception=problem.__cause__,
            trace_id=format_trace_id(span_context.trace_id) if span_context.is_valid else None,
        )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Shut the telemetry down itself: uvicorn ends with the lifespan and never reaches `atexit`."""
    context: ApiContext = app.state.context
    context.telemetry.start()
    try:
        async with (
            context.siblings.listening(),
            background_tasks(
                context.writes.run,
                context.poller.run,
                *maintenance(context.ledger, context.siblings),
                partial(flush_periodically, context.rejections, context.windows, context.past),
                context.broadcast.run,
                context.followers.run,
            ),
            context.telemetry.serving_peers(),
        ):
            yield
    finally:
        await context.aclose()
        await flush_last(context.rejections, context.windows)
        await asyncio.to_thread(context.telemetry.shutdown, context.ending.telemetry_seconds)
