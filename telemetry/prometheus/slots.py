"""Which of a service's worker processes is which, with nobody telling them.

In a directory that they share, each process claims a slot with a lock on a file. The kernel frees the lock when the
process ends, however it ends, and the next process takes the slot over: to Prometheus that is a reset of its counters.
"""

import fcntl
import os
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path

SOCKET_SUFFIX = ".sock"
LOCK_SUFFIX = ".lock"


class SlotTakenError(RuntimeError):
    """A process that is alive has this slot."""


class Slot:
    """The right to a name in a directory, until it is released or its process ends.

    Args:
        directory: shared by the processes.
        name: the name.

    Attributes:
        name: as above.
        socket_path: where its process answers.

    Raises:
        SlotTakenError: it belongs to a process that is alive.
        OSError: the file cannot be made or locked.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self.socket_path = directory / f"{name}{SOCKET_SUFFIX}"
        self._lock_path = _lock_path(directory, name)
        self._file: int | None = _lock(self._lock_path)
        _held.add(self)
        _let_go_in_children()

    def is_held(self) -> bool:
        """Return whether it is not released."""
        return self._file is not None

    def is_in_place(self) -> bool:
        """Return whether its socket and its lock are still there for others to see."""
        return self._file is not None and self.socket_path.exists() and is_file(self._file, self._lock_path)

    def release(self) -> None:
        """Give it back; a second call does nothing."""
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)
            self.forget()

    def remove(self) -> None:
        """Take its socket and its lock away; it is held still, and whoever waits for the lock sees that it is gone."""
        self.socket_path.unlink(missing_ok=True)
        self._lock_path.unlink(missing_ok=True)

    def forget(self) -> None:
        """Leave it to the process that this one was forked from: the lock of both would last as long as either."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def claim(directory: Path) -> Slot:
    """Claim the first slot that is free: ``worker-0``, ``worker-1``, ...

    Raises:
        OSError: no file can be made or locked there.
    """
    for number in count():
        with suppress(SlotTakenError):
            return Slot(directory, f"worker-{number}")
    raise AssertionError


def of_this_process() -> set[Path]:
    """Return the sockets of slots that this process holds."""
    return {slot.socket_path for slot in list(_held) if slot.is_held()}


def has_ended(socket_path: Path) -> bool:
    """Return whether the process of a socket is known to have ended: its slot is there, and free."""
    return _if_free(socket_path, lambda: True)


def remove_if_dead(socket_path: Path) -> bool:
    """Remove the socket of a process that ended without doing so; whether this call did."""

    def remove() -> bool:
        try:
            socket_path.unlink()
        except OSError:
            return False
        return True

    return _if_free(socket_path, remove)


def _if_free(socket_path: Path, do: Callable[[], bool]) -> bool:
    """Do something while a slot belongs to nobody; a process whose slot somebody removed may live."""
    name = socket_path.name.removesuffix(SOCKET_SUFFIX)
    if not _lock_path(socket_path.parent, name).exists():
        return False
    try:
        slot = Slot(socket_path.parent, name)
    except (SlotTakenError, OSError):
        return False
    try:
        return do()
    finally:
        slot.release()


_held: "weakref.WeakSet[Slot]" = weakref.WeakSet()


@cache
def _let_go_in_children() -> None:
    """Have processes that are forked from this one not hold its locks: they would outlive it."""

    def let_go() -> None:
        for slot in list(_held):
            slot.forget()

    os.register_at_fork(after_in_child=let_go)


def _lock_path(directory: Path, name: str) -> Path:
    return directory / f"{name}{LOCK_SUFFIX}"


def is_file(file: int, path: Path) -> bool:
    """Return whether an open file is still what is at its path."""
    with suppress(OSError):
        return os.path.samestat(os.fstat(file), path.stat())
    return False


def _lock(path: Path) -> int:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise SlotTakenError(f"{path.stem} in {path.parent} belongs to a process that is alive") from None
        except OSError:
            os.close(file)
            raise
        if is_file(file, path):
            return file
        os.close(file)  # whoever cleans up temporary files took it away
