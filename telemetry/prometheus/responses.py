"""What one scraper gets of a text that all share: some families only (``?name[]=``), and gzip.

Both are done with the text that is ready, of all processes: of 450 kB a filter takes 0.3 ms and gzip 0.7, which is less
than sending them as they are.
"""

import gzip
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache

from .content_negotiation import MAX_ACCEPT_LENGTH
from .family_texts import select

_LEVEL = 1  # 20:1 already; level 6 takes six times as long for 25:1
_CODINGS = {"gzip": "gzip", "x-gzip": "gzip", "identity": "identity", "*": "*"}


async def respond(
    render: Callable[[str | None], Awaitable[tuple[bytes, str]]], headers: Mapping[str, str], names: Sequence[str]
) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of an answer to ``GET /metrics``.

    Args:
        render: gives the body and the content type for an ``Accept`` header.
        headers: those of the request, by their names in small letters.
        names: the values of ``name[]`` in its query; none for everything.
    """
    body, content_type = await render(headers.get("accept"))
    said = {"content-type": content_type, "vary": "Accept, Accept-Encoding"}
    if wanted := set(filter(None, names)):
        body = select(body, wanted)
    if accepts_gzip(headers.get("accept-encoding")):
        body = gzip.compress(body, _LEVEL, mtime=0)
        said["content-encoding"] = "gzip"
    return body, said


def accepts_gzip(accept_encoding: str | None) -> bool:
    """Say whether gzip is preferred to no encoding, by the quality values of RFC 9110.

    Args:
        accept_encoding: the ``Accept-Encoding`` header. A part that cannot be read is passed over, and a header longer
            than `MAX_ACCEPT_LENGTH` is not read.
    """
    return bool(accept_encoding and len(accept_encoding) <= MAX_ACCEPT_LENGTH and _prefers_gzip(accept_encoding))


@lru_cache(maxsize=64)  # a scraper asks with the same words each time
def _prefers_gzip(accept_encoding: str) -> bool:
    qualities: dict[str, float] = {}
    for part in accept_encoding.split(","):
        coding, _, parameter = part.partition(";")
        known = _CODINGS.get(coding.strip().lower())
        quality = _quality(parameter.strip())
        if known is not None and quality is not None:
            qualities[known] = quality
    wanted = qualities.get("gzip", qualities.get("*", 0.0))
    return wanted > 0 and wanted >= qualities.get("identity", 0.0)


def _quality(parameter: str) -> float | None:
    if not parameter:
        return 1.0
    name, _, value = parameter.partition("=")
    try:
        quality = float(value)
    except ValueError:
        return None
    return quality if name.strip().lower() == "q" and 0 <= quality <= 1 else None
