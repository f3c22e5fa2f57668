"""One slice of a measurement: a fresh server, some seconds of load, and the truth checked afterwards."""

import asyncio
import json
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks import load, machine, shop
from benchmarks.program import ROOT, Program, answers, free_port, python
from benchmarks.store import Store
from benchmarks.subjects import STOCK, Subject
from service.ledger.audit import dump_ledger, violations
from service.ledger.ledger import ledger_scripts
from service.store import Shards, connect

ACCEPTED, REFUSED = 202, 409
REFUSALS_SECONDS = 2.0
ENOUGH = 1000
"""After so many orders, whoever exports spans has exported some: a hundredth of them is recorded at least."""


class UntrueError(RuntimeError):
    """A server did not do what it answered; its figures are worth nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """What to do with a server.

    Attributes:
        shape: the load.
        products: how many there are; the orders take turns.
        stock: units of each.
        fresh: whether the store is emptied first.
        first_user: where the numbers of the users begin.
        statuses: the answers that are right.
        audited: whether the ledger's invariants are checked afterwards.
        after: called with the program and the port once the load is over.
    """

    shape: load.Shape = field(default_factory=load.Shape)
    products: int = 1
    stock: int = STOCK
    fresh: bool = True
    first_user: int = 0
    statuses: frozenset[int] = frozenset((ACCEPTED,))
    audited: bool = True
    after: Callable[[Program, int], None] = lambda _program, _port: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one slice of one subject came to; the names carry the units."""

    subject: str
    """The name of the subject, under the column's old name: results that were published have it."""
    requests_per_second: float
    cpu_us: float
    store_cpu_us: float
    load_cpu_us: float
    p50_ms: float
    p99_ms: float
    orders_per_call: float
    cpu_share: float
    answers: int

    def row(self, part: str, **more: str | float) -> dict[str, str | float]:
        """As the results file has it."""
        return {"part": part, **asdict(self), **more}


@contextmanager
def serving(subject: Subject, store: Store, receiver: str) -> Iterator[tuple[Program, int]]:
    """Run a subject while the block lasts; yield its program and port."""
    port = free_port()
    server = Program(
        subject.argv(port),
        cores=machine.server_cores(),
        env=subject.environment(store, port, receiver),
        ready=lambda: answers(f"http://127.0.0.1:{port}{subject.probe}"),
    )
    with server:
        yield server, port


@contextmanager
def working(
    store: Store, env: Mapping[str, str], cores: set[int], checkout: Path = ROOT
) -> Iterator[tuple[Program, int]]:
    """Run `flash-sale worker` of a checkout while the block lasts; yield its program and the port of its metrics."""
    port = free_port()
    address = {"OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1", "OTEL_EXPORTER_PROMETHEUS_PORT": str(port)}
    with Program(
        python("-P", "-m", "service", "worker"),
        cores=cores,
        env={"REDIS_URL": store.url, "PYTHONPATH": str(checkout), **address, **env},
        ready=lambda: answers(f"http://127.0.0.1:{port}/readyz"),
    ) as worker:
        yield worker, port


def measure(subject: Subject, store: Store, receiver: str, what: Slice) -> Sample:
    """Measure one slice.

    Raises:
        UntrueError: An answer was wrong, or the store does not hold exactly the orders that were accepted.
    """
    if what.fresh:
        store.flush()
        shop.stock(subject, store, what.products, what.stock)
    before, told = _orders(subject, store), exported(receiver)
    edges: list[tuple[float, float, float, int]] = []
    with serving(subject, store, receiver) as (server, port):
        pids, store_pids = machine.tree(server.pid), machine.tree(store.program.pid)

        def edge() -> None:
            used = machine.cpu_seconds(pids), machine.cpu_seconds(store_pids), time.process_time()
            edges.append((*used, store.calls("evalsha")))

        got = load.drive(port, load.orders(what.products, what.first_user), what.shape, edge)
        what.after(server, port)
    check(subject, store, got, what, before)
    if subject.exports and got.answers > ENOUGH and exported(receiver) == told:
        raise UntrueError(f"{subject.name}: no span reached the receiver")
    return _sample(subject, got, edges)


def _sample(subject: Subject, got: load.Load, edges: list[tuple[float, float, float, int]]) -> Sample:
    cpu, of_store, of_load, calls = (after - before for before, after in zip(*edges, strict=True))
    done = max(got.answers, 1)
    return Sample(
        subject=subject.name,
        requests_per_second=got.per_second(),
        cpu_us=cpu / done * 1e6,
        store_cpu_us=of_store / done * 1e6,
        load_cpu_us=of_load / done * 1e6,
        p50_ms=got.latency_ms(0.5),
        p99_ms=got.latency_ms(0.99),
        orders_per_call=done / max(calls, 1),
        cpu_share=cpu / got.seconds,
        answers=got.answers,
    )


def check(subject: Subject, store: Store, got: load.Load, what: Slice, before: int) -> None:
    """Compare what the clients saw with what the store has.

    Raises:
        UntrueError: They differ.
    """
    if got.lost or not set(got.every) <= what.statuses:
        raise UntrueError(f"{subject.name}: {dict(got.every)}, {dict(got.codes)}, {got.lost} connections lost")
    if subject.kind == "asgi-floor":
        return
    held = _orders(subject, store) - before
    if held != got.every[ACCEPTED]:
        raise UntrueError(f"{subject.name}: {got.every[ACCEPTED]} orders were accepted, the store has {held}")
    if subject.kind == "ours":
        refused = store.refused()
        if what.fresh and refused != got.every[REFUSED]:
            raise UntrueError(f"{subject.name}: {got.every[REFUSED]} orders were refused, the ledger says {refused}")
        if what.audited:
            audit(store)


def audit(store: Store) -> None:
    """Check every invariant of the ledger.

    Raises:
        UntrueError: One is broken.
    """
    found = asyncio.run(_breaches(store))
    if found:
        raise UntrueError(f"the audit finds {len(found)} breaches: {found[:3]}")


async def _breaches(store: Store) -> list[str]:
    async with connect(store.url, name="benchmark", timeout_seconds=60) as client:
        return [violation.detail for violation in violations(await dump_ledger(Shards(client, ledger_scripts())))]


def until_refusals_are_told(_program: Program, _port: int) -> None:
    """Give a process the time to tell the ledger of the refusals that it decided by itself, once a second.

    To be used as `Slice.after`.
    """
    time.sleep(REFUSALS_SECONDS)


def _orders(subject: Subject, store: Store) -> int:
    return store.totals().get("pending", 0) if subject.kind == "ours" else store.length("queue")


def exported(receiver: str) -> int:
    """How many bytes of spans the receiver has had."""
    with urllib.request.urlopen(f"{receiver}/counts", timeout=10) as reply:  # noqa: S310 - our own, on loopback
        return int(json.load(reply).get("traces_bytes", 0))


@contextmanager
def receiving() -> Iterator[str]:
    """Run an OTLP receiver while the block lasts; yield its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    argv = python("-m", "benchmarks.receiver", str(port))
    with Program(argv, cores=machine.other_cores(), ready=lambda: answers(f"{url}/counts")):
        yield url
