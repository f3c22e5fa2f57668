"""Window statistics of all processes of a service, kept in Redis with a time to live.

A process gathers in memory what its requests were (method, route template, status, duration) and which of them failed.
Once a second it adds what is new to slots of `SLOT_SECONDS` in Redis, in one script and one round trip; each lot has a
number, so a lot that a client sends twice counts once. While Redis is down lots wait in memory; beyond
`MOST_SLOTS_WAITING` the oldest are dropped and counted in `dropped`. Whoever reads gets the figures of all processes,
the same from each. Every key ends by itself after `KEEP_SECONDS`; the keys share the prefix, which needs a hash tag in
a cluster.
"""

import asyncio
import json
import secrets
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any, Protocol

from redis.exceptions import NoScriptError

from .histogram import BOUNDS
from .outbox import Outbox
from .statistics import Failure, Figures, heard, read_failure

SLOT_SECONDS = 10
KEEP_SECONDS = 3600
MOST_SLOTS_WAITING = 60
MOST_SERIES = 500
MOST_ERRORS = 100
SLOTS_PER_READ = 30
UNMATCHED = "unmatched"
OVERFLOW = "overflow"


class RedisClient(Protocol):
    """What is needed of `redis.asyncio.Redis`, or of its cluster client."""

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:  # noqa: ANN401 - as redis-py has it
        """Runs a script that the server knows."""

    def script_load(self, script: str) -> Any:  # noqa: ANN401 - as redis-py has it
        """Tells the server a script, and returns its digest."""


@dataclass(slots=True)
class _Waiting:
    """What was gathered in one slot of this process's own clock and is not sent yet."""

    gathered: float
    counts: Counter[str] = field(default_factory=Counter)
    requests: int = 0


@dataclass(slots=True)
class _Lot:
    slots: list[_Waiting]
    failures: list[tuple[int, str]]


