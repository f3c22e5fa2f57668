"""Several worker processes, one answer: each process offers its series on a unix socket of a shared directory.

Whoever is scraped asks the others, writes its own series meanwhile, and puts all families together. Every series of a
process carries the label ``worker``, so two processes never give the same series. Nothing is kept in files: what a
process that was killed had counted is gone with it, its socket goes at the next scrape or with its successor, and
`LOST` counts that, once. A peer that hangs, or whose socket somebody removed, costs `TIMEOUT_SECONDS` at most and is
counted, it never fails the scrape; a process makes its socket anew within `LOOK_SECONDS`. A request is one line that
says, as an ``Accept`` header would, which format is wanted, and by `FLEET_TOO` that the fleet's series are wanted, too:
whoever is scraped may have lost what they are read from. An answer is two texts, the process's and the fleet's, each
after its length in `LENGTH_BYTES`, so that half an answer is none.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from time import monotonic

import anyio
from anyio.abc import SocketListener, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from .background import in_background
from .leftovers import claim_in, clear, clear_beside
from .meeting_place import make_anew, meeting_place, private_directory
from .peer_scrape import BROKEN, LENGTH_BYTES, TIMEOUT_SECONDS, PeerAnswer, PeerEvents, PeerScrape
from .slots import SOCKET_SUFFIX, Slot, SlotTakenError, of_this_process

LOOK_SECONDS = 1.0
"""How often a process looks whether its socket is still there."""
GONE_SECONDS = 60.0
"""For how long a peer that has answered and whose socket is gone is missed; after that it has ended for good."""
FLEET_TOO = "; fleet"
_MAX_REQUEST_BYTES = 4096
_RETRY_SECONDS = 0.02
_logger = logging.getLogger(__name__)


class PeerProcesses:
    """The processes that share a directory of sockets.

    Args:
        place: Where the sockets are, private to the user that runs the processes; the name of the service, to have it
            found.
        name: This process's own, the same as its label ``worker``; None for that of the first free slot.
        render: The text of this process's series, as ``/metrics`` would show them to this ``Accept`` header.
        render_fleet: The same of the fleet's, if this process exports them.
        events: Told what happens.
    """

    def __init__(
        self,
        place: Path | str,
        name: str | None,
        render: Callable[[str], bytes],
        render_fleet: Callable[[str], bytes],
        events: PeerEvents,
    ) -> None:
        self._place = place
        self._name = name
        self._render, self._render_fleet = render, render_fleet
        self._events = events
        self._slot: Slot | None = None
        self._listener: SocketListener | None = None
        self._answered: dict[Path, float] = {}

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Offer this process's series while the block lasts; a socket left by the last process of its name is replaced.

        Raises:
            RuntimeError: a process that is alive has this name: each scrape would show one of the two; or the directory
                that was chosen cannot be used.
        """
        directory = self._directory()
        if directory is None:
            yield
            return
        try:
            await self._listen_first(directory)
            if directory != self._place:
                clear_beside(directory)
            async with in_background(partial(self._keep_serving, directory)):
                yield
        finally:
            await self._close()
            if self._slot is not None:
                self._slot.socket_path.unlink(missing_ok=True)
                self._slot.release()
                self._slot = None
                if directory != self._place:
                    clear(directory)

    def group(self) -> str | None:
        """Return what all processes that share the directory have in common; None for one that is alone."""
        try:
            found = None if self._slot is None else self._slot.socket_path.parent.stat()
        except OSError:  # somebody has removed it; it is made anew
            return None
        return None if found is None else f"{found.st_dev:x}-{found.st_ino:x}"

    def _directory(self) -> Path | None:
        if isinstance(self._place, Path):
            return self._place
        try:
            return meeting_place(self._place)
        except OSError as error:
            _logger.error("/metrics answers for this process alone, set TELEMETRY_SOCKET_DIR: %s", error)  # noqa: TRY400
            return None

    async def _listen_first(self, directory: Path) -> None:
        try:
            await self._listen(directory)
        except OSError as error:
            if directory != self._place:  # nobody chose it
                raise
            why = error.strerror or error
            raise RuntimeError(f"TELEMETRY_SOCKET_DIR: no socket can be made in {directory}: {why}") from None

    async def _listen(self, directory: Path) -> None:
        slot = self._slot = await self._claim(directory)
        if slot.socket_path.exists():
            slot.socket_path.unlink()
            self._events.lost()
        self._listener = await anyio.create_unix_listener(slot.socket_path)
        self._events.named(slot.name)

    async def _close(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            await anyio.aclose_forcefully(listener)

    async def _claim(self, directory: Path) -> Slot:
        if self._name is None:
            return self._claim_free(directory)
        with anyio.move_on_after(TIMEOUT_SECONDS):
            while True:  # whoever looks whether the last process of this name is alive has the slot for a moment
                with suppress(SlotTakenError):
                    return Slot(directory, self._name)
                await anyio.sleep(_RETRY_SECONDS)
        raise RuntimeError(
            f"another process serves as worker {self._name!r} in {directory}: give each a name of its own"
        )

    def _claim_free(self, directory: Path) -> Slot:
        while True:
            try:
                return claim_in(directory)
            except FileNotFoundError:
                if not isinstance(self._place, str):  # it was chosen, and is not ours to make
                    raise
                make_anew(directory)  # the last of those who met there has just cleared it away

    async def _keep_serving(self, directory: Path) -> None:
        while True:
            async with anyio.create_task_group() as tasks:
                if self._listener is not None:
                    tasks.start_soon(self._accept, self._listener)
                while self._slot is not None and self._slot.is_in_place():  # noqa: ASYNC110 - nobody tells it
                    await anyio.sleep(LOOK_SECONDS)
                tasks.cancel_scope.cancel()
            await self._close()
            await self._listen_anew(directory)

    async def _listen_anew(self, directory: Path) -> None:
        """Make the socket anew when somebody has removed it: cleaners of temporary directories do."""
        while True:
            try:
                (private_directory if directory == self._place else make_anew)(directory)
                if self._slot is not None:
                    self._slot.release()
                await self._listen(directory)
            except Exception:  # the next look is another try
                _logger.exception("the socket of a worker process cannot be made in %s", directory)
                await anyio.sleep(LOOK_SECONDS)
            else:
                return

    async def _accept(self, listener: SocketListener) -> None:
        async with anyio.create_task_group() as answers:
            while True:
                try:
                    answers.start_soon(self._answer, await listener.accept())
                except anyio.BrokenResourceError:  # no file is left to be opened
                    await anyio.sleep(TIMEOUT_SECONDS)

    async def _answer(self, stream: SocketStream) -> None:
        async with stream, _logged():
            with suppress(*BROKEN), anyio.move_on_after(TIMEOUT_SECONDS):  # after that, nobody waits for the answer
                line = await BufferedByteReceiveStream(stream).receive_until(b"\n", _MAX_REQUEST_BYTES)
                accept, fleet_too, _ = line.decode("latin-1").strip().partition(FLEET_TOO)
                fleet = self._render_fleet(accept) if fleet_too else b""
                for text in (self._render(accept), fleet):
                    await stream.send(len(text).to_bytes(LENGTH_BYTES, "big") + text)

    @asynccontextmanager
    async def scrape_peers(
        self, accept: str, *, fleet_too: bool
    ) -> AsyncIterator[Callable[[], Awaitable[list[PeerAnswer | None]]]]:
        """Ask every peer for its series; inside the block the requests are on their way, and all answer at one time.

        Args:
            accept: the format, as an ``Accept`` header of one line.
            fleet_too: whether the fleet's series are wanted as well.

        Yields:
            What waits for the answers, by name, for `TIMEOUT_SECONDS` from then on; None for a peer without one.
        """
        scrapes = [PeerScrape(path, self._events) for path in self._peer_sockets()]
        try:
            async with anyio.create_task_group() as tasks:
                for scrape in scrapes:
                    tasks.start_soon(scrape.send, accept + FLEET_TOO if fleet_too else accept)

            async def answers() -> list[PeerAnswer | None]:
                async with anyio.create_task_group() as tasks:
                    for scrape in scrapes:
                        tasks.start_soon(scrape.receive)
                now = monotonic()
                for scrape in scrapes:
                    if scrape.answer is not None:
                        self._answered[scrape.path] = now
                    elif scrape.ended:
                        self._answered.pop(scrape.path, None)
                return [scrape.answer for scrape in scrapes]

            yield answers
        finally:
            for scrape in scrapes:
                await scrape.close()

    def _peer_sockets(self) -> list[Path]:
        own = None if self._slot is None else self._slot.socket_path
        directory = self._place if own is None else own.parent
        if not isinstance(directory, Path):  # it has no peers
            return []
        found = {path for path in directory.glob(f"*{SOCKET_SUFFIX}") if path != own}
        if isinstance(self._place, str):  # who shares no directory on purpose shares no process with its peers
            found -= of_this_process()
        missed = {path for path, when in self._answered.items() if monotonic() - when < GONE_SECONDS}
        return sorted(found | missed)


@asynccontextmanager
async def _logged() -> AsyncIterator[None]:
    try:
        yield
    except Exception:  # one answer that goes wrong is no reason to give none any more
        _logger.exception("a peer process could not be answered")
