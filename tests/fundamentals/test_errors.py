"""Every error is a problem, carries the id of the request's own trace, and a crash tells the caller nothing."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
import structlog
from fastapi import Request
from opentelemetry.trace import SpanKind, format_trace_id

from service.problems import PROBLEMS, Problem
from telemetry.settings import INTERCEPTORS
from tests.support import RedisServer, wait_until
from tests.support.service import Fleet
from tests.support.shop import Shop, open_shop, problem

SECRET = "a-secret-of-the-crash"  # noqa: S105 - what must not leak


@pytest.fixture(params=INTERCEPTORS)
async def shop(valkey_server: RedisServer, request: pytest.FixtureRequest) -> AsyncIterator[Shop]:
    """Yield an API with one lamp, under either interceptor."""
    async with open_shop(valkey_server.url, interceptor=request.param) as shop:
        await shop.put(stock=1)
        yield shop


async def crash(request: Request) -> None:
    """Fail in a way that has something to tell."""
    raise ZeroDivisionError(f"{SECRET} {request.url.path}")


def refused(shop: Shop) -> list[tuple[int, str, Callable[[], Awaitable[httpx.Response]]]]:
    """Return requests that are refused, with the status and code of their answers."""
    client = shop.client
    return [
        (404, "not_found", lambda: client.get("/nope")),
        (405, "method_not_allowed", lambda: client.delete("/orders")),
        (413, "payload_too_large", lambda: client.post("/orders", content=b"x" * 70_000)),
        (415, "unsupported_media_type", lambda: client.post("/orders", content=b"{}")),
        (422, "invalid", lambda: shop.order(quantity=0)),
        (409, "sold_out", lambda: shop.order(quantity=2)),
        (404, "unknown_product", lambda: shop.order(product_id="dodo")),
        (404, "unknown_order", lambda: client.get("/orders/x")),
        (401, "unauthorized", lambda: client.patch("/inventory/lamp", json={"stock": 2})),
        (500, "internal_error", lambda: client.get("/crash")),
    ]


async def test_each_problem_has_the_trace_id_of_its_server_span(shop: Shop) -> None:
    """One span per request, a root of its own, over a connection that is kept: whoever has the id finds the request."""
    shop.app.add_api_route("/crash", crash)
    for status, code, send in refused(shop):
        before = len(shop.seen.spans())
        body = problem(await send(), status, code)
        await wait_until(lambda at=before: len(shop.seen.spans()) > at, 5, "the span has ended")  # type: ignore[misc]
        servers = [span for span in shop.seen.spans()[before:] if span.kind is SpanKind.SERVER]
        assert [(format_trace_id(span.context.trace_id), span.parent) for span in servers] == [(body["trace_id"], None)]
        assert (servers[0].attributes or {})["http.response.status_code"] == status


async def test_a_refusal_is_no_error_of_the_service(shop: Shop) -> None:
    """Only a 5xx marks its span as an error."""
    shop.app.add_api_route("/crash", crash)
    for status, _, send in refused(shop):
        before = len(shop.seen.spans())
        await send()
        await wait_until(lambda at=before: len(shop.seen.spans()) > at, 5, "the span has ended")  # type: ignore[misc]
        span = next(span for span in shop.seen.spans()[before:] if span.kind is SpanKind.SERVER)
        assert span.status.is_ok == (status < 500), span.name


async def test_a_client_may_join_its_own_trace(shop: Shop) -> None:
    """The id in the problem is that of the `traceparent` that came with the request."""
    trace = "0af7651916cd43dd8448eb211c80319c"
    answer = await shop.client.get("/nope", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    assert problem(answer, 404, "not_found")["trace_id"] == trace


async def test_a_crash_is_a_problem_that_gives_nothing_away(shop: Shop) -> None:
    """500, and not a word of what went wrong."""
    shop.app.add_api_route("/crash", crash)
    answer = await shop.client.get("/crash")
    problem(answer, 500, "internal_error")
    for leak in (SECRET, "ZeroDivision", "Traceback", "service/", ".py"):
        assert leak not in answer.text
        assert leak not in str(answer.headers)


async def test_a_crash_is_one_log_line_with_its_traceback(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """Of ours; the server adds none of its own."""
    shop.app.add_api_route("/crash", crash)
    with structlog.testing.capture_logs() as logs:
        await shop.client.get("/crash")
    errors = [line for line in logs if line["log_level"] == "error"]
    assert [(line["event"], line["route"], line["method"]) for line in errors] == [("request failed", "/crash", "GET")]
    assert SECRET in str(errors[0]["exc_info"])
    assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


async def test_a_crash_is_counted_as_a_rejection_of_its_order(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """An order that met a mistake of ours is in the figures; the next one is served."""

    async def broken(**_: Any) -> None:
        raise ZeroDivisionError(SECRET)

    with monkeypatch.context() as patch:
        patch.setattr(shop.service.placer, "place", broken)
        problem(await shop.order(), 500, "internal_error")
    assert await shop.rejections(reason="internal_error") == 1
    assert (await shop.order()).status_code == 202


def test_the_table_of_problems_is_sound() -> None:
    """Codes are words, titles are sentences, statuses are errors; a problem without a detail says its title."""
    for code, kind in PROBLEMS.items():
        assert re.fullmatch("[a-z]+(_[a-z]+)*", code)
        assert 400 <= kind.status < 600
        assert kind.title[0].isupper()
        assert Problem(code).detail == kind.title


def test_requests_in_one_packet_have_traces_of_their_own(valkey_server: RedisServer) -> None:
    """Over a real process: pipelined requests do not begin inside one another's spans."""

    async def pipelined(url: str) -> bytes:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        request = f"GET /nope HTTP/1.1\r\nHost: {host}\r\n\r\n"
        last = f"GET /nope HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        writer.write((request * 4 + last).encode())
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        await writer.wait_closed()
        return answer

    with Fleet(valkey_server.url, command="api") as fleet:
        answer = asyncio.run(pipelined(fleet.url)).decode()
    ids = re.findall(r'"trace_id":"([0-9a-f]{32})"', answer)
    assert (len(ids), len(set(ids))) == (5, 5)


async def test_the_problems_of_the_document_are_those_of_the_table(shop: Shop) -> None:
    """Each status that a route documents is a problem that the table has, in the shape that it really has."""
    document = (await shop.client.get("/openapi.json")).json()
    statuses = {str(kind.status) for kind in PROBLEMS.values()}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                if status[0] in "45":
                    assert status in statuses, (method, path)
                    assert list(response["content"]) == ["application/problem+json"], (method, path, status)
    assert "HTTPValidationError" not in json.dumps(document)
