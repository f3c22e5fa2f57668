"""One picture a second for all who watch a process over WebSockets: made once, serialised once, whoever many they are.

`Broadcast.run` sleeps while nobody watches. Otherwise it makes a frame after each reading of the ledger, at most one a
second, and puts the same text into the buffer of each `Watcher`, a few at a time, so that requests are served between.
A buffer holds `BUFFER_FRAMES`; a client that is slower loses the oldest and is told how many it has lost.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import structlog

from service.monitoring.live import Live
from service.monitoring.messages import Unavailable, Why
from service.monitoring.poller import Sampler
from service.store import STORE_ERRORS

INTERVAL_SECONDS = 1.0
PATIENCE_SECONDS = 0.25
BUFFER_FRAMES = 4
AT_ONCE = 20
BREATH_SECONDS = 0.005


class Watcher:
    """One client: the frames that wait for it, and how many it was sent and has lost."""

    def __init__(self) -> None:
        self.sent = 0
        self.dropped = 0
        self._frames: deque[str] = deque()
        self._some = asyncio.Event()

    def put(self, frame: str) -> bool:
        """Takes a frame in; says whether the oldest had to go."""
        full = len(self._frames) >= BUFFER_FRAMES
        if full:
            self._frames.popleft()
            self.dropped += 1
        self._frames.append(frame)
        self._some.set()
        return full

    async def take(self) -> str:
        """The next frame, with the number of those that this client has lost."""
        await self._some.wait()
        frame = self._frames.popleft()
        if not self._frames:
            self._some.clear()
        return frame.removesuffix("0}") + f"{self.dropped}}}" if self.dropped else frame


class Broadcast:
    """The watchers of one process.

    Args:
        live: Makes the picture.
        sampler: Reads the ledger.
    """

    def __init__(self, live: Live, sampler: Sampler) -> None:
        self.made = 0
        self.sent = 0
        self.dropped = 0
        self.refused: Counter[str] = Counter()
        self._live = live
        self._sampler = sampler
        self._watchers: set[Watcher] = set()
        self._watched = asyncio.Event()
        self._newest: str | None = None
        self._told = -1
        self._log = structlog.get_logger(__name__)

    def __len__(self) -> int:
        """How many watch."""
        return len(self._watchers)

    @contextmanager
    def joined(self) -> Iterator[Watcher]:
        """A watcher for as long as the block lasts; it begins with the newest frame if there is one of this second."""
        watcher = Watcher()
        if self._newest is not None:
            watcher.put(self._newest)
        self._watchers.add(watcher)
        self._watched.set()
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)
            if not self._watchers:
                self._watched.clear()

    def note_sent(self, watcher: Watcher) -> None:
        """A frame has left for a client."""
        watcher.sent += 1
        self.sent += 1

    async def run(self) -> None:
        """Makes frames until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            if not self._watchers:
                self._newest = None
                self._told = -1
                await self._watched.wait()
            began = loop.time()
            self._newest = await self._frame()
            self.made += 1
            await self._publish(self._newest)
            await asyncio.sleep(INTERVAL_SECONDS - 0.1 - (loop.time() - began))
            await self._news()

    async def _news(self) -> None:
        """Waits for another reading, or until the last one is no longer shown; so no number is sent twice."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._sampler.reading_after(self._told)
            if self._sampler.readings > self._told or self._sampler.latest() is None:
                return

    async def _frame(self) -> str:
        """The text of this second's message."""
        try:
            picture = await self._live.picture()
            self._told = picture.seq
            return picture.model_dump_json()
        except STORE_ERRORS:
            return self._no_picture("store_unavailable")
        except Exception:  # noqa: BLE001 - it is written down, and the next second is another try
            self._log.exception("no live picture could be made")
            return self._no_picture("internal_error")

    def _no_picture(self, code: Why) -> str:
        self._told = self._sampler.readings
        age = round(self._sampler.age_seconds(), 3)
        return Unavailable(code=code, timestamp=datetime.now(UTC), snapshot_age_seconds=age).model_dump_json()

    async def _publish(self, frame: str) -> None:
        for number, watcher in enumerate(list(self._watchers)):
            if number and number % AT_ONCE == 0:
                await asyncio.sleep(BREATH_SECONDS)
            if watcher in self._watchers:
                self.dropped += watcher.put(frame)
