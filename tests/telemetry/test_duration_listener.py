"""What a listener is told of each request is what `/metrics` counts, with either interceptor."""

from collections import Counter

import httpx
import pytest
from fastapi import FastAPI

from telemetry import TelemetrySettings
from telemetry.settings import INTERCEPTORS, Interceptor
from telemetry.testing import capture
from tests.telemetry.shop import build

NAME = "http_server_request_duration_seconds"


@pytest.mark.parametrize("interceptor", INTERCEPTORS)
@pytest.mark.parametrize("fails", [False, True], ids=["listens", "fails"])
async def test_the_listener_hears_what_is_exported(interceptor: Interceptor, fails: bool) -> None:
    """Method, template, status and seconds; and its own failure is not the request's."""
    heard: Counter[tuple[str, str, int]] = Counter()
    seconds = 0.0

    def listener(method: str, route: str, status: int, took: float) -> None:
        nonlocal seconds
        heard[method, route, status] += 1
        seconds += took
        if fails:
            raise ZeroDivisionError

    settings = TelemetrySettings(service_name="t", worker="t-0", sampler="always_off", interceptor=interceptor)
    with capture(settings) as seen:
        seen.telemetry.on_request(listener)
        app: FastAPI = build(seen.telemetry)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
            for path in ("/items/1", "/items/2", "/items/gone", "/items/crash", "/nope", "/nope/2", "/healthz"):
                await client.get(path)
            await client.request("BREW", "/items/1")
        exported = {
            (label["http_request_method"], label.get("http_route", ""), int(label["http_response_status_code"])): value
            for (name, has), value in seen.metrics().items()
            if name == f"{NAME}_count"
            for label in [dict(has)]
        }
        assert dict(heard) == exported
        assert heard["GET", "/items/{item}", 200] == 2
        assert heard["GET", "/items/{item}", 500] == 1
        assert heard["GET", "", 404] == 2
        assert seen.value(f"{NAME}_sum") == pytest.approx(seconds)
