"""Signals that end a process: heard from its first moment on, whatever it is about to do.

The first SIGTERM asks for an end in order, behind a load balancer: it may wait for `DRAIN_SECONDS`. SIGINT (Ctrl-C),
SIGHUP (the terminal is gone) and any second signal ask for an end at once.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

from service.cancellation import Stopped

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopRequest(asyncio.Event):
    """Set when a process is to end; `at_once` is set as well when it is to wait for nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.at_once = asyncio.Event()

    def hear(self, number: signal.Signals) -> None:
        """Take a signal in."""
        if self.is_set() or number is not signal.SIGTERM:
            self.at_once.set()
        self.set()

    async def drained(self, seconds: float) -> None:
        """Return so many seconds after it was set, or as soon as the end is to be at once."""
        await self.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.at_once.wait()


async def until_signalled(work: Callable[[StopRequest], Awaitable[None]]) -> None:
    """Do the work of a process; the event that it is given is set when it is to end."""
    stop = StopRequest()
    with stopped_by_signals(stop), suppress(Stopped):
        await work(stop)


@contextmanager
def stopped_by_signals(stop: StopRequest) -> Iterator[None]:
    """Tell of SIGTERM, SIGINT and SIGHUP; a signal that is ignored already, as by `nohup`, stays ignored."""
    loop = asyncio.get_running_loop()
    heard = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    for number in heard:
        loop.add_signal_handler(number, stop.hear, number)
    try:
        yield
    finally:
        for number in heard:
            loop.remove_signal_handler(number)
