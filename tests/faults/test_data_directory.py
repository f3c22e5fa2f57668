"""The embedded store's directory is full, too small, or removed while it runs: said at once, and nothing is lost."""

import asyncio
import errno
import os
import resource
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import perf_counter

import httpx
import pytest

from service.store import STORE_ERRORS
from service.store.embedded import EmbeddedStore
from service.store.server_process import socket_path
from tests.faults.kit import PRODUCT, Auditor, buy, fleet, put_product
from tests.support import eventually, wait_until
from tests.support.counts import injected, mended
from tests.support.hardware import Hardware
from tests.support.http import http_client
from tests.support.processes import run
from tests.support.service import Fleet
from tests.support.stores import binary

SAID_WITHIN_SECONDS = 3.0
SAID_OF_SILENCE_WITHIN_SECONDS = 10.0  # between two slow writes one may pass, and it is said anew
BACK_WITHIN_SECONDS = 6.0
LOG = Path("appendonlydir")


def removed(directory: Path) -> None:
    """Remove a directory in which the store may be writing: files come and go meanwhile."""
    while directory.exists():
        with suppress(OSError):
            shutil.rmtree(directory)


def everything(data: Path) -> None:
    removed(data)


def all_that_is_in_it(data: Path) -> None:
    for path in data.iterdir():
        removed(path) if path.is_dir() else path.unlink(missing_ok=True)


def the_log(data: Path) -> None:
    removed(data / LOG)


def one_file_of_the_log(data: Path) -> None:
    next((data / LOG).glob("*.incr.aof")).unlink()


def the_socket(data: Path) -> None:
    socket_path(data).unlink()


def moved_away(data: Path) -> None:
    data.rename(data.with_name("elsewhere"))


WAYS = [everything, all_that_is_in_it, the_log, one_file_of_the_log, the_socket, moved_away]


@pytest.mark.parametrize("name", ["data", "d" * 120], ids=["socket inside", "socket elsewhere"])
@pytest.mark.parametrize("kind", ["valkey", "redis"])
async def test_what_is_removed_is_written_anew(tmp_path: Path, kind: str, name: str) -> None:
    """In each way, one after the other; each time something is written, and all of it is there after a restart."""
    store = EmbeddedStore(tmp_path / name, program=binary(kind))  # type: ignore[arg-type]
    with store:
        stop = asyncio.Event()
        keeper = asyncio.create_task(store.keep_running(stop))
        for number, remove in enumerate(WAYS):
            async with Auditor.of(store.url) as auditor:
                await auditor.client.set(f"before {number}", 1)
                remove(store.data_dir)
                injected()
                await auditor.client.set(f"meanwhile {number}", 1)  # a connection that is open goes on

            async def written_anew() -> bool:
                try:
                    async with Auditor.of(store.url) as other:
                        await other.client.set(f"after {number}", 1)  # noqa: B023 - awaited in this round
                except STORE_ERRORS:
                    return False
                return (store.data_dir / LOG / "appendonly.aof.manifest").exists()

            await wait_until(written_anew, 15, f"{remove.__name__}: the store is there")
            await wait_until(lambda: sorted(store.data_dir.glob(f"{LOG}/*.incr.aof")), 15, "its log, too")
            await wait_until(lambda: store._connection, 15, "who keeps it has seen that it is there")
            shutil.rmtree(store.data_dir.with_name("elsewhere"), ignore_errors=True)
        stop.set()
        await keeper
    with store:
        async with Auditor.of(store.url) as auditor:
            assert len(await auditor.client.keys()) == 3 * len(WAYS)
    if socket_path(store.data_dir).parent != store.data_dir:
        shutil.rmtree(socket_path(store.data_dir).parent)


@pytest.fixture
def small_disk(tmp_path: Path) -> tuple[Path, list[str]]:
    """Return a directory, and the command by which a program is started that sees a disk of 6 MB there."""
    disk = tmp_path / "disk"
    disk.mkdir()
    user = [] if os.getuid() == 0 else ["--map-root-user", "--user"]
    mounted = f'mount -t tmpfs -o size=6m tmpfs {disk} && exec "$@"'
    prefix = ["unshare", "--mount", "--propagation", "private", *user, "sh", "-c", mounted, "sh"]
    if run([*prefix, "true"]).returncode:
        pytest.skip("this user may not mount a small disk in a namespace of its own")
    return disk, prefix


def fill(disk: Path) -> Path:
    """Write a file until nothing more can be written."""
    path = disk / "fill"
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            continue
    return path


async def says(client: httpx.AsyncClient, reason: str | None) -> float:
    """Wait until health and readiness say why no order is taken, or that one is; return how long that took."""
    began = perf_counter()

    async def agreed() -> bool:
        ready = (await client.get("/readyz")).status_code
        health = (await client.get("/monitoring/health")).json()
        return (ready, health["store_reason"]) == (503 if reason else 200, reason)

    await wait_until(agreed, 15, f"it says {reason}")
    return perf_counter() - began


async def ordered(client: httpx.AsyncClient, key: str) -> httpx.Response:
    """Order one unit under a key of its own."""
    body = {"product_id": PRODUCT, "user_id": key, "quantity": 1}
    return await client.post("/orders", json=body, headers={"Idempotency-Key": key})