class Windows:
    """The windows as one process writes and reads them.

    Args:
        client: Where they are.
        prefix: The start of all keys, such as ``{live}:``.
        worker: The name of this process, for its failures.
        now: What this process says of itself at each flush, such as its open connections.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        client: RedisClient,
        prefix: str,
        *,
        worker: str,
        now: Callable[[], Mapping[str, float | str]] = dict,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dropped = 0
        self._client = client
        self._prefix = prefix
        self._worker = worker
        self._source = f"{worker}-{secrets.token_hex(6)}"
        self._now = now
        self._clock = clock
        self._cells: dict[tuple[str, str, int], list[int]] = {}
        self._waiting: dict[int, _Waiting] = {}
        self._failures: deque[tuple[int, str]] = deque(maxlen=MOST_ERRORS)
        self._outbox = Outbox(self._gather, self._send)
        self._scripts: dict[str, tuple[str, str]] = {}

    def record(self, method: str, route: str, status: int, seconds: float) -> None:
        """Takes in one request; its route is the template, or '' if none matched. Costs less than a microsecond."""
        cell = self._cells.get((method, route, status)) or self._new_cell(method, route, status)
        cell[bisect_left(BOUNDS, seconds)] += 1
        cell[-1] += int(seconds * 1e6 + 0.5)

    def fail(
        self,
        *,
        method: str,
        route: str,
        status: int,
        code: str,
        exception: BaseException | None = None,
        trace_id: str | None = None,
    ) -> None:
        """Takes in the context of a request that failed; of many in one second the last `MOST_ERRORS` are kept."""
        now = time.time()
        failure = Failure(
            time=datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            method=method,
            route=route or UNMATCHED,
            status=status,
            code=code,
            exception=type(exception).__qualname__ if exception else None,
            trace_id=trace_id,
            worker=self._worker,
        )
        text = json.dumps({"id": secrets.token_hex(6), **asdict(failure)})
        self._failures.append((int(now * 1000), text))

    async def flush(self) -> None:
        """Sends what is new; once a second is right, and once more at the end.

        Raises:
            redis.exceptions.RedisError: Redis is down; what was gathered is kept.
        """
        await self._outbox.flush()

    async def read(self, window: timedelta, *, failures: int = 0) -> Figures:
        """Reads the figures of all processes.

        Args:
            window: How far back, up to an hour; whole slots are read, so a little more is told.
            failures: How many of the newest failures.

        Raises:
            redis.exceptions.RedisError: Redis is down.
        """
        seconds = min(max(window.total_seconds(), 0), KEEP_SECONDS)
        figures: Figures | None = None
        from_slot = 0
        while True:
            reply = await self._run("read", seconds, SLOT_SECONDS, KEEP_SECONDS, from_slot, SLOTS_PER_READ, failures)
            at, cleared, first, last, slots = reply[:5]
            if figures is None:
                begins = max(first * SLOT_SECONDS * 1000, cleared)
                figures = Figures(datetime.fromtimestamp(at / 1000, UTC), (at - begins) / 1000)
                figures.failures = [read_failure(text) for text in reply[5]]
                figures.now = heard(reply[6], at)
                failures = 0
            for _, row in slots:
                figures.take_in(row)
            from_slot = first + SLOTS_PER_READ
            if from_slot > last:
                return figures
            await asyncio.sleep(0)  # a long window is a long list: others come between

    async def clear(self) -> None:
        """Empties the windows of all processes; what they gathered in the last second may still arrive.

        Raises:
            redis.exceptions.RedisError: Redis is down.
        """
        await self.flush()
        await self._run("clear", SLOT_SECONDS, KEEP_SECONDS)

    def _new_cell(self, method: str, route: str, status: int) -> list[int]:
        key = (method, route, status)
        if len(self._cells) >= MOST_SERIES:
            key = (method, OVERFLOW, 0)
        return self._cells.setdefault(key, [0] * (len(BOUNDS) + 2))  # one bucket beyond the bounds, and the sum

    def _gather(self) -> _Lot:
        self._set_aside()
        lot = _Lot(list(self._waiting.values()), list(self._failures))
        self._waiting = {}
        self._failures.clear()
        return lot

    def _set_aside(self) -> None:
        now = self._clock()
        waiting = self._waiting.setdefault(int(now // SLOT_SECONDS), _Waiting(now))
        for (method, route, status), cell in self._cells.items():
            name = f"{method} {status} {route or UNMATCHED}"
            for bucket, count in enumerate(cell[:-1]):
                if count:
                    waiting.counts[f"{bucket} {name}"] += count
            waiting.counts[f"us {name}"] += cell[-1]
            waiting.requests += sum(cell[:-1])
        self._cells = {}
        while len(self._waiting) > MOST_SLOTS_WAITING:
            self.dropped += self._waiting.pop(min(self._waiting)).requests

    async def _send(self, number: int, lot: _Lot) -> None:
        now = self._clock()
        text = json.dumps(
            {
                "slots": [[int((now - slot.gathered) * 1000), slot.counts] for slot in lot.slots if slot.counts],
                "errors": lot.failures,
                "now": json.dumps(dict(self._now())),
            }
        )
        try:
            await self._run("flush", self._source, number, SLOT_SECONDS, KEEP_SECONDS, MOST_ERRORS, text)
        except BaseException:
            self._set_aside()
            raise

    async def _run(self, name: str, *args: str | float) -> Any:  # noqa: ANN401 - each caller types its reply
        """Runs a script; a server that does not know it is told."""
        if name not in self._scripts:
            text = (files(__package__) / "scripts" / f"{name}.lua").read_text()
            self._scripts[name] = (await self._client.script_load(text), text)
        sha, text = self._scripts[name]
        try:
            return await self._client.evalsha(sha, 1, self._prefix, *args)
        except NoScriptError:
            await self._client.script_load(text)
            return await self._client.evalsha(sha, 1, self._prefix, *args)
