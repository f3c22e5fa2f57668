"""Which of several forms of an answer a client wants: the `Accept` header by the rules of RFC 9110, 12.5.1."""

from collections.abc import Sequence
from email.message import Message
from urllib.request import parse_http_list  # splits a header at the commas that are not inside quotes

from service.problems import Problem


def preferred(accept: str | None, offered: Sequence[str]) -> str:
    """Return the media type to answer with: of those that are accepted as gladly, the one that is offered first.

    Raises:
        Problem: 406 `not_acceptable`: none is accepted.
    """
    if not accept:
        return offered[0]
    ranges = [_read(part) for part in parse_http_list(accept)]
    quality, _, best = max((_quality(name, ranges), -place, name) for place, name in enumerate(offered))
    if quality <= 0:
        raise Problem("not_acceptable", f"There is {' and '.join(offered)}.")
    return best


def _read(media_range: str) -> tuple[str, float]:
    """Return a range and its quality; one that cannot be read has none."""
    message = Message()
    message["content-type"] = media_range
    (name, _), *parameters = message.get_params([("", "")])
    try:
        quality = float({key.lower(): value for key, value in parameters}.get("q", "1"))
    except ValueError:
        quality = 0.0
    return name.lower(), quality if 0 <= quality <= 1 else 0.0


def _quality(name: str, ranges: Sequence[tuple[str, float]]) -> float:
    """Return what the most specific range that fits says of a media type."""
    fitting = ("*/*", f"{name.partition('/')[0]}/*", name)
    found = [(fitting.index(asked), quality) for asked, quality in ranges if asked in fitting]
    return max(found, default=(0, 0.0))[1]
