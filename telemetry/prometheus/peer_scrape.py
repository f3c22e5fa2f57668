"""One peer process and what it answers when it is asked for its series."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.abc import SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from ..metrics.specs import CounterSpec
from .slots import has_ended, remove_if_dead

TIMEOUT_SECONDS = 0.2
LENGTH_BYTES = 8
BROKEN = (
    OSError,  # TimeoutError is one
    EOFError,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
    anyio.IncompleteRead,
    anyio.DelimiterNotFound,
)
"""What may be raised where the other side ends, hangs or talks nonsense."""

UNREACHABLE = CounterSpec(
    name="telemetry.worker.unreachable",
    unit="{scrape}",
    description="Scrapes in which a peer process did not answer in time; its series are missing from them.",
)
LOST = CounterSpec(
    name="telemetry.worker.lost",
    unit="{process}",
    description="Peer processes that were killed; what they counted after their last scrape is in no series.",
)


@dataclass(frozen=True, slots=True)
class PeerEvents:
    """What is told of peers.

    Attributes:
        named: the name of this process, once it has one.
        unreachable: a peer did not answer in time.
        lost: a peer ended and left its socket.
    """

    named: Callable[[str], None]
    unreachable: Callable[[], None]
    lost: Callable[[], None]


@dataclass(frozen=True, slots=True)
class PeerAnswer:
    """What a peer gives.

    Attributes:
        own: the text of its own series.
        fleet: the text of the fleet's series; empty when it was not asked for, or when the peer exports none.
    """

    own: bytes
    fleet: bytes


class PeerScrape:
    """What one peer is asked; one that could not be asked has no answer.

    Args:
        path: its socket.
        events: told what goes wrong.

    Attributes:
        path: as above.
        answer: its series, and the fleet's if they were asked for; None until it answers.
        ended: whether its process is no more.
    """

    def __init__(self, path: Path, events: PeerEvents) -> None:
        self.path = path
        self.answer: PeerAnswer | None = None
        self.ended = False
        self._events = events
        self._stream: SocketStream | None = None

    async def send(self, question: str) -> None:
        """Ask it, by one line."""
        try:
            with anyio.fail_after(TIMEOUT_SECONDS):
                self._stream = await anyio.connect_unix(self.path)
                await self._stream.send(question.encode("latin-1") + b"\n")
        except FileNotFoundError:
            self.ended = has_ended(self.path)
            if not self.ended:
                self._events.unreachable()
        except ConnectionRefusedError:
            self.ended = remove_if_dead(self.path)
            if self.ended:
                self._events.lost()
            else:
                self._events.unreachable()
        except BROKEN:
            self._events.unreachable()

    async def receive(self) -> None:
        """Wait for its answer, from now on as long as any peer is waited for."""
        if self._stream is None:
            return
        stream = BufferedByteReceiveStream(self._stream)
        try:
            with anyio.fail_after(TIMEOUT_SECONDS):
                self.answer = PeerAnswer(await _part(stream), await _part(stream))
        except BROKEN:
            self._events.unreachable()

    async def close(self) -> None:
        """Ask no more."""
        if self._stream is not None:
            await anyio.aclose_forcefully(self._stream)


async def _part(stream: BufferedByteReceiveStream) -> bytes:
    length = int.from_bytes(await stream.receive_exactly(LENGTH_BYTES), "big")
    return await stream.receive_exactly(length) if length else b""
