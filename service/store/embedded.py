"""The embedded store: a Valkey (or Redis >= 7) of our own, on a unix socket, with its data in one directory.

Every write that was answered is on the disk first (`fsync="always"`), so a crash loses nothing that was
acknowledged. Two locks in the directory say who is there: `owner.lock` is held by the process that runs the
store, `server.lock` by the server itself. A second owner is refused. A server whose owner was killed is
stopped before a new one starts. On Linux the server ends with its owner in the first place.

    with EmbeddedStore(Path(".data")) as store:
        client = connect(store.url, name="api-0")
"""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, Self

import redis
import structlog

from service.directories import real_path
from service.parent_death import die_with_parent
from service.store.disk import GONE, OWNER_LOCK, trouble_of, try_to_write
from service.store.files import NotPrivateError, open_lock, private_directory, try_lock, write_pid
from service.store.server_process import (
    STOP_SECONDS,
    OwnerConnection,
    StoreFailed,
    StoreInUse,
    answers,
    end,
    place_of_socket,
    refuse_trouble,
    send,
    server_program,
    socket_path,
    socket_url,
)

Fsync = Literal["always", "everysec"]

START_SECONDS: Final = 60.0  # a large log takes a while to load
_POLL_SECONDS: Final = 0.01
_WATCH_SECONDS: Final = 0.1
_LOOK_SECONDS: Final = 0.5
_SAY_SECONDS: Final = 5.0

_log: structlog.stdlib.BoundLogger = structlog.get_logger("flash_sale.store")


class EmbeddedStore:
    """One server on one directory, owned by this process from `start` to `stop`.

    Start it from the main thread: on Linux the server ends with the thread that started it.
    """

    def __init__(self, data_dir: Path, *, fsync: Fsync = "always", program: str | None = None) -> None:
        """Describe a store; `program` overrides the server that is found by itself."""
        self.data_dir = real_path(data_dir)
        self._fsync = fsync
        self._program = program
        self._socket = socket_path(data_dir)
        self._owner: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: OwnerConnection | None = None

    @property
    def url(self) -> str:
        """The address of the store, as `REDIS_URL` has it."""
        return socket_url(self._socket)

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
        await _beside(self._starting())

    def _starting(self) -> Iterator[None]:
        """Start; yields whenever there is something to wait for."""
        if self.running():
            return
        try:
            private_directory(self.data_dir)
            place_of_socket(self._socket, self.data_dir)
        except NotPrivateError as error:
            raise StoreFailed(str(error)) from None
        except OSError as error:
            raise StoreFailed(f"DATA_DIR: {error.filename or self.data_dir}: {error.strerror}") from None
        self._take_ownership()
        try:
            refuse_trouble(self.data_dir)
            yield from self._launching()
        except BaseException:
            self.stop()
            raise

    def _launching(self) -> Iterator[None]:
        self._disconnect()
        place_of_socket(self._socket, self.data_dir)
        lock = yield from self._server_lock()
        self._launch(lock)
        yield from self._loading()
        self._connection = OwnerConnection(self._socket)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def stop(self) -> None:
        """Stop the server in order and give the directory free; safe to call twice."""
        self._disconnect()
        if self._process is not None:
            end(self._process)
            self._process = None
        self._give_up_ownership()

    def _give_up_ownership(self) -> None:
        if self._owner is not None:
            os.close(self._owner)
            self._owner = None

    async def keep_running(self, stop: asyncio.Event) -> None:
        """Start the server again whenever it dies, and save its data when its files are removed, until `stop` is set.

        The caller has started it.

        Raises:
            StoreFailed: It could not be started again.
            StoreInUse: Its directory was removed, and another process made it anew.
        """
        look_at = 0.0
        while not stop.is_set():
            if not self.running():
                await self._start_again(stop)
            elif time.monotonic() >= look_at:
                look_at = time.monotonic() + _LOOK_SECONDS
                await self._save_what_was_removed()
            with suppress(TimeoutError):
                async with asyncio.timeout(_WATCH_SECONDS):
                    await stop.wait()

    async def _start_again(self, stop: asyncio.Event) -> None:
        """Start the server that died, as soon as the directory takes writes.

        Where its files are gone it does not begin with nothing: they may come back with a disk that was taken out.
        """
        status = self._process.returncode if self._process else None
        _log.warning("store died, starting it again", status=status)
        said = -_SAY_SECONDS
        while (trouble := try_to_write(self.data_dir)) is not None and not stop.is_set():
            if time.monotonic() >= said + _SAY_SECONDS:
                said = time.monotonic()
                _log.error("the store cannot run", reason=trouble.reason, error=trouble.text)
            await asyncio.sleep(_WATCH_SECONDS)
        if stop.is_set():
            return
        await _beside(self._launching())
        _log.info("store is back", pid=self.pid)

    async def _save_what_was_removed(self) -> None:
        """Make the directory, the log or the socket anew if it is gone, from what the server has in its memory."""
        trouble = trouble_of(self.data_dir)
        if self._connection is None or ((trouble is None or trouble.reason != GONE) and self._socket.exists()):
            return
        text = trouble.text if trouble else f"{self._socket} was removed while the store runs"
        _log.error("the files of the store were removed and are written anew", error=text)
        try:
            private_directory(self.data_dir)
            self._give_up_ownership()
            self._take_ownership()
            await _beside(self._connection.write_anew(self.data_dir))
        except (NotPrivateError, OSError, redis.RedisError) as error:
            _log.error("the files of the store cannot be written anew", error=str(error))
            return
        if not self._socket.exists():
            await _beside(self._restarting())
        _log.warning("the files of the store were written anew, nothing is lost", pid=self.pid)

    def _restarting(self) -> Iterator[None]:
        """Restart the server: it listens nowhere else."""
        if self._process is not None:
            self._process.terminate()
            while self.running():
                yield
        yield from self._launching()

    def _take_ownership(self) -> None:
        if self._owner is not None:
            return
        lock = open_lock(self.data_dir / OWNER_LOCK)
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
                send(pid, how)
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
            "enable-protected-configs": "local",  # `dir` is one, see `_save_what_was_removed`
        }
        argv = [self._program or server_program()]
        for name, value in settings.items():
            argv += [f"--{name}", value]
        return argv

    def _loading(self) -> Iterator[None]:
        begun = said = time.monotonic()
        while not answers(self._socket):
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

    def __exit__(self, *_: object) -> None:
        self.stop()


async def _beside(steps: Iterator[None]) -> None:
    """Go through steps, and let the event loop run between them."""
    for _ in steps:
        await asyncio.sleep(_POLL_SECONDS)
