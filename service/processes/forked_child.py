"""A forked child: how it becomes what it is to be, and how its supervisor watches it."""

import asyncio
import ctypes
import fcntl
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

_UNKNOWN_STATUS: Final = 255
_ARG_START, _ARG_END = 45, 46  # of /proc/self/stat, counted from the state


class Forked(BaseException):
    """Raised in a child, out of all that its template and the supervisor were about to do."""

    def __init__(self, arguments: list[str]) -> None:
        """Take what this process is to be: the arguments of `flash-sale`."""
        super().__init__(arguments)
        self.arguments = arguments


class ForkedChild:
    """A child of this process that `asyncio` has not started; offers what its `Process` does."""

    def __init__(self, pid: int, handle: int) -> None:
        """Take a child and a descriptor of it; see `watched`."""
        self.pid = pid
        self.returncode: int | None = None
        self._handle = handle
        self._over = asyncio.Event()
        asyncio.get_running_loop().add_reader(handle, self._ended)

    @classmethod
    def watched(cls, pid: int) -> "ForkedChild":
        """Watch a child.

        Raises:
            OSError: There is no descriptor for it; it has been killed.
        """
        try:
            return cls(pid, os.pidfd_open(pid))
        except OSError:
            os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
            raise

    async def wait(self) -> int:
        """Wait for its end and return its exit status, or minus the signal that ended it."""
        await self._over.wait()
        assert self.returncode is not None  # noqa: S101 - for the type
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal; as nobody else asks the kernel for its end, the number is its own until then."""
        os.kill(self.pid, number)

    def _ended(self) -> None:
        asyncio.get_running_loop().remove_reader(self._handle)
        os.close(self._handle)
        try:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        except ChildProcessError:  # SIGCHLD is ignored, so the kernel has not kept it
            self.returncode = _UNKNOWN_STATUS
        self._over.set()


def become(argv: Sequence[str], env: Mapping[str, str], descriptors: Mapping[int, int]) -> None:
    """Give this process its environment, its descriptors and its title.

    Args:
        argv: The arguments of `flash-sale`.
        env: Added to the environment.
        descriptors: What it was handed, by the number that each is to have.
    """
    os.environ.update(env)
    beyond = max([2, *descriptors]) + 1
    moved = {number: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, beyond) for number, fd in descriptors.items()}
    for fd in descriptors.values():
        os.close(fd)
    for number, fd in moved.items():
        os.dup2(fd, number, inheritable=False)
        os.close(fd)
    set_title(["flash-sale", *argv])


def set_title(words: Sequence[str]) -> None:
    """Write what `ps` shows over the command line that this process was forked with, as far as it goes."""
    try:
        stat = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:  # there is no /proc here
        return
    start, end = int(stat[_ARG_START]), int(stat[_ARG_END])
    if start:
        title = b"\0".join(os.fsencode(word) for word in words)[: end - start - 1]
        ctypes.memmove(start, title.ljust(end - start, b"\0"), end - start)
