"""What happens at a SIGTERM that nobody but the kernel would answer."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

HandOver = Callable[[], object]

FLUSH_SECONDS = 0.5
_PAUSE_SECONDS = 0.1


@contextmanager
def before_termination(hand_over: HandOver) -> Iterator[None]:
    """While the block lasts, have SIGTERM wait for `hand_over`, where it would end the process at once.

    hypercorn leaves the signal to the kernel in its worker processes, and sends it, twice, to those that are not as
    quick to end as the first. A server that answers the signal itself, as the others do, goes on doing so.

    Args:
        hand_over: takes no longer than a second or three, in which the signal has no further effect.
    """
    if not _is_in_main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    end = _ending(hand_over)
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is end:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def at_termination(hand_over: HandOver, *, flush: HandOver) -> None:
    """From now on, have SIGTERM wait for `hand_over` as above; where a server answers it, flush before and beside that.

    Args:
        hand_over: as above.
        flush: hands over what there is. It is done again and again until the server has ended the process; the server
            gets the signal after the first time, or `FLUSH_SECONDS`.
    """
    if not _is_in_main_thread():
        return
    others = signal.getsignal(signal.SIGTERM)
    if others == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _ending(hand_over))
    elif callable(others):
        signal.signal(signal.SIGTERM, _beside(others, flush))


def _is_in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _ending(hand_over: HandOver) -> Callable[[int, FrameType | None], None]:
    process = os.getpid()

    def end(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        if os.getpid() == process:  # and not one that was forked from it
            hand_over()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    return end


def _beside(
    others: Callable[[int, FrameType | None], object], flush: HandOver
) -> Callable[[int, FrameType | None], None]:
    process, begun, flushed = os.getpid(), threading.Event(), threading.Event()

    def flush_on() -> None:
        while True:
            with suppress(Exception):  # the next time may go better
                flush()
            flushed.set()
            time.sleep(_PAUSE_SECONDS)

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() == process and not begun.is_set():
            begun.set()
            threading.Thread(target=flush_on, name="telemetry-termination", daemon=True).start()
            flushed.wait(FLUSH_SECONDS)
        others(number, frame)

    return handle
