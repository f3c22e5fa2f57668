"""A figure does not depend on whether its request was traced: each interceptor measures every request in one place."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import BackgroundTasks, FastAPI, Response
from fastapi.responses import StreamingResponse

from telemetry import TelemetrySettings
from telemetry.settings import INTERCEPTORS, Interceptor
from telemetry.testing import Capture, capture
from tests.support import serve, wait_until
from tests.support.http import http_client

DURATION = "http_server_request_duration_seconds"
TASK_SECONDS = 1.5
PART_SECONDS = 0.2
REQUESTS = 100
SAMPLING = {"0": 0.0, "1 %": 0.01, "100 %": 1.0}


@pytest.fixture(params=INTERCEPTORS)
def interceptor(request: pytest.FixtureRequest) -> Interceptor:
    """Return each of them."""
    chosen: Interceptor = request.param
    return chosen


@pytest.fixture(params=SAMPLING)
def settings(request: pytest.FixtureRequest, interceptor: Interceptor) -> TelemetrySettings:
    """Return settings for each interceptor, under which this share of the traces is recorded."""
    ratio = SAMPLING[request.param]
    return TelemetrySettings(
        service_name="shop", worker="api-0", sampler="traceidratio", sampler_arg=ratio, interceptor=interceptor
    )


def build(seen: Capture, release: asyncio.Event) -> FastAPI:
    """Build an application of which two routes go on after their answer."""
    app = FastAPI(telemetry=seen.telemetry.fastapi_config())

    async def work() -> None:
        await asyncio.wait_for(release.wait(), TASK_SECONDS)

    async def long_work() -> None:
        await asyncio.sleep(TASK_SECONDS)

    @app.get("/later/{number}")
    async def later(number: int, tasks: BackgroundTasks) -> int:
        tasks.add_task(work)
        return number

    @app.get("/task")
    async def task(tasks: BackgroundTasks) -> None:
        tasks.add_task(long_work)

    @app.get("/stream")
    async def stream(tasks: BackgroundTasks) -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            yield b"a"
            await asyncio.sleep(PART_SECONDS)
            yield b"b"

        return StreamingResponse(parts(), background=tasks)

    @app.get("/fails")
    async def fails() -> None:
        raise RuntimeError("a bug")

    @app.get("/plain")
    async def plain() -> Response:
        return Response(b"yes")

    seen.telemetry.instrument(app)
    return app


async def test_a_duration_ends_with_the_last_byte(settings: TelemetrySettings) -> None:
    """Not with the background task; and a stream lasts until its last part."""
    with capture(settings) as seen:
        async with serve(build(seen, asyncio.Event())) as url, http_client(url) as client:
            for path in ("/task", "/stream"):
                assert (await client.get(path)).status_code == 200
        assert seen.value(f"{DURATION}_count") == 2  # the server has ended, and waited for the task
        task = seen.value(f"{DURATION}_sum", http_route="/task")
        stream = seen.value(f"{DURATION}_sum", http_route="/stream")
        assert task is not None
        assert task < TASK_SECONDS / 2
        assert stream is not None
        assert PART_SECONDS <= stream < PART_SECONDS + TASK_SECONDS / 2


async def test_who_has_the_answer_finds_it_counted(settings: TelemetrySettings) -> None:
    """While its background task goes on, the request is in `/metrics`, and no longer under way."""
    release = asyncio.Event()
    with capture(settings) as seen:
        async with serve(build(seen, release)) as url, http_client(url) as client:
            for number in range(3):
                await client.get(f"/later/{number}")
                assert seen.value(f"{DURATION}_count", http_route="/later/{number}") == number + 1
                assert seen.value("http_server_active_requests") == 0
            release.set()


async def test_every_request_is_counted_once(settings: TelemetrySettings) -> None:
    """The same series with the same counts, whatever is recorded; and the listener hears of each."""
    heard: list[tuple[Any, ...]] = []
    with capture(settings) as seen:
        seen.telemetry.on_request(lambda method, route, status, _: heard.append((method, route, status)))
        app = build(seen, asyncio.Event())
        async with serve(app, log_level="critical") as url, http_client(url) as client:
            for number in range(REQUESTS):
                await client.get(("/plain", "/fails", "/nowhere")[number % 3])
        counted = {
            (dict(labels).get("http_route", ""), dict(labels)["http_response_status_code"]): value
            for (name, labels), value in seen.metrics().items()
            if name == f"{DURATION}_count"
        }
        assert counted == {("/plain", "200"): 34, ("/fails", "500"): 33, ("", "404"): 33}
        assert len(heard) == REQUESTS
        assert {(route, str(status)) for _, route, status in heard} == counted.keys()
        assert seen.value("http_server_active_requests") == 0
        recorded = len([span for span in seen.spans() if span.attributes and "url.path" in span.attributes])
        assert recorded == REQUESTS * (settings.sampler_arg == 1) or 0 < settings.sampler_arg < 1


async def test_an_answer_that_stops_midway_is_counted_once(settings: TelemetrySettings) -> None:
    """With the status that it began with; and it is not under way for ever."""
    with capture(settings) as seen:
        app = FastAPI(telemetry=seen.telemetry.fastapi_config())

        @app.get("/half")
        async def half() -> StreamingResponse:
            async def parts() -> AsyncIterator[bytes]:
                yield b"a"
                raise RuntimeError("gone")

            return StreamingResponse(parts())

        seen.telemetry.instrument(app)
        async with serve(app, log_level="critical") as url, http_client(url) as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get("/half")
            await wait_until(lambda: seen.value(f"{DURATION}_count") == 1, what="it is counted")
        assert seen.value(f"{DURATION}_count", http_route="/half", http_response_status_code="200") == 1
        assert seen.value("http_server_active_requests") == 0
