"""ASGI middleware: the faults of requests, which are slow or crash."""

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send

from service.faults import Fault, Faults

FAULTY_PREFIXES = ("/orders", "/inventory")


class FaultError(RuntimeError):
    """The fault `api_errors` strikes."""


class FaultInjectionMiddleware:
    """Delays or crashes requests for orders and products, while an admin has switched that on."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["path"].startswith(FAULTY_PREFIXES):
            if delay := self._faults.should_inject(Fault.API_DELAY):
                await asyncio.sleep(delay.seconds)
            if self._faults.should_inject(Fault.API_ERRORS):
                raise FaultError("the fault api_errors is on")
        await self._app(scope, receive, send)
