"""Private directories and lock files, for the embedded store."""

import fcntl
import os
import stat
from pathlib import Path


class NotPrivateError(RuntimeError):
    """A directory cannot be this user's alone."""


def private_directory(directory: Path) -> None:
    """Make a directory that only this user may enter, or make sure that it is one.

    Raises:
        NotPrivateError: it is no directory, or another user's.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise NotPrivateError(f"{directory} is not a directory of this user")
    directory.chmod(0o700)


def open_lock(path: Path) -> int:
    """Open a lock file, making it if need be; return its descriptor."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def try_lock(lock: int) -> bool:
    """Take a lock, or say that somebody else has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_pid(lock: int, pid: int) -> None:
    """Say in a lock file who holds it."""
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{pid}\n".encode(), 0)
