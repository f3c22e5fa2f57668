"""Part `watchers`: what 500 WebSockets of `/monitoring` cost, 50 of which never read.

Under load: orders as fast as one API process takes them, with and without the sockets in turn, A B A B, a fresh process
and an emptied store each time. At rest: the same process with no orders, by the number of sockets: what it asks of the
store, its CPU, its memory. `python -m benchmarks.watchers measure` does both and prints the tables of
docs/performance.md.
"""

import asyncio
import re
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from benchmarks import load, machine, shop
from benchmarks.bench import Bench, Row, measure_part, select, values
from benchmarks.program import Program, python
from benchmarks.report import spread, table
from benchmarks.rounds import Slice, check, serving
from benchmarks.subjects import STOCK, subject

PART = "watchers"
NAME = "ours-lean-all"
SOCKETS, DEAF = 500, 50
REST_SECONDS = 10.0
OPEN = "all are open"
HANDSHAKE = (
    b"GET /monitoring HTTP/1.1\r\nHost: watchers\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def run(bench: Bench) -> list[Row]:
    """Measure under load, without and with the sockets in turn, then at rest with 0, 1 and all of them."""
    rows: list[Row] = []
    for number in range(bench.scale.rounds):
        rows += [_loaded(bench, sockets, number) for sockets in (0, SOCKETS)]
    return rows + [_at_rest(bench, sockets) for sockets in (0, 1, SOCKETS)]


@contextmanager
def watching(port: int, sockets: int) -> Iterator[None]:
    """Keep sockets open while the block lasts, in a process of their own beside the load."""
    if not sockets:
        yield
        return
    deaf = DEAF if sockets > DEAF else 0
    program = Program(
        python("-m", "benchmarks.watchers", "hold", str(port), str(sockets - deaf), str(deaf)),
        cores=machine.other_cores(),
    )
    program.ready = lambda: OPEN in program.output
    with program:
        yield


def _loaded(bench: Bench, sockets: int, number: int) -> Row:
    ours, store = subject(NAME), bench.store
    store.flush()
    edges: list[tuple[float, float]] = []
    what = Slice(shape=load.Shape(warm=1.5, seconds=max(bench.scale.seconds, 4.0)))
    with serving(ours, store, bench.receiver) as (server, port), watching(port, sockets):
        shop.stock(ours, store, 1, STOCK)
        pids = machine.tree(server.pid)
        got = load.drive(
            port, load.orders(), what.shape, lambda: edges.append((machine.cpu_seconds(pids), _frames(port, "sent")))
        )
    check(ours, store, got, what, 0)
    cpu, frames = (after - before for before, after in zip(*edges, strict=True))
    return {
        "part": PART,
        "case": "loaded",
        "round": number,
        "sockets": sockets,
        "requests_per_second": got.per_second(),
        "cpu_us": cpu / max(got.answers, 1) * 1e6,
        "p50_ms": got.latency_ms(0.5),
        "p99_ms": got.latency_ms(0.99),
        "frames_per_second": frames / got.seconds,
    }


def _at_rest(bench: Bench, sockets: int) -> Row:
    ours, store = subject(NAME), bench.store
    store.flush()
    with serving(ours, store, bench.receiver) as (server, port), watching(port, sockets):
        shop.stock(ours, store, 1, STOCK)
        pids = machine.tree(server.pid)
        api = pids[-1]
        time.sleep(3.0)
        memory, cpu, calls = machine.resident_bytes(api), machine.cpu_seconds(pids), store.calls("evalsha")
        frames, began = _frames(port, "sent"), time.monotonic()
        time.sleep(REST_SECONDS)
        seconds = time.monotonic() - began
        return {
            "part": PART,
            "case": "at rest",
            "sockets": sockets,
            "scripts_per_second": (store.calls("evalsha") - calls) / seconds,
            "frames_per_second": (_frames(port, "sent") - frames) / seconds,
            "cpu_percent": (machine.cpu_seconds(pids) - cpu) / seconds * 100,
            "megabytes": machine.resident_bytes(api) / 2**20,
            "grown_megabytes": (machine.resident_bytes(api) - memory) / 2**20,
        }


def _frames(port: int, result: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as reply:
        text = reply.read().decode()
    found = re.search(rf'^flash_sale_websocket_frames_total{{result="{result}".*}} (.+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def tables(rows: Sequence[Row]) -> str:
    """Both tables."""
    lines = []
    for sockets in (0, SOCKETS):
        of = select(rows, part=PART, case="loaded", sockets=sockets)
        names = ("requests_per_second", "cpu_us", "p50_ms", "p99_ms", "frames_per_second")
        lines.append((f"{sockets} sockets", *(spread(of, name) for name in names)))
    loaded = table(("under load", "orders/s", "CPU us per order", "p50 ms", "p99 ms", "frames/s"), lines)
    names = ("scripts_per_second", "frames_per_second", "cpu_percent", "megabytes", "grown_megabytes")
    rest = [
        (f"{row['sockets']} sockets", *(f"{values([row], name)[0]:.1f}" for name in names))
        for row in select(rows, part=PART, case="at rest")
    ]
    head = (
        "at rest",
        "scripts/s in the store",
        "frames/s",
        "CPU % of a core",
        "MiB",
        f"MiB more after {REST_SECONDS:.0f} s",
    )
    return f"{loaded}\n\n{table(head, rest)}"


@app.command()
def measure(quick: Annotated[bool, typer.Option("--quick", help="two short rounds")] = False) -> None:
    """Measure, and print the tables."""
    measure_part(run, tables, quick=quick)


@app.command(hidden=True)
def hold(port: int, reading: int, deaf: int) -> None:
    """Keep sockets open until SIGTERM."""
    asyncio.run(_hold(port, reading, deaf))


class _Reader(asyncio.Protocol):
    def data_received(self, data: bytes) -> None:
        """Read what comes, without a look at it: that is the tests' business."""


async def _hold(port: int, reading: int, deaf: int) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    kept = []
    for number in range(reading + deaf):
        client = socket.socket()
        client.setblocking(False)  # noqa: FBT003 - the socket's own way
        if number < deaf:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        await loop.sock_connect(client, ("127.0.0.1", port))
        await loop.sock_sendall(client, HANDSHAKE)
        answer = await loop.sock_recv(client, 12)
        if answer != b"HTTP/1.1 101":
            raise ConnectionError(f"{number} sockets are open, the next is refused: {answer!r}")
        kept.append(client if number < deaf else (await loop.create_connection(_Reader, sock=client))[0])
    sys.stdout.write(f"{OPEN}\n")
    sys.stdout.flush()
    await stop.wait()


if __name__ == "__main__":
    app(prog_name="python -m benchmarks.watchers")
