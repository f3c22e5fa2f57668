"""A client that sends exactly the bytes it is given, and reads every answer that comes back."""

import io
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from http.client import HTTPResponse
from typing import NamedTuple, cast
from urllib.parse import urlsplit

from tests.support.counts import count

LAST = b"GET /healthz HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"
"""A request after which the server closes the connection: whoever reads to the end has every answer."""


class Answer(NamedTuple):
    """One answer; the names of its headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def request(
    line: str = "POST /orders HTTP/1.1",
    *headers: str,
    body: bytes = b"",
    host: str | None = "shop",
    length: bool = True,
) -> bytes:
    """Return a request: its line, `Host`, the headers as given, the body's length, the body."""
    fields = [f"Host: {host}"] if host is not None else []
    fields += headers
    fields += [f"Content-Length: {len(body)}"] if body and length else []
    return "\r\n".join([line, *fields, "", ""]).encode("latin-1") + body


def chunked(*pieces: bytes, trailer: bytes = b"") -> bytes:
    """Return a body in chunks."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + trailer + b"\r\n"


@contextmanager
def connected(url: str, timeout: float = 20) -> Iterator[socket.socket]:
    """Open a connection to the server of a URL."""
    address = urlsplit(url)
    count("connections")
    with socket.create_connection((address.hostname or "", address.port or 80), timeout=timeout) as open_socket:
        yield open_socket


def received(connection: socket.socket) -> bytes:
    """Read until the server closes; one that resets the connection has sent what it has sent."""
    pieces = []
    try:
        while piece := connection.recv(65536):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    return b"".join(pieces)


def next_answer(connection: socket.socket) -> Answer:
    """Read one answer to its end, and no further: its head and its body may come one after the other."""
    with connection.makefile("rb", buffering=0) as file:
        response = HTTPResponse(cast("socket.socket", _Whole(file)))
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, b"".join(iter(partial(response.read, 1), b"")))


class _Whole:
    """Bytes in the shape that `HTTPResponse` reads from: all answers of a connection come from one file."""

    def __init__(self, file: io.IOBase) -> None:
        self._file = file

    def makefile(self, *_: object) -> io.BufferedReader:
        return cast("io.BufferedReader", _Unclosed(self._file))


class _Unclosed:
    def __init__(self, file: io.IOBase) -> None:
        self._file = file

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def close(self) -> None:
        pass


def answers(data: bytes, methods: Iterable[str] = ()) -> list[Answer]:
    """Take the answers of a connection apart; `methods` are those of its requests, where one is HEAD."""
    file, found, order = io.BytesIO(data), list[Answer](), iter(methods)
    while file.tell() < len(data):
        response = HTTPResponse(cast("socket.socket", _Whole(file)), method=next(order, "POST"))
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        found.append(Answer(response.status, headers, response.read()))
        count(f"{response.status // 100}xx")
    return found


def exchange(url: str, *pieces: bytes, half_close: bool = False) -> list[Answer]:
    """Send pieces, each when the one before has left, and return all answers up to the end of the connection."""
    with connected(url) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                connection.sendall(piece)
                count("sent", len(piece))
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        except (ConnectionResetError, BrokenPipeError):
            pass  # it has answered and gone
        return answers(received(connection))


def statuses(url: str, *pieces: bytes, half_close: bool = False) -> list[int]:
    """Return the statuses of `exchange`."""
    return [answer.status for answer in exchange(url, *pieces, half_close=half_close)]
