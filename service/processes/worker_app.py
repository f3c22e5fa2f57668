"""What an order worker answers over HTTP: its metrics, and whether it is alive and ready, as an API process does."""

import asyncio

from fastapi import FastAPI
from starlette.middleware import Middleware

from service.api import health
from service.api.errors import ErrorHandlers
from service.api.middleware.crash_guard import CrashGuardMiddleware
from service.api.middleware.head import HeadMiddleware
from service.ledger.write_check import WriteCheck
from telemetry import Telemetry


def create_worker_app(telemetry: Telemetry, writes: WriteCheck, stop: asyncio.Event) -> FastAPI:
    """Build the application; nothing in it is instrumented.

    Args:
        telemetry: Of this process.
        writes: Says whether the store takes writes.
        stop: Set once the worker is about to end.
    """
    handlers = ErrorHandlers(lambda *_: None)
    app = FastAPI(
        title="flash-sale worker",
        openapi_url=None,
        telemetry={"tracing": False, "metrics": False},
        exception_handlers=handlers.by_type(),
        middleware=[Middleware(HeadMiddleware), Middleware(CrashGuardMiddleware, answer=handlers.crash)],
    )
    app.include_router(health.create_router(telemetry, draining=stop.is_set, ask_store=lambda: writes.ask(writes.ping)))
    return app
