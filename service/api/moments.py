"""A point in time, as requests give it."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator, Field


def _rfc_3339(value: Any) -> Any:  # noqa: ANN401 - whatever JSON there is
    """Refuse the numbers, and the numbers in strings, that pydantic would take for seconds of the epoch."""
    if not isinstance(value, datetime) and (not isinstance(value, str) or "T" not in value.upper()):
        raise ValueError("Input should be an RFC 3339 time, such as 2026-11-27T09:00:00Z")
    return value


Moment = Annotated[
    AwareDatetime,
    BeforeValidator(_rfc_3339),
    Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(9999, 1, 1, tzinfo=UTC)),
]
