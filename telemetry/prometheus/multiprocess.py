"""Several worker processes, one answer: each process offers its series on a unix socket of a shared directory.

Whoever is scraped asks the others, writes its own series meanwhile, and puts all families together. Every series of a
process carries the label ``worker``, so two processes never give the same series. Nothing is kept in files: a process
that was killed leaves a socket that nobody answers, and the process that takes its slot replaces it. A peer that
hangs, or whose socket somebody removed, costs `TIMEOUT_SECONDS` at most and is counted, it never fails the scrape; a
process makes its socket anew within `LOOK_SECONDS`. A request is one line that says, as an
``Accept`` header would, which format is wanted. An answer begins with its length in `LENGTH_BYTES`, so that half an
answer is none.
"""

import asyncio
import logging
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic

from ..metrics.specs import CounterSpec

TIMEOUT_SECONDS = 0.2
LOOK_SECONDS = 1.0
"""How often a process looks whether its socket is still there."""
GONE_SECONDS = 60.0
"""For how long a peer that has answered and whose socket is gone is missed; after that it has ended for good."""
LENGTH_BYTES = 8
SUFFIX = ".sock"
_logger = logging.getLogger(__name__)

UNREACHABLE = CounterSpec(
    name="telemetry.worker.unreachable",
    unit="{scrape}",
    description="Scrapes in which a peer process did not answer in time; its series are missing from them.",
)


class PeerProcesses:
    """The processes that share a directory of sockets.

    Args:
        directory: Where the sockets are; private to the user that runs the processes.
        name: This process's own, the same as its label ``worker``.
        render: The text of this process's series, as ``/metrics`` would show them to this ``Accept`` header.
        unreachable: Told the name of a peer that did not answer in time.
    """

    def __init__(
        self, directory: Path, name: str, render: Callable[[str], bytes], unreachable: Callable[[str], None]
    ) -> None:
        self._directory = directory
        self._name = name
        self._render = render
        self._unreachable = unreachable
        self._server: asyncio.Server | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._answered: dict[Path, float] = {}

    @property
    def _path(self) -> Path:
        return self._directory / f"{self._name}{SUFFIX}"

    async def start(self) -> None:
        """Offer this process's series; a socket left by the last process of this name is replaced.

        Raises:
            RuntimeError: a process that is alive has this name: each scrape would show one of the two.
        """
        if await self._is_served():
            raise RuntimeError(
                f"another process serves as worker {self._name!r} in {self._directory}: give each a name of its own"
            )
        await self._listen()
        self._keeper = asyncio.create_task(self._keep())

    async def _listen(self) -> None:
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._answer, self._path)

    async def _keep(self) -> None:
        """Make the socket anew when somebody has removed it: cleaners of temporary directories do."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                if not self._path.exists():
                    _private_directory(self._directory)
                    server, self._server = self._server, None
                    await self._listen()
                    if server is not None:
                        server.close()
            except Exception:  # the next look is another try
                _logger.exception("the socket of worker %s cannot be made", self._name)

    async def _is_served(self) -> bool:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                _, writer = await asyncio.open_unix_connection(self._path)
        except TimeoutError:  # it accepts nobody at the moment, but it is there
            return True
        except OSError:
            return False
        writer.close()
        return True

    async def stop(self) -> None:
        """Offer them no longer."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait((self._keeper,))
            self._keeper = None
        if self._server is not None:
            self._server.close()
            self._server = None
            self._path.unlink(missing_ok=True)

    @asynccontextmanager
    async def scrape_peers(self, accept: str) -> AsyncIterator[Callable[[], Awaitable[list[bytes | None]]]]:
        """Ask every peer for its series; inside the block the requests are on their way, and all answer at one time.

        Args:
            accept: the format, as an ``Accept`` header of one line.

        Yields:
            What waits for the answers, by name, for `TIMEOUT_SECONDS` from then on; None for a peer without one.
        """
        found = {path for path in self._directory.glob(f"*{SUFFIX}") if path != self._path}
        missed = {path for path, when in self._answered.items() if monotonic() - when < GONE_SECONDS}
        scrapes = [_PeerScrape(path, self._unreachable) for path in sorted(found | missed)]
        try:
            await asyncio.gather(*(scrape.send(accept) for scrape in scrapes))
            await asyncio.sleep(0)  # uvloop writes at the end of its turn

            async def answers() -> list[bytes | None]:
                given = await asyncio.gather(*(scrape.answer() for scrape in scrapes))
                now = monotonic()
                self._answered |= {scrape.path: now for scrape, text in zip(scrapes, given, strict=True) if text}
                return given

            yield answers
        finally:
            for scrape in scrapes:
                scrape.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, EOFError, asyncio.LimitOverrunError):
            async with asyncio.timeout(TIMEOUT_SECONDS):  # after that, nobody waits for the answer
                accept = await reader.readuntil()
                text = self._render(accept.decode("latin-1").strip())
                writer.write(len(text).to_bytes(LENGTH_BYTES, "big") + text)
                await writer.drain()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def _private_directory(directory: Path) -> None:
    """Make a directory anew that was removed; where others may write, somebody else may have made one of its name."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = directory.lstat()
    if not stat.S_ISDIR(made.st_mode) or made.st_uid != os.getuid():
        raise PermissionError(f"{directory} is not a directory of this user")


class _PeerScrape:
    """What one peer is asked; one that could not be asked has no answer."""

    def __init__(self, path: Path, unreachable: Callable[[str], None]) -> None:
        self.path = path
        self._unreachable = unreachable
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, accept: str) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                self._reader, self._writer = await asyncio.open_unix_connection(self.path)
            self._writer.write(accept.encode("latin-1") + b"\n")
        except (TimeoutError, OSError):
            self._unreachable(self.path.name.removesuffix(SUFFIX))

    async def answer(self) -> bytes | None:
        if self._reader is None:
            return None
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                length = int.from_bytes(await self._reader.readexactly(LENGTH_BYTES), "big")
                return await self._reader.readexactly(length)
        except (TimeoutError, OSError, EOFError):
            self._unreachable(self.path.name.removesuffix(SUFFIX))
            return None
        finally:
            self.close()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
