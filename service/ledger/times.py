"""Times as answers have them: in UTC and all of one width, so that as text they sort as they follow each other."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated

from pydantic import PlainSerializer, WithJsonSchema


@lru_cache(maxsize=256)  # see `service.ledger.orders.at`
def rfc_3339(time: datetime) -> str:
    """Return a time as RFC 3339 has it, with six digits of a second also where they are 0."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


Time = Annotated[
    datetime,
    PlainSerializer(rfc_3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]
"""A time of an answer."""
