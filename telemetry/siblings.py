"""Several worker processes, one answer: each process offers its series on a unix socket of a shared directory.

Whoever is scraped asks the others and puts all families together. Every series of a process carries the label
``worker``, so two processes never give the same series. Nothing is kept in files: a process that was killed leaves a
socket that nobody answers, and the process that takes its slot replaces it. A sibling that hangs costs
`PATIENCE_SECONDS` and is counted, it never fails the scrape. A question is one line that says, as an ``Accept`` header
would, which format is wanted. An answer begins with its length in `LENGTH_BYTES`, so that half an answer is none.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from telemetry.instruments import CounterSpec

PATIENCE_SECONDS = 0.2
LENGTH_BYTES = 8
SUFFIX = ".sock"
_EOF = b"# EOF"


UNREACHABLE = CounterSpec(
    name="telemetry.worker.unreachable",
    unit="{scrape}",
    description="Scrapes in which a sibling process did not answer in time; its series are missing from them.",
)


class Siblings:
    """The processes that share a directory of sockets.

    Args:
        directory: Where the sockets are; private to the user that runs the processes.
        name: This process's own, the same as its label ``worker``.
        render: The text of this process's series, as ``/metrics`` would show them to this ``Accept`` header.
        unreachable: Told the name of a sibling that did not answer in time.
    """

    def __init__(
        self, directory: Path, name: str, render: Callable[[str], bytes], unreachable: Callable[[str], None]
    ) -> None:
        self._directory = directory
        self._name = name
        self._render = render
        self._unreachable = unreachable
        self._server: asyncio.Server | None = None

    @property
    def _path(self) -> Path:
        return self._directory / f"{self._name}{SUFFIX}"

    async def start(self) -> None:
        """Offer this process's series; a socket left by the last process of this name is replaced."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._answer, self._path)

    async def stop(self) -> None:
        """Offer them no longer."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._path.unlink(missing_ok=True)

    async def texts(self, accept: str) -> list[bytes]:
        """What every sibling answers within `PATIENCE_SECONDS`, by name; this process is not among them.

        Args:
            accept: the format, as an ``Accept`` header of one line.
        """
        paths = sorted(path for path in self._directory.glob(f"*{SUFFIX}") if path != self._path)
        answers = await asyncio.gather(*(self._ask(path, accept) for path in paths))
        return [answer for answer in answers if answer is not None]

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, EOFError, asyncio.LimitOverrunError):
            async with asyncio.timeout(PATIENCE_SECONDS):  # after that, nobody waits for the answer
                accept = await reader.readuntil()
                text = self._render(accept.decode("latin-1").strip())
                writer.write(len(text).to_bytes(LENGTH_BYTES, "big") + text)
                await writer.drain()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async def _ask(self, path: Path, accept: str) -> bytes | None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                reader, writer = await asyncio.open_unix_connection(path)
                try:
                    writer.write(accept.encode("latin-1") + b"\n")
                    length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
                    return await reader.readexactly(length)
                finally:
                    writer.close()
        except FileNotFoundError:  # it ended between the listing and the question
            return None
        except (TimeoutError, OSError, EOFError):
            self._unreachable(path.name.removesuffix(SUFFIX))
            return None


def merge(texts: list[bytes]) -> bytes:
    """One exposition out of several: each family once, with the samples of all.

    Args:
        texts: as prometheus_client writes them, all in one format, families headed by ``# HELP``.
    """
    if len(texts) == 1:
        return texts[0]
    families: dict[bytes, tuple[list[bytes], list[bytes]]] = {}
    end: list[bytes] = []
    for text in texts:
        head: list[bytes] = []
        samples: list[bytes] = []
        is_new = True
        # Not `splitlines`: a carriage return in a label does not end a line.
        for line in text.removesuffix(b"\n").split(b"\n"):
            if line.startswith(b"# HELP "):
                head, samples = families.setdefault(line.split(b" ", 3)[2], ([], []))
                is_new = not head
            if not line.startswith(b"#"):
                samples.append(line)
            elif line == _EOF:
                end = [_EOF]
            elif is_new:
                head.append(line)
    lines = [line for head, samples in families.values() for line in (*head, *samples)]
    return b"\n".join(lines + end) + b"\n"
