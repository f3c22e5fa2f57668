"""Running where nobody says when it begins and ends: a server without lifespan, an application that another mounts."""

import atexit
import logging
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import anyio

from .termination import at_termination

BEGIN_SECONDS = 1.0
"""How long the first request waits until the other processes can ask for this one's series."""
_logger = logging.getLogger(__name__)


def run_until_exit(
    running: Callable[[], AbstractAsyncContextManager[None]],
    flush: Callable[[], object],
    shutdown: Callable[[], object],
) -> threading.Event:
    """Run from now on until the process ends, in a thread and an event loop of its own.

    That of a request may end with it, as with clients of tests.

    Args:
        running: what a lifespan would hold.
        flush: hands over what there is by now.
        shutdown: hands over what is left, where the process ends in good order. A server that answers SIGTERM itself
            lets nobody know when it has ended, so from that signal on all is flushed.

    Returns:
        Is set when it runs, or cannot.
    """
    begun = threading.Event()

    async def run() -> None:
        try:
            async with running():
                begun.set()
                await anyio.sleep_forever()
        except Exception as error:  # noqa: BLE001 - telemetry never breaks its host
            _logger.error("the telemetry does not run: %s", error)  # noqa: TRY400 - one line, as at a start
        finally:
            begun.set()

    threading.Thread(target=anyio.run, args=(run,), name="telemetry-without-lifespan", daemon=True).start()
    atexit.register(shutdown)
    at_termination(shutdown, flush=flush)
    return begun
