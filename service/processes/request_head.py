"""What the head of a request must be before the application sees it (RFC 9110 and 9112).

llhttp, uvicorn's parser, frames requests and refuses most of what is ambiguous. What it lets through, and what a second
reader (a proxy in front, the application) could understand otherwise, is refused here, from the fields as llhttp
gives them: nothing is parsed twice.
"""

import re
from functools import lru_cache

from service.problems import Problem

MAX_HEAD_BYTES = 32 * 1024
MAX_LINE_BYTES = 8 * 1024  # also the longest line that the WebSocket library takes
MAX_TARGET_BYTES = 8000
MAX_FIELDS = 100
MAX_LENGTH_DIGITS = 19  # of Content-Length: what llhttp counts in; zeros in front may not be without end

SINGLETONS = frozenset(
    (
        b"authorization",
        b"content-length",
        b"content-type",
        b"host",
        b"idempotency-key",
        b"if-match",
        b"last-event-id",
        b"origin",
        b"sale-ticket",
        b"sec-websocket-key",
        b"sec-websocket-version",
    )
)
CHECKED = SINGLETONS | {b"expect", b"transfer-encoding", b"upgrade"}
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]+)(?::[0-9]*)?")
_WEBSOCKET_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")

Fields = dict[bytes, bytes]
"""The fields of a head that are `CHECKED`, each with its one value; `Transfer-Encoding` may have several lines."""


def add_field(fields: Fields, name: bytes, value: bytes) -> None:
    """Note a field that is `CHECKED`.

    Raises:
        Problem: It stands there twice with two values, or is a `Host` and stands there twice at all.
    """
    if name not in fields:
        fields[name] = value
    elif name in SINGLETONS:
        if name == b"host" or fields[name] != value:
            raise Problem("bad_request", f"The header {name.decode()} is there more than once.")
    else:
        fields[name] += b"," + value


def check_head(method: bytes, version: str, fields: Fields) -> None:
    """Check a head that is complete.

    Raises:
        Problem: The request cannot be served, or could be understood in two ways.
    """
    if version not in {"1.1", "1.0"}:
        raise Problem("version_not_supported", "The service speaks HTTP/1.1.")
    host = fields.get(b"host")
    if host is None:
        if version == "1.1":
            raise Problem("bad_request", "A request needs the header Host (RFC 9112, section 3.2).")
    elif not _names_host(host):
        raise Problem("bad_request", "The header Host names no host.")
    coding = fields.get(b"transfer-encoding")
    if coding is not None:
        if version == "1.0":
            raise Problem("bad_request", "HTTP/1.0 knows no Transfer-Encoding (RFC 9112, section 6.1).")
        if coding.strip().lower() != b"chunked":
            raise Problem("not_implemented", "The only Transfer-Encoding here is chunked.")
    if len(fields.get(b"content-length", b"").strip()) > MAX_LENGTH_DIGITS:
        raise Problem("bad_request", "The header Content-Length is no length.")
    if method == b"CONNECT":
        raise Problem("not_implemented", "This is no proxy.")


@lru_cache(maxsize=128)  # all clients ask under a few names
def _names_host(value: bytes) -> bool:
    return _HOST.fullmatch(value.strip()) is not None


def is_handshake(method: bytes, version: str, fields: Fields) -> bool:
    """Whether a head that asks for an upgrade is a WebSocket handshake (RFC 6455, section 4.2.1)."""
    return (
        method == b"GET"
        and version == "1.1"
        and fields.get(b"upgrade", b"").strip().lower() == b"websocket"
        and _WEBSOCKET_KEY.fullmatch(fields.get(b"sec-websocket-key", b"").strip()) is not None
        and fields.get(b"sec-websocket-version", b"").strip() == b"13"
        and b"transfer-encoding" not in fields
        and not fields.get(b"content-length", b"").strip(b" \t0")
    )


def framing_head(method: bytes, version: str, fields: Fields, *, keep_alive: bool) -> bytes:
    """Reduce the head of a request to what frames its body, without the upgrade that is not taken."""
    framing = [name for name in (b"content-length", b"transfer-encoding") if name in fields]
    lines = [method + b" / HTTP/" + version.encode(), *(name + b": " + fields[name] for name in framing)]
    return b"\r\n".join([*lines, b"connection: " + (b"keep-alive" if keep_alive else b"close"), b"", b""])
