"""What one process of a fleet does once a second for all of them, and how the others hear of it.

The processes of a fleet share a directory, and each has a datagram socket there. Who has done a turn that went well
tells the others what came of it, and they put their own off. Nobody is elected: whoever hears nothing until the next
turn is due, and `GRACE_SECONDS` more, takes it, whatever has become of the last one to do so. A turn that went badly
is no word for others: they are told to see for themselves, at once, and do so until a turn goes well. Alone, or where
the sockets cannot be used, a process takes every turn.

Times are of the monotonic clock, which the processes of a machine share; no step of the other one reaches it.
"""

import asyncio
import json
import os
import re
import socket
import sys
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any, Final, TypeAlias

import structlog

from service.background import every
from service.deadline import Deadline

INTERVAL_SECONDS: Final = 1.0
GRACE_SECONDS: Final = 0.25
"""By how much a turn may be late until another process takes it."""
APART_SECONDS: Final = 0.02
"""What a turn takes, so that of those who wait one is first, and the others hear of it."""
MAX_APART: Final = 16
SUFFIX: Final = ".turns"
BEGUN: Final = "begun"
MORE: Final = "more"
NEXT: Final = "next"
_MAX_TOPIC_BYTES: Final = 64

Told: TypeAlias = Mapping[str, Any]
"""What came of a turn, as JSON has it."""


class Siblings:
    """The other processes of a fleet, as one of them reaches them.

    Args:
        directory: Where the sockets are, private to the user that runs the fleet; None for a process that is alone.
        name: This process's own, such as `api-1`; its number says how soon it takes the turn of one that is silent.
    """

    def __init__(self, directory: Path | None = None, name: str = "") -> None:
        self._directory = directory if sys.platform == "linux" else None  # elsewhere there are no files in memory
        self._own = f"{name}{SUFFIX}"
        number = re.search(r"\d+$", name)
        self.apart_seconds = int(number[0]) % MAX_APART * APART_SECONDS if number else 0.0
        self._socket: socket.socket | None = None
        self._hear: dict[str, Callable[[Told | None], None]] = {}

    def on(self, topic: str, hear: Callable[[Told | None], None]) -> None:
        """Have what others tell of a topic told to `hear`."""
        self._hear[topic] = hear

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Hear what the others tell, and be able to tell them, while the block lasts."""
        if self._directory is None:
            yield
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
            made.setblocking(False)  # noqa: FBT003 - the library's
            path = self._directory / self._own
            try:
                path.unlink(missing_ok=True)  # of the last process of this name
                made.bind(str(path))
            except OSError as error:
                structlog.get_logger("service.ledger.turns").warning("this process is alone", error=str(error))
                yield
                return
            loop = asyncio.get_running_loop()
            loop.add_reader(made.fileno(), self._receive, made)
            self._socket = made
            try:
                yield
            finally:
                self._socket = None
                loop.remove_reader(made.fileno())
                path.unlink(missing_ok=True)

    def tell(self, topic: str, told: Told | None) -> None:
        """Tell the others what came of a turn, however much that is; None: each has to see for itself."""
        others = self._others()
        if self._socket is None or not others:
            return
        with suppress(OSError), os.fdopen(os.memfd_create(topic, os.MFD_CLOEXEC), "wb") as file:
            file.write(json.dumps(told).encode())
            file.flush()
            passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [file.fileno()]))]
            for path in others:
                with suppress(OSError):  # it has ended, or is stopped and has no room: it sees for itself
                    self._socket.sendmsg([topic.encode()], passed, 0, path)

    def _others(self) -> list[str]:
        if self._directory is None:
            return []
        try:
            with os.scandir(self._directory) as found:
                return [one.path for one in found if one.name.endswith(SUFFIX) and one.name != self._own]
        except OSError:  # somebody has removed it
            return []

    def _receive(self, listening: socket.socket) -> None:
        while True:
            try:
                topic, fds, _, _ = socket.recv_fds(listening, _MAX_TOPIC_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            for fd in fds:
                try:
                    told = json.loads(os.pread(fd, os.fstat(fd).st_size, 0))
                finally:
                    os.close(fd)
                if hear := self._hear.get(topic.decode()):
                    hear(told)


class FleetTurns:
    """Work of one kind that is to be done once a second by some process of a fleet.

    Args:
        siblings: The fleet.
        topic: The kind.
        work: Takes a turn and returns what the others are told; None where each has to see for itself. `MORE` in it:
            the same process takes another turn at once; `NEXT`: in so many seconds, if that is sooner.
        take: Takes in what another's turn came to, and when that was begun, by the clock.
        seconds: From one turn to the next.
        clock: Seconds that only grow, the same for all processes of the fleet.
    """

    def __init__(
        self,
        siblings: Siblings,
        topic: str,
        work: Callable[[], Awaitable[Told | None]],
        take: Callable[[Told, float], None] = lambda *_: None,
        *,
        seconds: float = INTERVAL_SECONDS,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._siblings = siblings
        self._topic = topic
        self._work = work
        self._take = take
        self._seconds = seconds
        self._clock = clock
        self._next = seconds
        self._begun = float("-inf")
        self._not_before = 0.0
        self._due = 0.0
        self._comes = asyncio.Event()
        self._timer: Deadline | None = None
        self._believed = False
        self.ours = True
        """Whether the last turn was taken by this process."""
        siblings.on(topic, self._heard)

    async def run(
        self, *, outage: tuple[type[Exception], ...], on_outage: Callable[[Exception], None] = lambda _: None
    ) -> None:
        """Take turns until cancelled; the first at once.

        Args:
            outage: See `service.background.every`.
            on_outage: Told each such error.
        """
        try:
            await every(self._seconds, self._turn, outage=outage, on_outage=on_outage, pause=self._pause)
        finally:
            self._announce(None)

    async def _turn(self) -> bool:
        """Take a turn; return whether another is to follow at once."""
        self.ours, self._next = True, self._seconds
        self._begun = begun = self._clock()
        told: Told | None = None
        try:
            told = await self._work()
        finally:
            self._announce(None if told is None else {**told, BEGUN: begun})
        if not told:
            return False
        self._next = told.get(NEXT, self._seconds)
        return bool(told.get(MORE))

    def _announce(self, told: Told | None) -> None:
        """Tell the others; that nothing is known any more only where they go by what this process told them."""
        if told is not None or self._believed:
            self._siblings.tell(self._topic, told)
        self._believed = told is not None

    def _heard(self, told: Told | None) -> None:
        now = self._clock()
        if told is None:
            self._not_before = min(self._not_before, now + self._siblings.apart_seconds)
            self._schedule()
        elif told[BEGUN] > self._begun:  # else it comes late, from a process that was stopped meanwhile
            self._begun = told[BEGUN]
            self._take(told, self._begun)
            self.ours = self._believed = False
            self._not_before = now + self._seconds + GRACE_SECONDS + self._siblings.apart_seconds
            self._schedule()

    async def _pause(self, seconds: float) -> float:
        """Wait for this process's next turn, which each turn of another's puts off; return the loop's time by then."""
        loop = asyncio.get_running_loop()
        self._due = self._clock() + min(seconds, self._next)
        self._timer = Deadline(loop)
        self._comes.clear()
        self._schedule()
        try:
            await self._comes.wait()
        finally:
            self._timer.cancel()
            self._timer = None
        return loop.time()

    def _schedule(self) -> None:
        """Set the timer of a process that waits."""
        if self._timer is not None:
            self._timer.start(max(self._due, self._not_before) - self._clock(), self._comes.set)
