"""Callers of one moment share one round trip.

The first caller's item goes at once; while it is away the next ones gather and go together, in the order in which
they came. Nobody waits for a timer, and a busy service makes large batches by itself. A caller who gives up (a
client went away) harms nobody: what was sent runs to its end.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar, cast

from service.cancellation import cancel_and_wait

Item = TypeVar("Item")
Reply = TypeVar("Reply")


class Batcher(Generic[Item, Reply]):
    """Sends items in batches of at most `limit`; at most `lanes` batches are away at one time.

    An error for which `ends_all` is true is also the answer to those who wait: their time must not add up
    batch by batch when the other side is down.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Item]], Awaitable[Sequence[Reply]]],
        *,
        limit: int = 128,
        lanes: int = 1,
        ends_all: Callable[[Exception], bool] = lambda _: False,
    ) -> None:
        self._send = send
        self._limit = limit
        self._lanes = lanes
        self._ends_all = ends_all
        self._waiting: deque[tuple[Item, asyncio.Future[Reply]]] = deque()
        self._away: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Return the items that wait to be sent."""
        return len(self._waiting)

    async def submit(self, item: Item) -> Reply:
        """Send one item and return its own reply, or raise what became of its batch."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._begin()
        return await future

    def _begin(self) -> None:
        if self._waiting and len(self._away) < self._lanes:
            task = asyncio.create_task(self._drain())
            self._away.add(task)
            task.add_done_callback(self._away.discard)

    async def aclose(self) -> None:
        """Cancel what is away and who waits, and return when all of it has ended: nothing is sent after that."""
        for _, future in self._waiting:
            future.cancel()
        self._waiting.clear()
        await cancel_and_wait(self._away)

    async def _drain(self) -> None:
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(self._limit, len(self._waiting)))]
                batch = [(item, future) for item, future in batch if not future.cancelled()]
                if batch:
                    await self._exchange(batch)
        finally:
            # Not by the callback alone: a caller that got its reply may submit again before that runs.
            self._away.discard(cast("asyncio.Task[None]", asyncio.current_task()))
            self._begin()  # what waits must not wait for the next caller when this batch was cancelled

    async def _exchange(self, batch: list[tuple[Item, asyncio.Future[Reply]]]) -> None:
        try:
            replies = await self._send([item for item, _ in batch])
            if len(replies) != len(batch):
                raise RuntimeError(f"{len(batch)} items were sent and {len(replies)} replies came")  # noqa: TRY301 - told like any other error
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was, each waiting caller is told
            if self._ends_all(error):
                batch += self._waiting
                self._waiting.clear()
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), reply in zip(batch, replies, strict=True):
            if not future.done():
                future.set_result(reply)
