"""A log that nobody reads, that goes to a full disk or nowhere, stops neither a start, nor a request, nor the end."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.support import RedisServer, eventually, free_port
from tests.support.http import http_get
from tests.support.processes import start
from tests.support.program import SCRIPT


@contextmanager
def service(store: RedisServer, stdout: int, *, shell: str = "") -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Yield an API whose output goes to a descriptor, and its URL."""
    port = free_port()
    env = {**os.environ, "PORT": str(port), "REDIS_URL": store.url, "LOG_LEVEL": "info", "TELEMETRY_SLOW_SECONDS": "60"}
    argv = ["sh", "-c", f'exec "$0" api {shell}', SCRIPT] if shell else [SCRIPT, "api"]
    process = start(argv, env=env, stdout=stdout, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: up(url), 60, "it serves")
        yield process, url
    finally:
        process.kill()
        process.wait(10)


def up(url: str) -> bool:
    try:
        return http_get(f"{url}/readyz", timeout=5).is_success
    except httpx.TransportError:
        return False


def ended(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(20)


def lost(url: str) -> dict[str, float]:
    text = http_get(f"{url}/metrics", timeout=5).text
    found = re.findall(r'^telemetry_log_lines_dropped_total\{reason="(\w+)",.*\} (\S+)$', text, re.MULTILINE)
    return {reason: float(number) for reason, number in found}


def test_a_pipe_that_nobody_reads(valkey_server: RedisServer) -> None:
    """It is full before a request comes; all of them are answered, the lines are counted, SIGTERM is heard."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 1024)
    os.set_blocking(writer, True)
    try:
        with service(valkey_server, writer) as (process, url), httpx.Client(base_url=url, timeout=10) as client:
            assert lost(url) == {"full": 0, "failed": 0, "repeated": 0}
            for _ in range(200):
                assert client.post("/orders", content=b"junk").status_code in (415, 422)
            assert ended(process) == 0
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk(valkey_server: RedisServer) -> None:
    with open("/dev/full", "wb", buffering=0) as full, service(valkey_server, full.fileno()) as (process, url):  # noqa: PTH123
        assert lost(url)["failed"] > 0
        assert ended(process) == 0


@pytest.mark.parametrize("shell", [">&-", ">&- 2>&-", ">&- 2>&- <&-"])
def test_streams_that_are_closed(valkey_server: RedisServer, shell: str) -> None:
    with service(valkey_server, subprocess.DEVNULL, shell=shell) as (process, url):
        assert http_get(f"{url}/inventory", timeout=5).status_code == 200
        assert ended(process) == 0


def test_a_reader_that_goes_away(valkey_server: RedisServer) -> None:
    reader, writer = os.pipe()
    with service(valkey_server, writer) as (process, url):
        os.close(reader)
        os.close(writer)
        assert http_get(f"{url}/inventory", timeout=5).status_code == 200
        assert ended(process) == 0
