"""One frame a second for all who watch a process over WebSockets: built once, serialised once, however many they are.

`Broadcast.run` sleeps while nobody watches. Otherwise it makes a frame after each reading of the ledger, at most one a
second, and puts the same text into the buffer of each `Subscriber`, a few at a time: requests are served between.
A buffer holds `BUFFER_FRAMES`; a client that is slower loses the oldest and is told how many it has lost.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import structlog

from service.monitoring.live import Live
from service.monitoring.messages import Frame, Unavailable, Why
from service.monitoring.poller import SnapshotPoller
from service.store import STORE_ERRORS

INTERVAL_SECONDS = 1.0
LEAD_SECONDS = 0.1
"""How long before its time a frame is waited for: so it leaves as soon as the next reading is there."""
READING_TIMEOUT_SECONDS = 0.25
BUFFER_FRAMES = 4
AT_ONCE = 20
YIELD_SECONDS = 0.005


class Subscriber:
    """One client: the frames that wait for it, and how many it was sent and has lost."""

    def __init__(self) -> None:
        self.sent = 0
        self.dropped = 0
        self._frames: deque[Frame] = deque()
        self._some = asyncio.Event()

    def put(self, frame: Frame) -> bool:
        """Take a frame in; return whether the oldest had to go."""
        full = len(self._frames) >= BUFFER_FRAMES
        if full:
            self._frames.popleft()
            self.dropped += 1
        self._frames.append(frame)
        self._some.set()
        return full

    async def take(self) -> str:
        """Return the next frame, with the number of those that this client has lost."""
        await self._some.wait()
        frame = self._frames.popleft()
        if not self._frames:
            self._some.clear()
        return frame.text(self.dropped)


class Broadcast:
    """The watchers of one process.

    Args:
        live: Builds the live metrics.
        poller: Reads the ledger.
    """

    def __init__(self, live: Live, poller: SnapshotPoller) -> None:
        self.built = 0
        self.sent = 0
        self.dropped = 0
        self.refused: Counter[str] = Counter()
        self._live = live
        self._poller = poller
        self._subscribers: set[Subscriber] = set()
        self._watched = asyncio.Event()
        self._newest: Frame | None = None
        self._told = -1
        self._log = structlog.get_logger(__name__)

    def __len__(self) -> int:
        """How many watch."""
        return len(self._subscribers)

    @contextmanager
    def subscribe(self) -> Iterator[Subscriber]:
        """Yield a watcher while the block lasts; it begins with the newest frame if there is one of this second."""
        subscriber = Subscriber()
        if self._newest is not None:
            subscriber.put(self._newest)
        self._subscribers.add(subscriber)
        self._watched.set()
        try:
            yield subscriber
        finally:
            self._subscribers.discard(subscriber)
            if not self._subscribers:
                self._watched.clear()

    def note_sent(self, subscriber: Subscriber) -> None:
        """Count a frame that has left for a client."""
        subscriber.sent += 1
        self.sent += 1

    async def run(self) -> None:
        """Make frames until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            if not self._subscribers:
                self._newest = None
                self._told = -1
                await self._watched.wait()
            began = loop.time()
            self._newest = await self._frame()
            self.built += 1
            await self._publish(self._newest)
            await asyncio.sleep(INTERVAL_SECONDS - LEAD_SECONDS - (loop.time() - began))
            await self._news()

    async def _news(self) -> None:
        """Wait for another reading, or until the last one is no longer shown; so no number is sent twice."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(READING_TIMEOUT_SECONDS):
                    await self._poller.reading_after(self._told)
            if self._poller.readings > self._told or self._poller.latest() is None:
                return

    async def _frame(self) -> Frame:
        """Return the text of this second's message."""
        try:
            metrics = await self._live.live_metrics()
            self._told = metrics.seq
            return Frame(metrics)
        except STORE_ERRORS:
            return self._unavailable("store_unavailable")
        except Exception:  # noqa: BLE001 - it is written down, and the next second is another try
            self._log.exception("the live metrics could not be built")
            return self._unavailable("internal_error")

    def _unavailable(self, code: Why) -> Frame:
        self._told = self._poller.readings
        age = round(self._poller.age_seconds(), 3)
        return Frame(Unavailable(code=code, timestamp=datetime.now(UTC), snapshot_age_seconds=age))

    async def _publish(self, frame: Frame) -> None:
        for number, subscriber in enumerate(list(self._subscribers)):
            if number and number % AT_ONCE == 0:
                await asyncio.sleep(YIELD_SECONDS)
            if subscriber in self._subscribers:
                self.dropped += subscriber.put(frame)
