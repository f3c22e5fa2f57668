"""Answers that many ask for again and again: a tag, so that what is known costs no body, and a compressed form."""

import gzip
import hashlib
from typing import Any

from fastapi import Request, Response
from pydantic import BaseModel

SMALL_BYTES = 1024
"""What is smaller is not worth compressing: it fits into one packet."""

_TAGGED = {"ETag": {"description": "the figures' tag, for `If-None-Match`", "schema": {"type": "string"}}}
POLLED: dict[int | str, dict[str, Any]] = {
    200: {"headers": _TAGGED},
    304: {"description": "as `If-None-Match` has it", "headers": _TAGGED},
}
"""The `responses` of a route that is polled."""


def is_known(request: Request, etag: str) -> bool:
    """Whether the client has this already, as its `If-None-Match` says (RFC 9110, 13.1.2: compared weakly)."""
    given = ",".join(request.headers.getlist("if-none-match"))
    return bool({tag.strip().removeprefix("W/") for tag in given.split(",")} & {etag.removeprefix("W/"), "*"})


def takes_gzip(request: Request) -> bool:
    """Whether the client takes gzip, as its `Accept-Encoding` says; the most specific word counts, and `q=0` is no."""
    weights: dict[str, bool] = {}
    for entry in ",".join(request.headers.getlist("accept-encoding")).lower().split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        weights[name] = not any(_is_zero(parameter) for parameter in parameters)
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", False)))


def _is_zero(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    return name.strip() == "q" and value.strip().rstrip("0") in ("0.", "")


class PolledJson:
    """JSON that is polled. What was compressed for one is kept for the next, as long as it is the same.

    Args:
        cache_control: How long others may keep it.
    """

    def __init__(self, cache_control: str) -> None:
        self._cache_control = cache_control
        self._compressed: tuple[str, bytes] = ("", b"")

    def answer(self, request: Request, model: BaseModel) -> Response:
        """Return the model, compressed for whoever takes that, or 304 for whoever has it.

        The tag is weak: it is of the figures, not of the bytes, of which there are two.
        """
        body = model.model_dump_json().encode()
        etag = f'W/"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
        headers = {"ETag": etag, "Cache-Control": self._cache_control, "Vary": "Accept-Encoding"}
        if is_known(request, etag):
            return Response(status_code=304, headers=headers)
        if len(body) >= SMALL_BYTES and takes_gzip(request):
            body = self._gzip(etag, body)
            headers["Content-Encoding"] = "gzip"
        return Response(body, media_type="application/json", headers=headers)

    def _gzip(self, etag: str, body: bytes) -> bytes:
        if self._compressed[0] != etag:
            self._compressed = (etag, gzip.compress(body, 5, mtime=0))
        return self._compressed[1]
