"""Every subject of the benchmark starts, takes orders, is measured and checked: no figure is asserted."""

import asyncio
import importlib.util
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks import figures, load, machine, preload, reach, report, rounds, steps
from benchmarks.__main__ import PAGE
from benchmarks.bench import Results, Row
from benchmarks.order_steps import STEPS, WARM_UP
from benchmarks.program import ROOT
from benchmarks.shop import put_products
from benchmarks.store import Store, open_store
from benchmarks.subjects import SUBJECTS, Subject, subject
from tests.support import executable, serve

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmark reads /proc")

TRACEPARENT = re.compile(r"00-(?P<trace>[0-9a-f]{32})-[0-9a-f]{16}-(?P<flags>0[01])")
TINY = load.Shape(connections=4, warm=0.1, seconds=0.3)


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    """A store of a benchmark, for all tests."""
    with open_store() as opened:
        yield opened


@pytest.fixture(scope="module")
def receiver() -> Iterator[str]:
    """A live OTLP receiver, for all tests."""
    with rounds.receiving() as url:
        yield url


def available(who: Subject) -> bool:
    """Whether this environment has what a subject is made of; `make bench` installs the rest."""
    if who.instrumented:
        return importlib.util.find_spec("opentelemetry.distro") is not None
    return (
        "BASELINE_PROMETHEUS" not in who.env
        or importlib.util.find_spec("prometheus_fastapi_instrumentator") is not None
    )


@pytest.mark.parametrize(
    "name", ["ours-off", "ours-native-all", "ours-contrib-all", "baseline", "baseline-gc", "asgi-floor"]
)
def test_a_subject_takes_orders_and_is_measured(name: str, store: Store, receiver: str) -> None:
    """It answers 202 to all, and what the store holds is what was accepted: else `measure` raises."""
    sample = rounds.measure(subject(name), store, receiver, rounds.Slice(shape=TINY))
    assert sample.answers > 0
    assert sample.cpu_us >= 0
    assert not math.isnan(sample.p99_ms)
    if name != "asgi-floor":
        assert sample.orders_per_call > 0


@pytest.mark.parametrize("name", ["baseline-prometheus", "baseline-otel"])
def test_a_peer_from_elsewhere_takes_orders(name: str, store: Store, receiver: str) -> None:
    """As the others; `make test` installs what it is made of."""
    who = subject(name)
    assert available(who)
    assert rounds.measure(who, store, receiver, rounds.Slice(shape=TINY)).answers > 0


@pytest.mark.parametrize("name", ["go", "go-every-trace"])
def test_the_go_peer_takes_orders(name: str, store: Store, receiver: str) -> None:
    """As the others; it is built once, where there is Go."""
    who = subject(name)
    executable("go-peer")
    assert rounds.measure(who, store, receiver, rounds.Slice(shape=TINY)).answers > 0


def test_refusals_are_counted_by_the_ledger(store: Store, receiver: str) -> None:
    """Ten units are sold, the rest is refused, and the ledger says the same."""
    what = rounds.Slice(
        shape=TINY,
        stock=10,
        statuses=frozenset((rounds.ACCEPTED, rounds.REFUSED)),
        after=rounds.until_refusals_are_told,
    )
    assert rounds.measure(subject("ours-native-all"), store, receiver, what).answers > 10
    assert store.totals()["pending"] == 10


def test_a_store_that_lacks_an_order_is_an_error(store: Store) -> None:
    """The figures of a server that lost an order are worth nothing."""
    store.flush()
    got = load.Load(every=Counter({202: 1}))
    with pytest.raises(rounds.UntrueError, match="1 orders were accepted, the store has 0"):
        rounds.check(subject("ours-off"), store, got, rounds.Slice(), 0)


def test_an_answer_that_is_wrong_is_an_error(store: Store) -> None:
    """An error would be quicker than an order."""
    store.flush()
    got = load.Load(every=Counter({202: 1, 500: 1}))
    with pytest.raises(rounds.UntrueError, match="500: 1"):
        rounds.check(subject("baseline"), store, got, rounds.Slice(), 0)


def test_orders_settled_beforehand_pass_the_audit(store: Store) -> None:
    """A store is filled by the ledger's own steps."""
    store.flush()
    put_products(store, 2, 10_000)
    preload.settle(store, range(600), products=2)
    rounds.audit(store)
    assert store.totals()["confirmed"] == 600


def test_the_steps_of_an_order_are_measured_by_another_interpreter(store: Store) -> None:
    """Each step cost the store something, and every order went through all of them."""
    found = steps.costs(ROOT, store.url, steps.What(orders=40, batch=16, keyed=True, limit=1))
    assert all(found[step] > 0 for step in STEPS)
    assert found[steps.WHOLE] == pytest.approx(sum(found[step] for step in STEPS))
    assert store.totals()["confirmed"] == 40 + WARM_UP
    rounds.audit(store)


def test_the_queue_is_filled_with_what_the_api_writes(store: Store) -> None:
    """Each entry has a trace of its own; one in a hundred is recorded."""
    store.flush()
    put_products(store, 1, 1_000)
    preload.place(store, range(200))
    found = [TRACEPARENT.fullmatch(fields["t"]) for _, fields in store.entries("{fs:00}:queue")]
    assert len({match["trace"] for match in found if match}) == 200
    assert sum(match["flags"] == "01" for match in found if match) == 2


