"""What is secret in a URL is neither logged nor exported, by whatever way it would leave."""

import io
import json
import logging
import time

import pytest
from fastapi import FastAPI, WebSocket

from telemetry import TelemetrySettings, configure_logging
from telemetry.redaction import redact_query, redact_text, redact_url
from telemetry.settings import INTERCEPTORS, Interceptor
from telemetry.testing import capture
from tests.support import serve
from tests.support.http import http_client

SECRET = "hunter2SECRET"  # noqa: S105 - it is nobody's
NAMES = [
    *(
        "token",
        "access_token",
        "refreshToken",
        "id-token",
        "password",
        "passwd",
        "pwd",
        "pass",
        "secret",
        "client_secret",
    ),
    *("api_key", "apikey", "API-Key", "key", "sig", "signature", "X-Amz-Signature", "X-Amz-Credential", "hmac"),
    *("X-Amz-Security-Token", "X-Goog-Signature", "auth", "authorization", "jwt", "session_id", "PHPSESSID", "sid"),
    *(
        "code",
        "otp",
        "cookie",
        "private_key",
        "AWSAccessKeyId",
        "user[password]",
        "client_secret",
    ),
]
HARMLESS = "page=2&product_id=lamp&monkey=1&sort=-price&codes=7&signal=b&passenger=ada&empty=&flag"


@pytest.mark.parametrize("name", [*NAMES, "%74oken", "to%6Ben", "api%5Fkey"])
def test_a_parameter_that_holds_a_secret_is_blanked(name: str) -> None:
    """In a query, in a URL and in a line of text; what is beside it stays."""
    query = f"page=2&{name}={SECRET}&sort=up"
    assert redact_query(query) == f"page=2&{name}=REDACTED&sort=up"
    assert redact_url(f"https://shop/a?{query}") == f"https://shop/a?page=2&{name}=REDACTED&sort=up"
    line = redact_text(f'127.0.0.1:5 - "GET /items/a?{query} HTTP/1.1" 200')
    assert SECRET not in line
    assert line.endswith('&sort=up HTTP/1.1" 200')


def test_what_is_no_secret_stays() -> None:
    """Letter by letter."""
    assert redact_query(HARMLESS) == HARMLESS
    text = f'"GET /items?{HARMLESS} HTTP/1.1" 200: 3 passes, tokens: none, status=ok'
    assert redact_text(text) == text


@pytest.mark.parametrize(
    "text",
    [
        f"password={SECRET}",
        f"login failed for ada, password={SECRET}, try again",
        f'{{"token": "{SECRET}"}}',
        f"{{'api_key': '{SECRET}'}}",
        f"https://ada:{SECRET}@shop/",
        f"Authorization: Bearer {SECRET}",
        f"redirected to https://shop/?access_token={SECRET}#top",
    ],
)
def test_a_secret_in_a_message_is_blanked(text: str) -> None:
    """Whoever writes it."""
    assert SECRET not in redact_text(text)


@pytest.mark.parametrize("unit", ["a", "a=", "?a", "a?b=c", "://", "bearer ", "token", "%74", "&", "=", "[", "a:'"])
def test_a_long_line_costs_no_more_than_its_length(unit: str) -> None:
    """A client chooses what is in its URL, up to 64 KiB of it."""

    def seconds(length: int) -> float:
        text = f"GET /{unit * (length // len(unit))}! HTTP k=v"
        begun = time.process_time()
        redact_text(text)
        redact_url(f"http://shop{text}")
        return time.process_time() - begun

    assert seconds(64_000) < 0.5


@pytest.mark.parametrize("interceptor", INTERCEPTORS)
@pytest.mark.parametrize("traces", [0, 1000])
async def test_a_token_in_a_query_leaves_by_no_way(interceptor: Interceptor, traces: int) -> None:
    """Spans of requests, recorded or written late, of WebSockets and of clients; and the server's access line."""
    stream = io.StringIO()
    settings = TelemetrySettings(
        service_name="shop", interceptor=interceptor, traces_per_second=traces, slow_seconds=0.0001
    )
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    configure_logging(stream=stream)
    try:
        with capture(settings) as seen:
            app = FastAPI(telemetry=seen.telemetry.fastapi_config())

            @app.get("/items/{item}")
            async def item(item: str, token: str) -> dict[str, str]:
                return {"item": item, "token": token}

            @app.websocket("/live")
            async def live(socket: WebSocket) -> None:
                await socket.accept()
                await socket.close()

            seen.telemetry.instrument(app)
            async with serve(app, log_config=None) as url, http_client(url) as client:
                seen.telemetry.instrument_client(client)
                path = f"/items/a?token={SECRET}&page=2"
                answer = await client.get(path)
                assert answer.json() == {"item": "a", "token": SECRET}  # the application sees it
            await open_socket(app)
            spans = [span.to_json() for span in seen.spans()]
            assert spans
            assert SECRET not in "".join(spans)
            if traces:
                assert any("page=2" in span for span in spans)
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    assert SECRET not in stream.getvalue()
    events = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert any("token=REDACTED&page=2" in event for event in events)


async def open_socket(app: FastAPI) -> None:
    """Open a WebSocket that the application closes."""
    incoming = iter([{"type": "websocket.connect"}])

    async def receive() -> dict[str, str]:
        return next(incoming)

    async def send(_: object) -> None:
        pass

    scope = {"type": "websocket", "path": "/live", "raw_path": b"", "query_string": f"token={SECRET}".encode()}
    await app({**scope, "headers": []}, receive, send)
