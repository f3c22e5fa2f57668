"""Part `scrapers`: what 50 clients that scrape `/metrics` without a pause do to the latency of orders.

Orders come to one API process at a fixed rate, with and without the scrapers in turn, A B A B, a fresh process and an
emptied store each time. `python -m benchmarks.scrapers measure` prints the table of docs/performance.md.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from benchmarks import load, machine, shop
from benchmarks.bench import Bench, Row, measure_part, select
from benchmarks.program import Program, python
from benchmarks.report import spread, table
from benchmarks.rounds import Slice, check, serving
from benchmarks.subjects import STOCK, subject

PART = "scrapers"
NAME = "ours-lean-all"
SCRAPERS = 50
RATE = 100.0
PRODUCTS = (10, 1000)
REQUEST = b"GET /metrics HTTP/1.1\r\nHost: scrapers\r\n\r\n"
BEGUN, ANSWERED = "all have begun", "answered "

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def run(bench: Bench) -> list[Row]:
    """Measure without and with the scrapers in turn, for each number of products."""
    return [
        _loaded(bench, scrapers, products, number)
        for products in PRODUCTS
        for number in range(bench.scale.rounds)
        for scrapers in (0, SCRAPERS)
    ]


def _loaded(bench: Bench, scrapers: int, products: int, number: int) -> Row:
    ours, store = subject(NAME, MAX_WAIT_SECONDS="0"), bench.store  # nobody works, and no order waits too long
    store.flush()
    shop.stock(ours, store, products, STOCK)
    shape = load.Shape(connections=16, warm=2.0, seconds=max(bench.scale.seconds, 8.0), rate=RATE)
    what = Slice(shape=shape, products=products)
    answered: list[float] = []
    with serving(ours, store, bench.receiver) as (_, port), _scraping(port, scrapers, answered):
        got = load.drive(port, load.orders(products), shape)
    check(ours, store, got, what, 0)
    return {
        "part": PART,
        "scrapers": scrapers,
        "products": products,
        "round": number,
        "p50_ms": got.latency_ms(0.5),
        "p99_ms": got.latency_ms(0.99),
        "highest_ms": got.latency_ms(1.0),
        "scrapes_per_second": answered[0] if answered else 0.0,
    }


@contextmanager
def _scraping(port: int, scrapers: int, answered: list[float]) -> Iterator[None]:
    """Scrape while the block lasts, in a process beside the load; note how many were answered a second."""
    if not scrapers:
        yield
        return
    argv = python("-m", "benchmarks.scrapers", "scrape", str(port), str(scrapers))
    program = Program(argv, cores=machine.other_cores())
    program.ready = lambda: BEGUN in program.output
    with program:
        yield
        answered.append(float(program.output.rpartition(ANSWERED)[2].split()[0]))


def tables(rows: Sequence[Row]) -> str:
    """Return the table."""
    names = ("p50_ms", "p99_ms", "highest_ms", "scrapes_per_second")
    lines = []
    for products in PRODUCTS:
        for scrapers in (0, SCRAPERS):
            of = select(rows, part=PART, products=products, scrapers=scrapers)
            lines.append((f"{products} products, {scrapers} scrapers", *(spread(of, name) for name in names)))
    return table((f"{RATE:g} orders/s", "p50 ms", "p99 ms", "highest ms", "scrapes/s answered"), lines)


@app.command()
def measure(quick: Annotated[bool, typer.Option("--quick", help="two short rounds")] = False) -> None:
    """Measure, and print the table."""
    measure_part(run, tables, quick=quick)


@app.command(hidden=True)
def scrape(port: int, scrapers: int) -> None:
    """Scrape until it is ended."""
    asyncio.run(_scrape_all(port, scrapers))


async def _scrape_all(port: int, scrapers: int) -> None:
    loop = asyncio.get_running_loop()
    statuses: Counter[bytes] = Counter()
    began = loop.time()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(scrapers):
            tasks.create_task(_scrape_on(port, statuses))
        _say(BEGUN)
        while set(statuses) <= {b"200"}:
            await asyncio.sleep(1)
            _say(f"{ANSWERED}{statuses.total() / (loop.time() - began):.1f} a second")
        raise ConnectionError(f"not all were answered: {statuses}")


async def _scrape_on(port: int, statuses: Counter[bytes]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while True:
        writer.write(REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].split()[0]
        await reader.readexactly(int(length))
        statuses[head[9:12]] += 1


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    app(prog_name="python -m benchmarks.scrapers")