async def test_the_load_is_counted_exactly() -> None:
    """What the server saw is what the load says, statuses and all; the open loop keeps to its rate."""
    seen: Counter[bytes] = Counter()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for kind in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{kind}.complete"})
            return
        body = (await receive())["body"]
        seen[body] += 1
        status = 409 if seen.total() % 2 else 202
        headers = [(b"content-length", b"4")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"do", "more_body": True})
        await send({"type": "http.response.body", "body": b"ne"})

    async with serve(app) as url:
        port = int(url.rpartition(":")[2])
        shape = load.Shape(connections=3, warm=0.1, seconds=1.0, rate=50)
        got = await asyncio.to_thread(load.drive, port, load.orders(products=2), shape)
    assert got.lost == 0
    assert got.every.total() == seen.total() == len(seen)
    assert abs(got.every[202] - got.every[409]) <= 1
    assert got.every.total() <= 100
    assert len(got.latencies) == got.answers
    assert got.codes == {"no code": got.every[409]}


async def test_a_server_that_is_slower_than_the_slice_is_measured_all_the_same() -> None:
    """For as long as its first answer takes; why it refused is told."""

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for kind in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{kind}.complete"})
            return
        await asyncio.sleep(0.5)  # what it takes
        body = b'{"code": "overloaded"}'
        await send({"type": "http.response.start", "status": 503, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    async with serve(app) as url:
        shape = load.Shape(connections=1, warm=0.01, seconds=0.1, rate=50)
        got = await asyncio.to_thread(load.drive, int(url.rpartition(":")[2]), load.orders(), shape)
    assert got.answers == 1
    assert got.seconds > 0.4
    assert set(got.codes) == {"overloaded"}


def test_the_last_core_is_the_servers() -> None:
    """And what a process uses of it is told."""
    assert len(machine.server_cores()) == 1
    assert machine.other_cores()
    before = machine.cpu_seconds([os.getpid()])
    while machine.cpu_seconds([os.getpid()]) < before + 0.05:
        pass


def test_the_tables_say_what_was_measured() -> None:
    """Ratios are made round by round; what was not measured is said."""
    cpu = {
        "baseline": 200.0,
        "baseline-otel": 1000.0,
        "ours-off": 80.0,
        "ours-native-all": 100.0,
        "ours-contrib-all": 160.0,
    }
    rows: list[Row] = [
        {"part": "orders", "subject": name, "round": number, "cpu_us": us * (1 + number)}
        for number in (0, 1, 2)
        for name, us in cpu.items()
    ]
    found = {figure.what: figure for figure in figures.all_figures(rows)}
    ratio = found["orders per second per core, everything on, native, against the naive baseline with nothing on"]
    assert list(ratio.measured) == [2.0, 2.0, 2.0]
    assert ratio.reached
    assert found["... contrib, against the baseline with `opentelemetry-instrument` defaults"].middle == 6.25
    assert (
        not found[
            "CPU that telemetry adds to an order, contrib, as a share of the naive baseline's CPU per order"
        ].middle
        > 0.4
    )
    table = report.figures(rows)
    assert "| **2.00x** (2.00 to 2.00) | at least 1.5x | yes |" in table
    assert report.worker(rows) == "Not measured in this run."


def test_the_figures_to_reach_are_made_of_one_round_each() -> None:
    """Whoever is compared was measured in the same round; what was not measured has no figure."""
    cpu = {"ours-lean-all": 50.0, "go-one-percent": 100.0, "baseline": 200.0}
    rows: list[Row] = [
        {"part": "rates", "rate": rate, "subject": name, "round": number, "cpu_us": us * (1 + number), "load": 0.1}
        for number in (0, 1, 2)
        for name, us in cpu.items()
        for rate in (0, 500)
    ]
    rows += [
        {"part": "steps", "batch": 1, "case": case, "round": 0, "whole order": us, "load": 0.1}
        for case, us in (("before", 50.0), ("now", 25.0))
    ]
    found = {figure.what: figure for figure in reach.all_figures(rows)}
    assert (
        list(found["CPU of an order, `lean`, everything on, against Go + OpenTelemetry at 1 %"].measured) == [0.5] * 3
    )
    naive = "orders per CPU, `lean`, everything on, against the naive baseline with nothing on, "
    assert found[naive + "500/s"].middle == found[naive + "saturation"].middle == 4
    assert not found[naive + "2,000/s"].measured
    assert found["CPU of the store for a whole order, 1 a call, against the version before"].middle == 0.5
    made = reach.tables(Results(taken="", mode="figures", machine=machine.facts(), busy_before=0.0, rows=rows))
    assert "| **0.50x** (0.50 to 0.50) | at most 0.9x | yes |" in made["reach"]
    assert "0.1 to 0.1" in made["reachrun"]
    assert made.keys() <= set(re.findall(r"<!-- bench: (\w+) -->", PAGE.read_text()))


def test_a_page_keeps_what_is_not_between_its_markers() -> None:
    """The text around the tables is written by people."""
    page = "a\n<!-- bench: worker -->\nold\n<!-- /bench -->\nb\n"
    found = Results(taken="2026-01-01T00:00:00+00:00", mode="full", machine=machine.facts(), busy_before=0.0, rows=[])
    filled = report.fill(page, found)
    assert filled == "a\n<!-- bench: worker -->\n\nNot measured in this run.\n\n<!-- /bench -->\nb\n"
    assert report.fill(filled, found) == filled


def test_names_are_unique() -> None:
    """A row of the results belongs to one subject."""
    names = [who.name for who in SUBJECTS]
    assert len(set(names)) == len(names)
