"""The embedded store: private, durable, and never two on one directory."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from service.store.client import STORE_ERRORS, connect
from service.store.embedded import EmbeddedStore
from service.store.server_process import StoreFailed, StoreInUse, attach, socket_path
from tests.support import Program, cannot_run, eventually, wait_until
from tests.support.processes import alive, send_signal, start
from tests.support.stores import binary

OWNER = """
import sys, time
from pathlib import Path
from service.store.embedded import EmbeddedStore
store = EmbeddedStore(Path(sys.argv[1]))
store.start()
print("pid", store.pid, flush=True)
while True:
    time.sleep(60)
"""


@pytest.fixture(params=["valkey", "redis"])
def program(request: pytest.FixtureRequest) -> str:
    """Return each server program that may serve as the embedded store."""
    return binary(request.param)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    """Yield a running embedded store."""
    with EmbeddedStore(tmp_path / "data") as running:
        yield running


def client_of(store: EmbeddedStore) -> redis.Redis:
    """Return a blocking client of an embedded store."""
    return redis.Redis.from_url(store.url, retry=None, decode_responses=True)


def test_listens_on_a_private_socket_only_and_keeps_what_it_is_told(program: str, tmp_path: Path) -> None:
    """No TCP port, a directory and a socket for this user alone, AOF on every write, no eviction."""
    with EmbeddedStore(tmp_path / "a dir", program=program) as store, client_of(store) as client:
        config = {name: client.config_get(name)[name] for name in ("port", "appendonly", "appendfsync", "save")}
        assert config == {"port": "0", "appendonly": "yes", "appendfsync": "always", "save": ""}
        assert client.info("memory")["maxmemory_policy"] == "noeviction"
        path = socket_path(store.data_dir)
        assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o700, 0o700)


def test_an_orderly_stop_keeps_everything_even_with_fsync_once_a_second(program: str, tmp_path: Path) -> None:
    """A restart has what was written a moment before the stop."""
    store = EmbeddedStore(tmp_path, fsync="everysec", program=program)
    with store, client_of(store) as client:
        client.set("order", "1")
    assert not store.running()
    with store, client_of(store) as client:
        assert client.get("order") == "1"


async def test_kill_9_under_a_writer_loses_no_acknowledged_write(program: str, tmp_path: Path) -> None:
    """Every INCR that was answered is there after the crash; at most one unanswered one may be too."""
    with EmbeddedStore(tmp_path, program=program) as store:
        answered = 0

        async def write() -> None:
            nonlocal answered
            async with connect(store.url, name="writer") as client:
                while True:
                    answered = int(await client.incr("n"))

        writer = asyncio.create_task(write())
        await wait_until(lambda: answered >= 200, what="200 writes answered")
        assert store.pid is not None
        send_signal(store.pid, signal.SIGKILL)
        with pytest.raises(STORE_ERRORS):
            await writer
        eventually(lambda: not store.running(), what="the server is dead")
        store.start()
        with client_of(store) as client:
            assert int(client.get("n") or 0) - answered in (0, 1)


async def test_keep_running_starts_a_dead_server_again_with_its_data(store: EmbeddedStore) -> None:
    """A client notices nothing but a short outage, and the data is there."""
    stop = asyncio.Event()
    guard = asyncio.create_task(store.keep_running(stop))
    async with connect(store.url, name="test") as client:
        await client.set("order", "1")
        first = store.pid
        assert first is not None
        send_signal(first, signal.SIGKILL)

        async def read() -> object:
            try:
                return await client.get("order")
            except STORE_ERRORS:
                return None

        assert await wait_until(read, what="the store is back") == "1"
    assert store.pid != first
    stop.set()
    await guard


def test_a_second_owner_is_refused_with_one_line(store: EmbeddedStore) -> None:
    """The line names the directory and the process that has it."""
    with pytest.raises(StoreInUse) as refused:
        EmbeddedStore(store.data_dir).start()
    assert str(refused.value) == f"{store.data_dir} is in use by another flash-sale (process {os.getpid()})"
    assert store.running()


def test_attach_finds_a_running_store_and_nothing_else(store: EmbeddedStore, tmp_path: Path) -> None:
    """A tool can look into the store of a running service without owning it."""
    assert attach(store.data_dir) == store.url
    assert attach(tmp_path / "elsewhere") is None
    store.stop()
    assert attach(store.data_dir) is None


def test_a_long_path_gets_a_socket_elsewhere_that_every_process_finds(tmp_path: Path) -> None:
    """The kernel limits socket paths to about 100 bytes; the directory of the fallback is private."""
    deep = tmp_path / ("d" * 120)
    with EmbeddedStore(deep) as store, client_of(store) as client:
        assert client.ping()
        assert attach(deep) == store.url
        assert len(store.url) < 100
        assert socket_path(deep).parent.stat().st_mode & 0o777 == 0o700
    shutil.rmtree(socket_path(deep).parent)


def test_a_fallback_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    """A symbolic link planted under the temporary directory is not followed."""
    deep = tmp_path / ("d" * 120)
    planted = socket_path(deep).parent
    planted.symlink_to(tmp_path)
    try:
        with pytest.raises(StoreFailed, match="not a directory of this user"):
            EmbeddedStore(deep).start()
    finally:
        planted.unlink()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    """The last line of its log is in the message, and the directory is free again."""
    store = EmbeddedStore(tmp_path)
    with store:
        pass
    manifest = next(tmp_path.glob("appendonlydir/*.manifest"))
    manifest.write_text("nonsense\n")
    with pytest.raises(StoreFailed, match="ended as it started: "):
        store.start()
    manifest.unlink()
    with store:
        assert store.running()


def test_the_server_ends_with_an_owner_that_is_killed(tmp_path: Path) -> None:
    """On Linux the kernel ends it, and the next owner finds the directory free and the data whole."""
    if sys.platform != "linux":
        cannot_run("PR_SET_PDEATHSIG is Linux's")
    with Program.python("-c", OWNER, str(tmp_path)) as owner:
        pid = int(owner.wait_for_line("pid ").split()[-1])
        with redis.Redis.from_url(f"unix://{socket_path(tmp_path)}") as client:
            client.set("order", "1")
        owner.kill9()
    eventually(lambda: not alive(pid), 10, "the server has ended")
    with EmbeddedStore(tmp_path) as store, client_of(store) as client:
        assert client.get("order") == "1"


@pytest.mark.needs("flock")
def test_a_server_left_behind_is_stopped_before_a_new_one_starts(tmp_path: Path) -> None:
    """Two servers never write to one log: the new one waits for the lock of the old one."""
    store = EmbeddedStore(tmp_path)
    argv = store._argv()
    tmp_path.chmod(0o700)
    lock = tmp_path / "server.lock"
    with lock.open("w") as held:
        flocked = ["flock", "--no-fork", str(lock), *argv]
        left_behind = start(flocked, cwd=tmp_path, stdout=subprocess.DEVNULL)
        held.write(f"{left_behind.pid}\n")
    eventually(lambda: attach(tmp_path), what="the old server answers")
    with client_of(store) as client:
        client.set("order", "1")
    with store, client_of(store) as client:
        assert client.get("order") == "1"
        assert left_behind.wait(5) == 0
