"""Window statistics of all processes of a service, kept in Redis with a time to live.

A process gathers in memory what its requests were (method, route template, status, duration) and which of them failed.
Once a second it adds what is new to slots of `SLOT_SECONDS` in Redis, in one script and one round trip; each batch has
a number, so a batch that a client sends twice counts once. While Redis is down batches wait in memory; beyond
`MAX_SLOTS_WAITING` the oldest are dropped and counted in `dropped`. Whoever reads gets the figures of all processes,
the same from each. Every key ends by itself after `KEEP_SECONDS`; the keys share the prefix, which needs a hash tag in
a cluster.
"""

import asyncio
import json
import secrets
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any, Protocol

from .histogram import BOUNDS
from .numbered_sender import NumberedSender
from .statistics import Failure, WindowStats, read_failure, recent_heartbeats

SLOT_SECONDS = 10
KEEP_SECONDS = 3600
MAX_SLOTS_WAITING = 60
MAX_SERIES = 500
MAX_ERRORS = 100
SLOTS_PER_READ = 30
UNMATCHED = "unmatched"
OVERFLOW = "overflow"


class RedisClient(Protocol):
    """What is needed of `redis.asyncio.Redis`, or of its cluster client."""

    def register_script(self, script: str) -> Callable[..., Awaitable[Any]]:
        """Make a script that can be awaited with keys and arguments."""


@dataclass(slots=True)
class _Waiting:
    """What was gathered in one slot of this process's own clock and is not sent yet."""

    gathered: float
    counts: Counter[str] = field(default_factory=Counter)
    requests: int = 0


@dataclass(slots=True)
class _Batch:
    slots: list[_Waiting]
    failures: list[tuple[int, str]]


