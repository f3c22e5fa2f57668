"""Which of the two formats of ``/metrics`` an ``Accept`` header prefers, by the quality values of RFC 9110.

Plain text is the default: OpenMetrics is given to whoever asks for it by name, and not to a wildcard. Media type
parameters other than ``version`` do not matter, for our names need no escaping and our charset is always UTF-8.
"""

from email.message import Message
from enum import Enum
from functools import lru_cache
from urllib.request import parse_http_list  # splits a header at the commas that are not inside quotes

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST


class Format(Enum):
    """A format of ``/metrics``; the value is its content type."""

    TEXT = CONTENT_TYPE_PLAIN_0_0_4
    OPENMETRICS = CONTENT_TYPE_LATEST


_OFFERED = {Format.TEXT: ("text/plain", "0.0.4"), Format.OPENMETRICS: ("application/openmetrics-text", "1.0.0")}

_TYPES = {"*/*", "text/*", "application/*", *(name for name, _ in _OFFERED.values())}
MAX_ACCEPT_LENGTH = 1024


def negotiate(accept: str | None) -> Format:
    """Return the format to answer with.

    Args:
        accept: the ``Accept`` header; a range that cannot be read is passed over. When it takes neither format, the
            answer is plain text all the same, and so it is when the header is longer than `MAX_ACCEPT_LENGTH`.
    """
    return _preferred(accept) if accept and len(accept) <= MAX_ACCEPT_LENGTH else Format.TEXT


@lru_cache(maxsize=64)  # a scraper asks with the same words each time
def _preferred(accept: str) -> Format:
    ranges = [read for part in parse_http_list(accept) if (read := _read(part))]
    text, openmetrics = (_preference(*_OFFERED[each], ranges) for each in (Format.TEXT, Format.OPENMETRICS))
    return Format.OPENMETRICS if openmetrics > text and openmetrics[0] > 0 else Format.TEXT


def _read(media_range: str) -> tuple[str, str | None, float] | None:
    """Return the type, version and quality of one range, or None when it is malformed or of no format here."""
    if media_range.partition(";")[0].strip().lower() not in _TYPES:
        return None
    message = Message()
    message["content-type"] = media_range
    (name, _), *parameters = message.get_params([("", "")])
    given = {key.lower(): value for key, value in parameters}
    try:
        quality = float(given.get("q", "1"))
    except ValueError:
        return None
    return (name.lower(), given.get("version"), quality) if 0 <= quality <= 1 else None


def _preference(name: str, version: str, ranges: list[tuple[str, str | None, float]]) -> tuple[float, int]:
    """Return the quality that the most specific matching range gives to a format, and how specific that range is."""
    patterns = {"*/*": 0, f"{name.partition('/')[0]}/*": 1, name: 2}
    matches = [
        (patterns[asked] + (wanted is not None), quality)
        for asked, wanted, quality in ranges
        if asked in patterns and wanted in {None, version}
    ]
    specific, quality = max(matches, default=(-1, 0.0))
    return quality, specific