async def retried(client: httpx.AsyncClient) -> list[httpx.Response]:
    """Order twenty units under the same keys each time, a few at a time: the first may pass, the next wait in vain."""
    answers: list[httpx.Response] = []
    while len(answers) < 20:
        answers += await asyncio.gather(*(ordered(client, f"try-{len(answers) + n}") for n in range(5)))
    return answers


async def broken_and_mended(
    running: Fleet, store_url: str, reason: str, break_it: Callable[[], None], mend: Callable[[], None]
) -> None:
    """Sell, break the store's disk, see that it is said, mend it, and find each order that was accepted, once."""
    async with http_client(running.url, timeout=15) as client:
        await put_product(running.url, stock=1000)
        accepted = await buy(running.url, 20, keys="before")
        injected(lasts=True)
        await asyncio.to_thread(break_it)
        tried = await retried(client)
        most = SAID_OF_SILENCE_WITHIN_SECONDS if reason == "timeout" else SAID_WITHIN_SECONDS
        assert await says(client, reason) < most
        refused = await ordered(client, "meanwhile")
        assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")
        eventually(lambda: f'"reason":"{reason}"' in running.log.replace(" ", ""), 5, "the log says so")
        await asyncio.to_thread(mend)
        mended()
        assert await says(client, None) < BACK_WITHIN_SECONDS
        again = await retried(client)
        again.append(await ordered(client, "meanwhile"))  # what came to its end unheard may have been done
    assert {answer.status_code for answer in again} <= {200, 202}
    assert [new.json()["order_id"] for old, new in zip(tried, again, strict=False) if old.is_success] == [
        old.json()["order_id"] for old in tried if old.is_success
    ]
    async with Auditor.of(store_url) as auditor:
        dump = await auditor.at_rest()
    assert sorted(dump.orders) == sorted([*accepted, *(answer.json()["order_id"] for answer in again)])


@pytest.mark.needs("unshare")
async def test_a_full_disk(small_disk: tuple[Path, list[str]]) -> None:
    """The store ends at the write that fails, and starts again by itself once there is room."""
    disk, prefix = small_disk
    async with fleet(disk / "data", prefix=prefix) as running:
        seen = Path(f"/proc/{running.program.pid}/root") / disk.relative_to("/")
        filled: list[Path] = []
        url = f"unix://{seen}/data/store.sock"
        await broken_and_mended(
            running, url, "disk_full", lambda: filled.append(fill(seen)), lambda: filled.pop().unlink()
        )


async def test_a_log_that_may_not_grow(tmp_path: Path) -> None:
    """`ulimit -f`, lowered and raised while it runs."""
    data = tmp_path / "data"
    async with fleet(data) as running:

        def limit(size: int) -> None:
            for pid in running.everybody():
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

        largest = max(path.stat().st_size for path in (data / LOG).iterdir())
        await broken_and_mended(
            running,
            f"unix://{data}/store.sock",
            "file_too_large",
            lambda: limit(largest + 2000),
            lambda: limit(resource.RLIM_INFINITY),
        )


@pytest.mark.parametrize(
    ("reason", "fault"),
    [("unreachable", {"error": errno.EIO}), ("timeout", {"seconds": 2.5})],
    ids=["fails", "is slow"],
)
async def test_a_disk_that_does_not_sync(
    tmp_path: Path, hardware: Hardware, reason: str, fault: dict[str, float]
) -> None:
    """The store answers nothing that is not on the disk; it ends, or is waited for, and goes on when the disk does."""
    data = tmp_path / "data"
    async with fleet(data, env=hardware.environ) as running:
        await broken_and_mended(
            running,
            f"unix://{data}/store.sock",
            reason,
            lambda: hardware.set_disk(**fault),  # type: ignore[arg-type]
            hardware.set_disk,
        )


async def test_a_directory_that_is_removed_and_cannot_be_made(tmp_path: Path) -> None:
    """Nothing is sold from memory alone: readiness says it until the log can be written; then nothing was lost."""
    data = tmp_path / "data"

    def remove() -> None:
        shutil.rmtree(data)
        data.touch()

    async with fleet(data) as running, http_client(running.url, timeout=15) as client:
        await put_product(running.url, stock=1000)
        accepted = await buy(running.url, 20)
        injected(lasts=True)
        await asyncio.to_thread(remove)
        assert await says(client, "directory_gone") < SAID_WITHIN_SECONDS
        eventually(lambda: "the files of the store were removed" in running.log, 5, "the log says so")
        data.unlink()
        mended()
        await wait_until(lambda: "were written anew, nothing is lost" in running.log, BACK_WITHIN_SECONDS, "it is made")
        assert await says(client, None) < BACK_WITHIN_SECONDS
        accepted += await buy(running.url, 20, keys="after")
        async with Auditor.of(f"unix://{data}/store.sock") as auditor:
            await auditor.at_rest()
    async with fleet(data) as running, Auditor.of(f"unix://{data}/store.sock") as auditor:
        assert sorted((await auditor.at_rest()).orders) == sorted(accepted)
