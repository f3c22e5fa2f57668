"""What happens at a SIGTERM that nobody but the kernel would answer."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def before_termination(hand_over: Callable[[], object]) -> Iterator[None]:
    """While the block lasts, have SIGTERM wait for `hand_over`, where it would end the process at once.

    hypercorn leaves the signal to the kernel in its worker processes, and sends it, twice, to those that are not as
    quick to end as the first. A server that answers the signal itself, as the others do, goes on doing so.

    Args:
        hand_over: takes no longer than a second or three, in which the signal has no further effect.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    process = os.getpid()

    def end(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        if os.getpid() == process:  # and not one that was forked from it
            hand_over()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is end:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