class RequestWindows:
    """The windows as one process writes and reads them.

    Args:
        client: Where they are.
        prefix: The start of all keys, such as ``{live}:``.
        worker: The name of this process, for its failures.
        heartbeat: What this process says of itself, such as its open connections; what has not changed is said three
            times in a `silence`, and that there is nothing to say once.
        silence: After how long without a flush a process says nothing any more; longer than from one flush to the next,
            the same in all processes, and no longer than an hour.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        client: RedisClient,
        prefix: str,
        *,
        worker: str,
        heartbeat: Callable[[], Mapping[str, float | str]] = dict,
        silence: timedelta = timedelta(seconds=5),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dropped = 0
        self._client = client
        self._prefix = prefix
        self._worker = worker
        self._source = f"{worker}-{secrets.token_hex(6)}"
        self._heartbeat = heartbeat
        self._silence = silence
        self._clock = clock
        self._said: dict[str, float | str] = {}
        self._said_at = clock()
        self._counts: dict[tuple[str, str, int], list[int]] = {}
        self._waiting: dict[int, _Waiting] = {}
        self._failures: deque[tuple[int, str]] = deque(maxlen=MAX_ERRORS)
        self._sender = NumberedSender(self._gather, self._send)
        self._scripts: dict[str, Callable[..., Awaitable[Any]]] = {}

    def record(self, method: str, route: str, status: int, seconds: float) -> None:
        """Take in one request; its route is the template, or '' if none matched. Costs less than a microsecond."""
        counts = self._counts.get((method, route, status)) or self._new_counts(method, route, status)
        counts[bisect_left(BOUNDS, seconds)] += 1
        counts[-1] += int(seconds * 1e6 + 0.5)

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
        """Take in the context of a request that failed; of many in one second the last `MAX_ERRORS` are kept."""
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
        """Send what is new; once a second is right, and once more at the end.

        Raises:
            redis.exceptions.RedisError: Redis is down; what was gathered is kept.
        """
        await self._sender.flush()

    async def read(self, window: timedelta, *, failures: int = 0) -> WindowStats:
        """Read the figures of all processes.

        Args:
            window: How far back, up to an hour; whole slots are read, so a little more is told.
            failures: How many of the newest failures.

        Raises:
            redis.exceptions.RedisError: Redis is down.
        """
        seconds = min(max(window.total_seconds(), 0), KEEP_SECONDS)
        stats: WindowStats | None = None
        from_slot = 0
        while True:
            reply = await self._run("read", seconds, SLOT_SECONDS, KEEP_SECONDS, from_slot, SLOTS_PER_READ, failures)
            at, cleared, first, last, slots, newest, heartbeats = reply
            if stats is None:
                begins = max(first * SLOT_SECONDS * 1000, cleared)
                stats = WindowStats(datetime.fromtimestamp(at / 1000, UTC), (at - begins) / 1000)
                stats.failures = [read_failure(text) for text in newest]
                stats.heartbeats = recent_heartbeats(heartbeats, at, self._silence)
                failures = 0
            for _, row in slots:
                stats.add_slot(row)
            from_slot = first + SLOTS_PER_READ
            if from_slot > last:
                return stats
            await asyncio.sleep(0)  # a long window is a long list: others come between

    async def clear(self, request: str = "", kept: timedelta = timedelta(seconds=KEEP_SECONDS)) -> bool:
        """Empty the windows of all processes; what they gathered in the last second may still arrive.

        Args:
            request: Names a request that may be sent again: under one name they are emptied once.
            kept: How long that name is remembered.

        Returns:
            Whether they were emptied now; False if they were under this name before.

        Raises:
            redis.exceptions.RedisError: Redis is down; they may have been emptied.
        """
        await self.flush()
        gone: int = await self._run("clear", SLOT_SECONDS, KEEP_SECONDS, request, kept // timedelta(milliseconds=1))
        return gone >= 0

    def _new_counts(self, method: str, route: str, status: int) -> list[int]:
        key = (method, route, status)
        if len(self._counts) >= MAX_SERIES:
            key = (method, OVERFLOW, 0)
        return self._counts.setdefault(key, [0] * (len(BOUNDS) + 2))  # one bucket beyond the bounds, and the sum

    def _gather(self) -> _Batch | None:
        self._set_aside()
        batch = _Batch([slot for slot in self._waiting.values() if slot.counts], list(self._failures))
        self._waiting = {}
        self._failures.clear()
        return batch if batch.slots or batch.failures or self._has_to_speak() else None

    def _has_to_speak(self) -> bool:
        says = dict(self._heartbeat())
        return says != self._said or (bool(says) and self._clock() - self._said_at > self._silence.total_seconds() / 3)

    def _set_aside(self) -> None:
        now = self._clock()
        waiting = self._waiting.setdefault(int(now // SLOT_SECONDS), _Waiting(now))
        for (method, route, status), counts in self._counts.items():
            name = f"{method} {status} {route or UNMATCHED}"
            for bucket, count in enumerate(counts[:-1]):
                if count:
                    waiting.counts[f"{bucket} {name}"] += count
            waiting.counts[f"us {name}"] += counts[-1]
            waiting.requests += sum(counts[:-1])
        self._counts = {}
        while len(self._waiting) > MAX_SLOTS_WAITING:
            self.dropped += self._waiting.pop(min(self._waiting)).requests

    async def _send(self, number: int, batch: _Batch) -> None:
        now, says = self._clock(), dict(self._heartbeat())
        text = json.dumps(
            {
                "slots": [[int((now - slot.gathered) * 1000), slot.counts] for slot in batch.slots],
                "errors": batch.failures,
                "now": json.dumps(says),
            }
        )
        try:
            silent = self._silence // timedelta(milliseconds=1)
            await self._run("flush", self._source, number, SLOT_SECONDS, KEEP_SECONDS, MAX_ERRORS, silent, text)
        except BaseException:
            self._set_aside()
            raise
        self._said, self._said_at = says, now

    async def _run(self, name: str, *args: str | float) -> Any:  # noqa: ANN401 - each caller types its reply
        """Run a script; redis-py loads it into a server that does not know it."""
        script = self._scripts.get(name)
        if script is None:
            text = (files(__package__) / "scripts" / f"{name}.lua").read_text()
            script = self._scripts[name] = self._client.register_script(text)
        # Two keys that never exist: a cluster runs no script on them in a slot that moves, neither here nor there.
        return await script(keys=[self._prefix, f"{self._prefix}-"], args=args)
