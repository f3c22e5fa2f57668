"""A merchant's endpoint for webhooks on loopback: takes all or, when it is told to, nothing. For drills and tests."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the example of the specification


class Merchant:
    """What the endpoint does.

    Attributes:
        down: Whether it answers 503.
        variables: What tells the service of it.
    """

    def __init__(self, port: int) -> None:
        self.down = False
        self.variables: Mapping[str, str] = {
            "WEBHOOK_URL": f"http://127.0.0.1:{port}/webhooks",
            "WEBHOOK_SECRET": SECRET,
        }


@contextmanager
def merchant() -> Iterator[Merchant]:
    """Run the endpoint in a thread of its own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Endpoint)
    server.merchant = Merchant(server.server_port)  # type: ignore[attr-defined] # handlers know their server only
    thread = threading.Thread(target=server.serve_forever, name="merchant", daemon=True)
    thread.start()
    try:
        yield server.merchant  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Endpoint(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_POST(self) -> None:
        """Take an event, or do not."""
        self.rfile.read(int(self.headers["Content-Length"]))
        down = self.server.merchant.down  # type: ignore[attr-defined]
        self.send_response(HTTPStatus.SERVICE_UNAVAILABLE if down else HTTPStatus.NO_CONTENT)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Write nothing."""
