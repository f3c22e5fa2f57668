"""One request and its answer on a connection: uvicorn's, with a head that is put together in one pass.

uvicorn searches each field of each answer for what may not stand there, those too that the server says with every one.
These are put together once (`SharedFields`); what the application says is looked at as before.
"""

import re
from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

_NO_NAME = re.compile(b'[\x00-\x1f\x7f()<>@,;:\\[\\]={} \t\\\\"]')
_NO_VALUE = re.compile(b"[\x00-\x08\x0a-\x1f\x7f]")
_PLAIN = frozenset((b"content-type", b"location"))
"""Names that frame nothing, and are right: those of most answers."""
_START = "http.response.start"
_WITHOUT_BODY = frozenset((204, 304))

Field = tuple[bytes, bytes]


class SharedFields:
    """The fields that the server says with every answer, as they go over the wire."""

    def __init__(self) -> None:
        self._fields: list[Field] | None = None
        self._lines = b""

    def lines(self, fields: list[Field]) -> bytes:
        """Return them; uvicorn makes a new list when the date has changed."""
        if fields is not self._fields:
            self._fields, self._lines = fields, b"".join(b"%s: %s\r\n" % field for field in fields)
        return self._lines


class ResponseCycle(RequestResponseCycle):
    """uvicorn's, which begins its answer by itself.

    Args:
        shared: What the server says with every answer.
        options: As uvicorn's.
    """

    def __init__(self, shared: SharedFields, **options: Any) -> None:  # noqa: ANN401 - as uvicorn's
        super().__init__(**options)
        self._shared = shared
        self._says_closing = False

    async def send(self, message: Any) -> None:  # noqa: ANN401 - uvicorn's name for it is private
        """Send a part of the answer."""
        if self.response_started or self.disconnected or self.flow.write_paused or message["type"] != _START:
            await super().send(message)
            return
        self.response_started = True
        self.waiting_for_100_continue = False
        self.transport.write(self._head(message["status"], message.get("headers", ())))

    def _head(self, status: int, fields: Iterable[Field]) -> bytes:
        """Put the head together, and note what it says of the body and the connection.

        Raises:
            RuntimeError: A field has a name or a value that would be read as something else.
        """
        lines = [STATUS_LINE[status], self._shared.lines(self.default_headers)]
        for name, value in fields:
            if _NO_VALUE.search(value):
                raise RuntimeError("Invalid HTTP header value.")
            if name not in _PLAIN:
                if _NO_NAME.search(name):
                    raise RuntimeError("Invalid HTTP header name.")
                self._note(name.lower(), value)
            lines.append(b"%s: %s\r\n" % (name.lower(), value))
        if not self.keep_alive and not self._says_closing:
            lines.append(b"connection: close\r\n")
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in _WITHOUT_BODY:
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)

    def _note(self, name: bytes, value: bytes) -> None:
        """Note a field that may say where the answer ends."""
        if name == b"content-length" and self.chunked_encoding is None:
            self.expected_content_length, self.chunked_encoding = int(value), False
        elif name == b"transfer-encoding" and value.lower() == b"chunked":
            self.expected_content_length, self.chunked_encoding = 0, True
        elif name == b"connection" and b"close" in [token.lower().strip() for token in value.split(b",")]:
            self.keep_alive, self._says_closing = False, True
