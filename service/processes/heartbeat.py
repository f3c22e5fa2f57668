"""A child says once a second to its supervisor that its event loop runs, through a pipe that it inherits.

A process that was stopped, is in a deadlock or computes without end is alive to the kernel and serves nobody. The
supervisor counts its own seconds without a word; so a machine that slept does not make it kill anybody.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

from service.background import background_tasks, every
from service.processes.signals import StopRequest

VARIABLE: Final = "FLASH_SALE_HEARTBEAT_FD"
INTERVAL_SECONDS: Final = 1.0


async def with_heartbeat(
    environ: Mapping[str, str], serve: Callable[[StopRequest], Awaitable[None]], stop: StopRequest
) -> None:
    """Serve, and say so to whoever started this process, if they asked for it.

    Args:
        environ: The environment; `FLASH_SALE_HEARTBEAT_FD` in it is the pipe's descriptor.
        serve: What this process does.
        stop: Handed to `serve`.
    """
    if not environ.get(VARIABLE, "").isdecimal():
        await serve(stop)
        return
    pipe = int(environ[VARIABLE])
    os.set_inheritable(pipe, False)  # noqa: FBT003 - the library's
    os.set_blocking(pipe, False)

    async def beat() -> None:
        os.write(pipe, b".")

    async with background_tasks(partial(every, INTERVAL_SECONDS, beat, outage=(OSError,))):
        await serve(stop)


class Listener:
    """The supervisor's end of one child's pipe; `write_end` is handed to the child and closed by `started`."""

    def __init__(self) -> None:
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        self._given = False

    def started(self) -> None:
        """Close the child's end here, which the child has by now: so the pipe ends with the child."""
        if not self._given:
            os.close(self.write_end)
            self._given = True

    async def silence(self, limit: int) -> None:
        """Return when the child has spoken and then said nothing for `limit` seconds of this process."""
        silent: int | None = None
        while silent is None or silent < limit:
            await asyncio.sleep(INTERVAL_SECONDS)
            try:
                heard = os.read(self._read_end, 4096)
            except BlockingIOError:
                heard = b""
            silent = 0 if heard else None if silent is None else silent + 1

    def close(self) -> None:
        """Close what is open."""
        self.started()
        os.close(self._read_end)
