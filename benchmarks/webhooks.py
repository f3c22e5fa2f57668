"""What webhooks cost a sale: `python -m benchmarks.webhooks measure` prints the table of docs/performance.md.

An API process, two order workers and a store take orders at a fixed rate, with `WEBHOOK_URL` and without it in turn,
A B A B, fresh processes and an emptied store each time. The endpoint takes every event at once.
"""

import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Annotated

import typer
from aiohttp import web

from benchmarks import load, machine, rounds, shop
from benchmarks.bench import FULL, QUICK, Bench, Row, prepared, select
from benchmarks.program import Program, answers, free_port, python, wait_until
from benchmarks.report import spread, table
from benchmarks.subjects import STOCK, subject

PART = "webhooks"
NAME = "ours-lean-all"
RATE = 100.0
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - of an endpoint that lives as long as a slice
SETTLE_SECONDS, TELL_SECONDS = 60.0, 300.0
FIGURES = ("p50_ms", "p99_ms", "api_cpu_us", "worker_cpu_us", "store_cpu_us", "settled_after_s", "told_after_s")

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def run(bench: Bench) -> list[Row]:
    """Measure off and on in turn."""
    return [_sold(bench, on=on) | {"round": number} for number in range(bench.scale.few) for on in (False, True)]


def _sold(bench: Bench, *, on: bool) -> Row:
    store = bench.store
    store.flush()
    shop.put_products(store, 1, STOCK)
    shape = load.Shape(connections=16, warm=2.0, seconds=max(bench.scale.seconds, 8.0), rate=RATE)
    with _endpoint() as url, ExitStack() as stack:
        hook = {"WEBHOOK_URL": url, "WEBHOOK_SECRET": SECRET} if on else {}
        ours = subject(NAME, MAX_WAIT_SECONDS="0", **hook)
        env = {"ORDER_WORKERS": "2", "PAYMENT_LATENCY_SECONDS": "0", "OTEL_EXPORTER_OTLP_ENDPOINT": bench.receiver}
        api, port = stack.enter_context(rounds.serving(ours, store, bench.receiver))
        worker, _ = stack.enter_context(rounds.working(store, env | hook, machine.server_cores()))
        cpu: list[tuple[float, ...]] = []
        got = load.drive(
            port,
            load.orders(1),
            shape,
            lambda: cpu.append((api.cpu_seconds(), worker.cpu_seconds(), store.program.cpu_seconds())),
        )
        sent, ended = got.every[rounds.ACCEPTED], time.perf_counter()
        wait_until(lambda: store.totals().get("confirmed", 0) >= sent, "all are settled", SETTLE_SECONDS)
        settled = time.perf_counter() - ended
        if on:  # an order is pending, and then confirmed
            wait_until(lambda: _taken(url) >= 2 * sent, "all is told", TELL_SECONDS)
        told = time.perf_counter() - ended
    rounds.audit(store)
    if got.lost or set(got.every) != {rounds.ACCEPTED}:
        raise rounds.UntrueError(f"{dict(got.every)}, {got.lost} connections lost")
    spent = [(after - before) / got.answers * 1e6 for before, after in zip(*cpu, strict=True)]
    of_each = dict(zip(("api_cpu_us", "worker_cpu_us", "store_cpu_us"), spent, strict=True))
    return {
        "part": PART,
        "webhooks": "on" if on else "off",
        "p50_ms": got.latency_ms(0.5),
        "p99_ms": got.latency_ms(0.99),
        **of_each,
        "settled_after_s": settled,
        "told_after_s": told,
    }


@contextmanager
def _endpoint() -> Iterator[str]:
    """Run a merchant's endpoint while the block lasts, beside the load; yield its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    argv = python("-m", "benchmarks.webhooks", "receive", str(port))
    with Program(argv, cores=machine.other_cores(), ready=lambda: answers(url)):
        yield url


def _taken(url: str) -> int:
    with urllib.request.urlopen(url, timeout=10) as reply:  # noqa: S310 - our own, on loopback
        return int(reply.read())


def tables(rows: Sequence[Row]) -> str:
    """Return the table."""
    lines = [
        (case, *(spread(select(rows, part=PART, webhooks=case), name) for name in FIGURES)) for case in ("off", "on")
    ]
    return table(("webhooks", *(name.replace("_", " ") for name in FIGURES)), lines)


@app.command()
def measure(quick: Annotated[bool, typer.Option("--quick", help="two rounds")] = False) -> None:
    """Measure, and print the table."""
    busy = machine.busy_share()
    with prepared(QUICK if quick else FULL) as bench:
        rows = run(bench)
    sys.stdout.write(f"load of the machine for each core before: {busy:.2f}\n\n{tables(rows)}\n")


@app.command(hidden=True)
def receive(port: int) -> None:
    """Take every event, and tell how many there were, until it is ended."""
    taken = 0

    async def take(request: web.Request) -> web.Response:
        nonlocal taken
        await request.read()
        taken += 1
        return web.Response(status=204)

    async def tell(_: web.Request) -> web.Response:
        return web.Response(text=str(taken))

    endpoint = web.Application()
    endpoint.add_routes([web.post("/", take), web.get("/", tell)])
    web.run_app(endpoint, host="127.0.0.1", port=port, access_log=None, print=None)


if __name__ == "__main__":
    app(prog_name="python -m benchmarks.webhooks")
