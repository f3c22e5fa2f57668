"""The messages of `WS /monitoring`, and the JSON Schema that documents them: docs/monitoring.schema.json."""

import json
import sys
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter

from service.ledger.times import Time
from service.monitoring.live import MetricsData

Why = Literal["store_unavailable", "internal_error"]


class Unavailable(BaseModel):
    """Sent instead of a snapshot, say while the store does not answer; there are no figures then, not even old ones."""

    type: Literal["unavailable"] = "unavailable"
    code: Why
    timestamp: Time = Field(description="by the clock of the process that answers")
    snapshot_age_seconds: float = Field(description="since the ledger was last read")
    dropped: int = Field(0, description="messages that this client has lost because it read too slowly")


Message = Annotated[MetricsData | Unavailable, Field(discriminator="type")]


class Frame:
    """A message as text: made once for all who watch, but for the number of messages that each has lost."""

    def __init__(self, message: MetricsData | Unavailable) -> None:
        self._head = message.model_dump_json(exclude={"dropped"}).removesuffix("}")
        self._of_most = f'{self._head},"dropped":0}}'

    def text(self, dropped: int) -> str:
        """Return the message for a client that has lost `dropped`."""
        return f'{self._head},"dropped":{dropped}}}' if dropped else self._of_most


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a message."""
    found = TypeAdapter[MetricsData | Unavailable](Message).json_schema(mode="serialization")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "WS /monitoring",
        "description": "A text message that the service sends once a second. It expects none; pings are answered.",
        **found,
    }


def document() -> str:
    """Return the whole of docs/monitoring.schema.json."""
    return json.dumps(schema(), indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
