"""Where each request of a connection begins and ends: llhttp's word, with an upgrade that is not taken ignored.

llhttp stops after the head of a request that asks for an upgrade, and takes what follows for another protocol. uvicorn
0.54 goes on with it as if it were the next request, so the body of `POST` with `Upgrade: h2c`, which stock Java
clients send, would be a request of the client's making. RFC 9110, section 7.8: an upgrade that is not taken is ignored.
So llhttp is given the head once more without the upgrade, and finds the end of the body itself.
"""

import asyncio
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.host_names import HostNames
from service.problems import Problem
from service.processes.request_head import (
    CHECKED,
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    MAX_LINE_BYTES,
    MAX_TARGET_BYTES,
    Fields,
    add_field,
    check_head,
    framing_head,
    is_handshake,
)
from service.processes.response_cycle import ResponseCycle, SharedFields

HEAD: Final = "head"
BODY: Final = "body"
BETWEEN: Final = "between"  # two requests
TELL_NOTHING: Final = frozenset((b"/healthz", b"/readyz"))  # may be asked for under any name, as probes do


class FramedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with the parser's callbacks checked.

    Args:
        websocket_paths: The paths on which a WebSocket handshake is taken.
        host_names: Under which names we may be asked.
        root_path: What a proxy in front may have put before each path; it is taken away where it stands.
    """

    def __init__(
        self,
        *args: Any,  # noqa: ANN401 - as uvicorn's
        websocket_paths: frozenset[bytes],
        host_names: HostNames,
        root_path: bytes = b"",
        **options: Any,  # noqa: ANN401 - as uvicorn's
    ) -> None:
        super().__init__(*args, **options)
        self.part = BETWEEN
        self.handshake = False
        self.leaving = False  # takes no further request
        self.refusal: Problem | None = None  # of what came last; answered after all that came before
        self.running: RequestResponseCycle | None = None
        self._continuing = False  # the client waits to be told to send the body
        self._websocket_paths = websocket_paths
        self._host_names = host_names
        self._root_path = root_path
        self._shared_fields = SharedFields()
        self._fields: Fields = {}
        self._head_bytes = 0
        self._fed_bytes = 0
        self._reframing = False

    def parse(self, data: bytes) -> bytes | None:
        """Give data to llhttp.

        Returns:
            None; after a WebSocket handshake, what came behind it.

        Raises:
            Problem: What came is refused, and so is all that follows.
        """
        try:
            while True:
                try:
                    self.parser.feed_data(data)
                    break
                except httptools.HttpParserUpgrade as stopped:
                    rest = data[stopped.args[0] :]
                    if self.handshake:
                        return rest
                    self._reframing = True
                    data = self._framing_head() + rest
        except httptools.HttpParserError as error:
            refused = error.__context__
            raise refused if isinstance(refused, Problem) else Problem("bad_request", "This is not HTTP/1.1.") from None
        if self.part is HEAD:
            self._fed_bytes += len(data)
            if self._fed_bytes > 2 * MAX_HEAD_BYTES:  # one field that does not end
                raise Problem("headers_too_large")
        return None

    def takes(self, path: bytes) -> None:
        """Return whether this connection may ask for a path.

        Raises:
            Problem: It may not.
        """

    def unanswered(self) -> Iterator[RequestResponseCycle]:
        """Return the requests that are not answered, in turn."""
        if self.running is not None and not self.running.response_complete:
            yield self.running
        yield from (cycle for cycle, _ in reversed(self.pipeline))

    def idle(self) -> bool:
        """Whether all requests are answered."""
        return not self.pipeline and (self.running is None or self.running.response_complete)

    def on_message_begin(self) -> None:
        """Begin a request, unless this is the head that frames the body of the one before."""
        if not self._reframing:
            self.part = HEAD
            self._fields = {}
            self._head_bytes = self._fed_bytes = 0
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        if not self._reframing:
            self.url += url
            if len(self.url) > MAX_TARGET_BYTES:
                raise Problem("uri_too_long", f"A request's target may have {MAX_TARGET_BYTES} bytes.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the head; one of the trailer counts towards its size and is dropped (RFC 9110, 6.5.1)."""
        if self._reframing:
            return
        size = len(name) + len(value) + 4
        self._head_bytes += size
        headers = self.headers
        if size > MAX_LINE_BYTES or self._head_bytes > MAX_HEAD_BYTES or len(headers) >= MAX_FIELDS:
            raise Problem(
                "headers_too_large",
                f"A head may have {MAX_FIELDS} fields of {MAX_LINE_BYTES} bytes, and {MAX_HEAD_BYTES} bytes in all.",
            )
        if self.part is HEAD:
            name = name.lower()
            if name in CHECKED:
                add_field(self._fields, name, value)
            headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Check the head, which is whole, and start the application or leave the request to the handshake."""
        if self._reframing:
            self._reframing = False
            return
        method, version = self.parser.get_method(), self.parser.get_http_version()
        check_head(method, version, self._fields)
        if self._root_path and self.url.startswith(self._root_path + b"/"):
            self.url = self.url[len(self._root_path) :]
        path = self.url.partition(b"?")[0]
        if not self._host_names.allow(self._fields.get(b"host", b"")) and path not in TELL_NOTHING:
            raise Problem("host_refused", "ALLOWED_HOSTS does not name the host of this request.")
        self.takes(path)
        self.handshake = (
            self.parser.should_upgrade()
            and path in self._websocket_paths
            and is_handshake(method, version, self._fields)
            and self.idle()
        )
        self.expect_100_continue = (
            b"expect" in self._fields and version == "1.1" and self._fields[b"expect"].lower() == b"100-continue"
        )
        self._begin(method, version)
        self.part = BETWEEN if self.handshake else BODY
        self._continuing = self.expect_100_continue and not self.handshake and self.cycle.keep_alive
        if self._continuing:
            # A client that is answered before it sent the body may still send it, or the next request instead.
            self.cycle.keep_alive = False

    def _begin(self, method: bytes, version: str) -> None:
        """Begin the request, or have it wait for the one in front: as uvicorn, but for the kind of the cycle."""
        scope = self.scope
        scope["method"] = method.decode("ascii")
        if version != "1.1":
            scope["http_version"] = version
        if self.handshake:
            return
        target = httptools.parse_url(self.url)
        path = target.path.decode("ascii")
        scope["path"] = self.root_path + (unquote(path) if "%" in path else path)
        scope["raw_path"] = self.root_path.encode("ascii") + target.path
        scope["query_string"] = target.query or b""
        before = self.cycle
        self.cycle = ResponseCycle(
            self._shared_fields,
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        if self._continuing:
            self._body_comes()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the request is whole; one that asks for an upgrade is so only after its body."""
        if not self.parser.should_upgrade():
            self.part = BETWEEN
            if self._continuing:
                self._body_comes()
            super().on_message_complete()

    def _body_comes(self) -> None:
        """Note that the client sends the body, or that there is none: it no longer waits (RFC 9110, 10.1.1)."""
        if not self.cycle.response_started:
            self._continuing = False
            self.cycle.waiting_for_100_continue = False
            self.cycle.keep_alive = not self.leaving

    def _should_upgrade(self) -> bool:
        return self.handshake

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ANN401 - as uvicorn's
        self.running = cycle
        if self.leaving and not self.pipeline and self.refusal is None:  # a refusal is the last answer
            cycle.keep_alive = False
        super()._start_asgi_task(cycle, app)

    def _framing_head(self) -> bytes:
        version, keep_alive = self.scope["http_version"], self.cycle.keep_alive or self._continuing
        return framing_head(self.parser.get_method(), version, self._fields, keep_alive=keep_alive)
