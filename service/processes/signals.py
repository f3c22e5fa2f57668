"""Signals that end a process: heard from its first moment on, whatever it is about to do."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

from service.cancellation import Stopped

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


async def until_signalled(work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Do the work of a process; the event that it is given is set when it is to end."""
    stop = asyncio.Event()
    with stopped_by_signals(stop), suppress(Stopped):
        await work(stop)


@contextmanager
def stopped_by_signals(stop: asyncio.Event) -> Iterator[None]:
    """Set an event at SIGTERM, SIGINT or SIGHUP; a signal that is ignored already, as by `nohup`, stays ignored."""
    loop = asyncio.get_running_loop()
    heard = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    for number in heard:
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in heard:
            loop.remove_signal_handler(number)
