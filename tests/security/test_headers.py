"""What the server tells a browser with every answer, whoever makes it: a page, a route, the server itself."""

import pytest

from service.processes.server import SECURITY_HEADERS
from tests.security.wire import exchange, request
from tests.support.service import ADMIN_TOKEN, Fleet

BEARER = f"Authorization: Bearer {ADMIN_TOKEN}"
WS = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
CLOSE = "Connection: close"
ANSWERS = {
    "the live page": (200, request("GET / HTTP/1.1", CLOSE)),
    "the shop": (200, request("GET /shop HTTP/1.1", CLOSE)),
    "a page's file": (200, request("GET /page/live.js HTTP/1.1", CLOSE)),
    "the documents' page": (200, request("GET /docs HTTP/1.1", CLOSE)),
    "the OpenAPI document": (200, request("GET /openapi.json HTTP/1.1", CLOSE)),
    "a list": (200, request("GET /inventory HTTP/1.1", CLOSE)),
    "an order": (
        202,
        request(
            *("POST /orders HTTP/1.1", "Content-Type: application/json", CLOSE),
            body=b'{"product_id":"shirt","user_id":"ada","quantity":1}',
        ),
    ),
    "figures": (200, request("GET /metrics HTTP/1.1", CLOSE)),
    "a probe": (200, request("GET /healthz HTTP/1.1", CLOSE)),
    "an admin's answer": (
        200,
        request(
            "PATCH /inventory/shirt HTTP/1.1",
            "Content-Type: application/json",
            BEARER,
            CLOSE,
            body=b'{"name":"A shirt"}',
        ),
    ),
    "a page that is none": (404, request("GET /nothing HTTP/1.1", CLOSE)),
    "a file that is none": (404, request("GET /page/nothing.js HTTP/1.1", CLOSE)),
    "a token that is none": (401, request("PATCH /inventory/shirt HTTP/1.1", CLOSE, body=b"{}")),
    "a handshake refused": (
        403,
        request("GET /monitoring HTTP/1.1", *WS, "Sec-WebSocket-Version: 13", "Origin: https://elsewhere.example"),
    ),
    "what the server refuses": (400, request("GET / HTTP/1.1", host=None)),
    "what is no HTTP": (400, b"hello\r\n\r\n"),
}


@pytest.mark.parametrize(("status", "sent"), ANSWERS.values(), ids=ANSWERS)
def test_every_answer_forbids_what_a_browser_would_do_with_it(fleet: Fleet, status: int, sent: bytes) -> None:
    """Not to be framed, not to be taken for another type, not to be read by other origins, not to be told of."""
    (answer,) = exchange(fleet.url, sent)
    assert answer.status == status
    found = {name: answer.headers.get(name.lower(), "") for name in SECURITY_HEADERS}
    policy = found.pop("Content-Security-Policy")
    assert found == {name: SECURITY_HEADERS[name] for name in found}
    assert SECURITY_HEADERS["Content-Security-Policy"] in policy
    assert "frame-ancestors 'none'" in policy
