"""Where the worker processes of one server find each other, with nobody telling them.

They accept at one address, whichever server it is and however it starts them: uvicorn, hypercorn and granian hand the
socket to the processes that they spawn, gunicorn's are forked. So the directory is named after the address. A server
with one process may have no socket yet when it starts its application: it has no peers.
"""

import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from ..environment import MAX_SOCKET_DIRECTORY

_OPEN_FILES = Path("/dev/fd")
_NETWORK = Path("/proc/self/ns/net")
_SHORT_TEMPORARY = "/tmp"  # noqa: S108 - where a socket's path would be too long; `private_directory` looks whose it is


def meeting_place(service_name: str) -> Path | None:
    """Make the directory of those who accept where this process does; None for a process that has no socket yet.

    Args:
        service_name: one server may have two services in it, mounted.

    Raises:
        OSError: it cannot be made, or is somebody else's.
    """
    address = served_address()
    if address is None:
        return None
    network = str(_NETWORK.readlink()) if _NETWORK.exists() else ""  # containers may share /tmp and use one port
    name = blake2b(repr((service_name, network, address)).encode(), digest_size=8).hexdigest()
    return make_anew(_temporary_directory() / f"truemeter-{os.geteuid()}" / name)


def make_anew(place: Path) -> Path:
    """Make a meeting place where it is not there, or not any more.

    Raises:
        OSError: as `meeting_place`.
    """
    _closed_directory(place.parent)
    return _closed_directory(place)


def served_address() -> object | None:
    """Return where this process accepts, or will: the address of the first socket that it was given for that."""
    try:
        files = sorted(int(entry.name) for entry in _OPEN_FILES.iterdir())
    except OSError:
        return None
    return next(_addresses(files), None)


def _addresses(files: list[int]) -> Iterator[object]:
    for file in files:
        with suppress(OSError):  # it is the listing's own, and closed by now
            if stat.S_ISSOCK(os.fstat(file).st_mode):
                with socket.socket(fileno=os.dup(file)) as found:
                    address = _address(found)
                if address:
                    yield address


def _address(found: socket.socket) -> object | None:
    if found.type != socket.SOCK_STREAM or _is_connected(found):
        return None
    name = found.getsockname()
    if isinstance(name, str):
        return os.path.abspath(name) if name else None  # noqa: PTH100 - not resolved: it may not exist any more
    if isinstance(name, bytes):
        return name
    return tuple(name) if isinstance(name, tuple) and len(name) > 1 and name[1] else None


def _is_connected(found: socket.socket) -> bool:
    try:
        found.getpeername()
    except OSError:
        return False
    return True


def _temporary_directory() -> Path:
    chosen = tempfile.gettempdir()
    room = len("/truemeter-4294967295/0123456789abcdef")
    return Path(chosen if len(os.fsencode(chosen)) + room <= MAX_SOCKET_DIRECTORY else _SHORT_TEMPORARY)


def private_directory(directory: Path) -> Path:
    """Make a directory that only this user may look into.

    Raises:
        OSError: it cannot be made, or somebody else has made it, who may where temporary files are.
    """
    made = _made(directory)
    if not stat.S_ISDIR(made.st_mode) or made.st_uid != os.geteuid():
        raise PermissionError(f"{directory} is not a directory of this user")
    return directory


def _made(directory: Path) -> os.stat_result:
    while True:  # the last process of those before may take it away as this one comes
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700, parents=True)
        with suppress(FileNotFoundError):
            return directory.lstat()


def _closed_directory(directory: Path) -> Path:
    private_directory(directory)
    mode = stat.S_IMODE(_made(directory).st_mode)
    if mode & 0o077:
        raise PermissionError(f"{directory} is open to others: its mode is {mode:o}")
    return directory
