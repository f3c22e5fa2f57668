"""`/metrics` on another port: of one of the workers, for all of them."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from telemetry import CounterSpec, SettingsError, Telemetry, TelemetrySettings
from telemetry.prometheus import server
from tests.support import free_port, serve, wait_until
from tests.support.http import http_client

SERVED = CounterSpec(name="shop.served", unit="{customer}", description="Served.")


@asynccontextmanager
async def worker(
    port: int, name: str = "w", directory: Path | None = None, service: str = "shop"
) -> AsyncIterator[str]:
    """Serve an application that has its metrics on a port; yields its own URL."""
    settings = TelemetrySettings(
        service_name=service, worker=name, socket_dir=directory, metrics_address=("127.0.0.1", port)
    )
    telemetry = Telemetry(settings, set_global=False)
    telemetry.counter(SERVED).add(1)
    app = FastAPI()
    app.add_api_route("/x", lambda: None)
    telemetry.install(app, metrics_path=None)
    async with serve(app) as url:
        yield url


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try more often than a service does."""
    monkeypatch.setattr(server, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(server, "TIMEOUT_SECONDS", 1.0)


async def test_it_is_there_and_nowhere_else() -> None:
    """With what a scraper may ask for: a format, gzip, names."""
    port = free_port()
    async with worker(port) as url, http_client(f"http://127.0.0.1:{port}") as client:
        assert (await client.get(f"{url}/x")).status_code == 200
        assert (await client.get(f"{url}/metrics")).status_code == 404
        answer = await client.get("/metrics", headers={"Accept": "application/openmetrics-text"})
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        assert answer.headers["content-encoding"] == "gzip"
        assert 'http_route="/x"' in answer.text
        assert answer.text.endswith("# EOF\n")
        named = await client.get("/metrics", params={"name[]": ["shop_served", "target_info"]})
        assert [line.partition("{")[0] for line in named.text.splitlines() if line[0] != "#"] == [
            "target_info",
            "shop_served_total",
        ]
        head = await client.head("/metrics")
        assert (head.status_code, head.content, int(head.headers["content-length"]) > 100) == (200, b"", True)
        assert (await client.get("/x")).status_code == 404
        assert (await client.post("/metrics")).status_code == 405
    async with http_client() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://127.0.0.1:{port}/metrics")


@pytest.mark.parametrize(
    "request_bytes",
    [b"nonsense\r\n\r\n", b"\xff\xfe\r\n\r\n", b"GET /metrics HTTP/1.1\r\nx: " + b"y" * 20_000 + b"\r\n\r\n"],
)
async def test_what_is_no_request_is_refused(request_bytes: bytes) -> None:
    """In bounded time and memory, and who comes next is answered."""
    port = free_port()
    async with worker(port):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.settimeout(0)
            reader = await _answer(sock, request_bytes)
        assert reader.startswith(b"HTTP/1.1 400 Bad Request") or reader == b""
        async with http_client() as client:
            assert (await client.get(f"http://127.0.0.1:{port}/metrics")).status_code == 200


async def _answer(sock: socket.socket, request: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, request)
    try:
        return await asyncio.wait_for(loop.sock_recv(sock, 65_536), 5)
    except ConnectionError:
        return b""


async def test_who_says_nothing_holds_no_place() -> None:
    """Connections beyond the limit are closed, and all of them after a while."""
    port = free_port()
    async with worker(port):
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(server.MAX_CONNECTIONS + 8)]

        async def answered() -> bool:
            async with http_client() as client:
                try:
                    return (await client.get(f"http://127.0.0.1:{port}/metrics")).status_code == 200
                except httpx.TransportError:
                    return False

        await wait_until(answered, 15, "the silent ones hold no place")
        for each in silent:
            each.close()


async def test_one_of_the_workers_answers_for_all_and_another_takes_its_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a word in the log: that several want one port is no mistake."""
    port = free_port()
    async with http_client() as client:

        async def workers() -> int:
            try:
                text = (await client.get(f"http://127.0.0.1:{port}/metrics?name[]=shop_served_total")).text
            except httpx.TransportError:
                return 0
            return text.count("shop_served_total{")

        async with both(port, tmp_path) as first_ends:
            assert await workers() == 2
            await first_ends()
            for _ in range(200):
                if await workers() == 1:
                    break
            else:
                raise AssertionError("nobody took the port")
    assert [record for record in caplog.records if record.name.startswith("telemetry")] == []


@asynccontextmanager
async def both(port: int, directory: Path) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    first = worker(port, "w1", directory)
    await first.__aenter__()
    async with worker(port, "w2", directory):
        yield lambda: first.__aexit__(None, None, None)


@pytest.mark.parametrize("other", ["other", "shop"], ids=["another service", "its like, at another address"])
async def test_a_stranger_on_the_port_is_told_once(other: str, caplog: pytest.LogCaptureFixture) -> None:
    """With whose metrics are not there, for the port does not answer for them; and the service serves without it."""
    port = free_port()
    async with worker(port, service=other), worker(port) as url, http_client() as client:
        await wait_until(lambda: "is taken by somebody else" in caplog.text, 5, "it is told")
        assert (await client.get(f"{url}/x")).status_code == 200
        assert (await client.get(f"http://127.0.0.1:{port}/metrics")).text.count("shop_served_total{") == 1
    told = [record.getMessage() for record in caplog.records if "taken by somebody else" in record.getMessage()]
    assert len(told) == 1
    assert told[0].startswith(f"OTEL_EXPORTER_PROMETHEUS_PORT: 127.0.0.1:{port} is taken by somebody else")
    assert "of shop;" in told[0]


async def test_an_address_that_cannot_be_had_is_refused() -> None:
    """At start, in one line that begins with the variable."""
    telemetry = Telemetry(
        TelemetrySettings(service_name="shop", metrics_address=("203.0.113.1", 9464)), set_global=False
    )
    with pytest.raises(RuntimeError, match=r"^OTEL_EXPORTER_PROMETHEUS_PORT: cannot listen on 203\.0\.113\.1:9464: "):
        async with telemetry.running():
            pass


def test_the_environment_asks_for_it() -> None:
    """By the port; a host alone asks for nothing, and what is no port is refused."""

    def address(**environ: str) -> tuple[str, int] | None:
        return TelemetrySettings.from_env(environ, service_name="s").metrics_address

    port, host = "OTEL_EXPORTER_PROMETHEUS_PORT", "OTEL_EXPORTER_PROMETHEUS_HOST"
    assert address() is address(**{host: "::1"}) is None
    assert address(**{port: "9464"}) == ("localhost", 9464)
    assert address(**{port: "9464", host: "::1"}) == ("::1", 9464)
    for wrong in ("x", "70000", "-1"):
        with pytest.raises(SettingsError, match=r"^OTEL_EXPORTER_PROMETHEUS_PORT"):
            address(**{port: wrong})
