"""The header `Retry-After` (RFC 9110, 10.2.3), as another's answer has it."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime


def parse_retry_after(value: str | None) -> timedelta | None:
    """Read seconds or an HTTP date; what cannot be read counts as absent."""
    if value is None:
        return None
    try:
        if value.isdecimal():
            return timedelta(seconds=int(value))
        at = parsedate_to_datetime(value)
        return max(at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC), timedelta())
    except (ValueError, OverflowError):
        return None
