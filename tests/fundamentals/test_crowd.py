"""The crowd, against a small real service whose answers follow a script: it reports what the service counted."""

import asyncio
from collections import Counter
from datetime import timedelta
from time import perf_counter

import pytest
from fastapi.responses import JSONResponse

from service.crowd import CrowdError, Progress, run_crowd, run_demo_crowd, wait_until_ready, watch_orders
from tests.fundamentals.scripted_service import (
    OPENED,
    Script,
    check_sums,
    outcomes,
    plan_for,
    serve,
    serve_at,
)
from tests.support import free_port, wait_until


async def test_report_equals_what_the_service_counted() -> None:
    """Accepted, refused and failed orders are those that the service gave, to the integer."""
    script = Script(lambda number: (202, 409, 202, 503, 500, 429)[number % 6])
    async with serve(script) as url:
        report = await run_crowd(plan_for(url))
    assert outcomes(report) == {
        (202, "accepted"): script.statuses[202],
        (409, "sold_out"): script.statuses[409],
        (429, "rate_limited"): script.statuses[429],
        (500, "internal_error"): script.statuses[500],
        (503, "overloaded"): script.statuses[503],
    }
    assert report.orders == report.requests == len(script.bodies) == 500
    assert report.accepted == script.accepted == len(report.order_ids) == len(set(report.order_ids))
    assert report.refused == script.statuses[409] + script.statuses[429] + script.statuses[503]
    assert report.unknown == script.statuses[500]  # a broken service may have placed it all the same
    assert report.accepted_latency_ms.count == report.accepted
    assert report.refused_latency_ms.count == report.refused
    check_sums(report)


async def test_orders_sent_twice_are_one_order() -> None:
    """A repetition with the same key is a request more and no order more."""
    script = Script()
    async with serve(script) as url:
        report = await run_crowd(plan_for(url, idempotency_share=0.5, retry_share=0.3))
    twice = script.statuses[200]
    assert 90 < twice < 210
    assert report.requests == len(script.bodies) == 500 + twice
    assert outcomes(report) == {(200, "replayed"): twice, (202, "accepted"): 500}
    assert report.accepted == script.accepted == len(report.order_ids) == 500
    assert report.idempotency_violations == 0
    keyed = {body["key"] for body in script.bodies} - {None}
    assert 190 < len(keyed) < 310
    check_sums(report)


async def test_two_orders_for_one_key_are_noticed() -> None:
    """A service that forgets its keys is caught, once for each order too many."""
    script = Script()
    script.keys = Forgetful()
    async with serve(script) as url:
        report = await run_crowd(plan_for(url, orders=50, idempotency_share=1, retry_share=1))
    assert report.idempotency_violations == 50
    assert len(report.order_ids) == script.accepted == 100


class Forgetful(dict[str, str]):
    """A memory of keys that knows none."""

    def __contains__(self, key: object) -> bool:
        return False


async def test_same_seed_same_shoppers() -> None:
    """The seed decides who orders what, whatever the rate; another seed gives others."""
    seen = []
    for changes in ({"seed": 7}, {"seed": 7}, {"seed": 7, "rate": 5000}, {"seed": 8}):
        script = Script()
        async with serve(script) as url:
            plan = plan_for(url, orders=100, concurrency=1, run_id="r", idempotency_share=0.5, **changes)
            await run_crowd(plan)
        seen.append(script.bodies)
    assert seen[0] == seen[1] == seen[2] != seen[3]


async def test_latency_counts_from_the_intended_time() -> None:
    """Orders that come while the service hangs are charged with the whole of their waiting."""
    script = Script()
    script.hold.clear()
    async with serve(script) as url:
        plan = plan_for(url, rate=400, orders=200, concurrency=4)
        begun = perf_counter()
        run = asyncio.create_task(run_crowd(plan))
        await wait_until(lambda: perf_counter() - begun > 0.5)
        assert len(script.bodies) == 4
        script.hold.set()
        report = await run
    assert report.accepted == 200
    # They came evenly over the half second, so half of them waited for a quarter of a second and more.
    assert report.accepted_latency_ms.p50 > 150


async def test_what_was_due_and_never_sent_is_told() -> None:
    """A rate that was not kept shows in the report, and the run ends in time."""
    script = Script()
    script.hold.clear()
    async with serve(script) as url:
        plan = plan_for(url, rate=1000, orders=None, duration=timedelta(seconds=0.5), concurrency=2)
        begun = perf_counter()
        run = asyncio.create_task(run_crowd(plan))
        await wait_until(lambda: perf_counter() - begun > 0.6, what="the end of the run is past")
        assert len(script.bodies) == 2
        script.hold.set()
        report = await asyncio.wait_for(run, 2)
    assert report.orders == 2
    assert 350 < report.unsent < 650
    check_sums(report)


async def test_closed_loop_ends_with_its_duration() -> None:
    """Without a rate or a number of orders the clock ends the run."""
    script = Script()
    async with serve(script) as url:
        plan = plan_for(url, orders=None, duration=timedelta(seconds=0.3))
        report = await asyncio.wait_for(run_crowd(plan), 5)
    assert report.orders == script.accepted > 0
    assert report.unsent == 0
    assert 0.3 <= report.seconds < 2


async def test_service_that_is_not_there_is_counted() -> None:
    """Refused connections are errors of one kind, and surely no orders."""
    report = await run_crowd(plan_for(f"http://127.0.0.1:{free_port()}", orders=20))
    assert report.errors == {"connect": 20}
    assert report.unreached == report.orders == 20
    check_sums(report)


async def test_restart_of_the_service_is_survived() -> None:
    """The crowd goes on ordering from the service that comes back."""
    script, port = Script(), free_port()
    plan = plan_for(f"http://127.0.0.1:{port}", orders=None, rate=100)
    run = asyncio.create_task(run_crowd(plan))
    for stay in (50, 50):
        async with serve_at(port, script):
            await script.accepts(stay)
        seen = len(script.bodies)
    run.cancel()
    report = await run
    assert report.errors["connect"] > 0
    assert len(script.bodies) == seen
    assert report.accepted <= script.accepted <= report.accepted + report.unknown
    check_sums(report)


async def test_broken_connections_leave_the_fate_open() -> None:
    """A connection that dies under an order, a silent service and a strange answer are told apart."""
    number = 0

    async def misbehave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal number
        await reader.readuntil(b"\r\n\r\n")
        number += 1
        if number % 3 == 0:
            writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes")
        elif number % 3 == 1:
            await reader.read()  # until the client has had enough
        writer.close()

    server = await asyncio.start_server(misbehave, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        plan = plan_for(f"http://127.0.0.1:{port}", orders=9, timeout=timedelta(seconds=0.2), concurrency=1)
        report = await run_crowd(plan)
    finally:
        server.close()
    assert report.errors == {"disconnected": 3, "timeout": 3, "unreadable_answer": 3}
    assert report.unknown == 9
    check_sums(report)


class Unwell(Script):
    """A service that does all that it should, and says of every fifth order that it broke."""

    def reply(self, number: int, key: str | None) -> JSONResponse:
        """Answer as it should be, or not."""
        answer = super().reply(number, key)
        return answer if number % 5 else JSONResponse({"code": "internal_error"}, 500)


@pytest.mark.parametrize("seconds", [0, 30])
async def test_what_became_of_an_order_without_an_answer_is_told_by_its_key(seconds: int) -> None:
    """Asked again until it is told, whether it was placed or refused; of an order without a key nobody knows."""
    script = Unwell(lambda number: 202 if number % 2 else 409)
    async with serve(script) as url:
        again = timedelta(seconds=seconds)
        report = await run_crowd(plan_for(url, idempotency_share=0.5, concurrency=4, ask_again=again))
    assert report.unanswered == 100
    unknown = [n for n in range(0, 500, 5) if not seconds or script.bodies[n]["key"] is None]
    assert report.unknown == len(unknown)
    assert report.accepted == script.accepted - sum(n % 2 for n in unknown)
    assert report.requests == len(script.bodies)
    check_sums(report)


async def test_cancelled_run_reports_what_it_has() -> None:
    """Cancellation lets the orders on their way be answered and returns the report."""
    script = Script()
    async with serve(script) as url:
        run = asyncio.create_task(run_crowd(plan_for(url, orders=None, rate=300, concurrency=32)))
        await wait_until(lambda: script.accepted >= 50, 10)
        script.hold.clear()
        sent = len(script.bodies)
        await wait_until(lambda: len(script.bodies) > sent)
        run.cancel()
        await asyncio.sleep(0)
        script.hold.set()
        report = await asyncio.wait_for(run, 5)
    assert report.interrupted
    assert report.accepted == report.orders == script.accepted == len(script.bodies)
    assert report.unknown == 0
    check_sums(report)


async def test_an_open_loop_without_an_end_ends_when_it_is_told() -> None:
    """As it does when it is cancelled; nobody who was due later is counted as unsent for ever."""
    script, over = Script(), asyncio.Event()
    async with serve(script) as url:
        crowd = asyncio.create_task(run_crowd(plan_for(url, orders=None, rate=200.0), over=over))
        await wait_until(lambda: script.accepted >= 5, 10, "shoppers order")
        over.set()
        report = await asyncio.wait_for(crowd, 10)
    assert not report.interrupted
    assert report.orders == report.accepted + report.refused


async def test_orders_without_an_answer_at_the_end_are_unknown() -> None:
    """A service that hangs does not hold up the end, and its orders are not forgotten."""
    script = Script()
    script.hold.clear()
    async with serve(script) as url:
        run = asyncio.create_task(run_crowd(plan_for(url, orders=None, concurrency=8)))
        await wait_until(lambda: len(script.bodies) == 8)
        run.cancel()
        report = await asyncio.wait_for(run, 5)
        script.hold.set()
    assert report.errors == {"interrupted": 8}
    assert report.unknown == report.orders == 8
    check_sums(report)


async def test_cancellations_are_asked_for() -> None:
    """The share that changes its mind cancels accepted orders only."""
    script = Script(lambda number: 202 if number % 2 else 409)
    async with serve(script) as url:
        report = await run_crowd(plan_for(url, cancel_share=1.0))
    assert sorted(script.cancelled) == sorted(report.order_ids)
    assert [o.model_dump() for o in report.cancellations] == [
        {"status": 409, "code": "not_cancellable", "count": script.accepted}
    ]


async def test_whatever_is_for_sale_is_wanted() -> None:
    """Without a mix the crowd asks the service, and leaves alone what is not open; sold out is asked for less."""
    script = Script()
    script.products = [
        {"product_id": "open", "stock": 5, "opens_at": OPENED, "closes_at": None},
        {"product_id": "gone", "stock": 0, "opens_at": OPENED, "closes_at": None},
        {"product_id": "early", "stock": 5, "opens_at": "2999-01-01T00:00:00Z", "closes_at": None},
        {"product_id": "late", "stock": 5, "opens_at": OPENED, "closes_at": "2021-01-01T00:00:00Z"},
    ]
    async with serve(script) as url:
        await run_crowd(plan_for(url, mix=None))
    wanted = Counter(body["product_id"] for body in script.bodies)
    assert wanted.keys() == {"open", "gone"}
    assert wanted["gone"] < 100


async def test_nothing_for_sale_is_one_clear_line() -> None:
    """A crowd with nothing to want, or nobody to ask, does not start."""
    async with serve(Script()) as url:
        with pytest.raises(CrowdError, match="nothing is for sale at http://"):
            await run_crowd(plan_for(url, mix=None))
    with pytest.raises(CrowdError, match="does not tell what is for sale"):
        await run_crowd(plan_for(url, mix=None))


async def test_accepted_orders_are_watched_until_settled() -> None:
    """The sample is bounded and spread; the time is the service's own."""
    async with serve(Script()) as url:
        plan = plan_for(url)
        report = await run_crowd(plan)
        settling = await watch_orders(plan, report, limit=50)
    assert (settling.watched, settling.settled, settling.unsettled) == (50, {"confirmed": 50}, 0)
    assert settling.time_to_settle_ms.p50 == pytest.approx(2000, rel=0.01)
    ids = list(report.order_ids)
    assert report.order_ids.sample(50) == ids[::10]


async def test_demo_crowd_outlives_the_service(capsys: pytest.CaptureFixture[str]) -> None:
    """It waits for the service, shops round after round, and ends when cancelled."""
    script, port = Script(), free_port()
    script.products = [{"product_id": "p", "stock": 5, "opens_at": OPENED, "closes_at": None}]
    demo = asyncio.create_task(run_demo_crowd(f"http://127.0.0.1:{port}", 100, round_length=timedelta(seconds=0.2)))
    for _ in range(2):
        async with serve_at(port, script):
            await script.accepts(40)
    assert not demo.done()
    demo.cancel()
    with pytest.raises(asyncio.CancelledError):
        await demo
    assert "crowd" in capsys.readouterr().out


async def test_waiting_for_the_service() -> None:
    """`wait_until_ready` returns when the service says that it is ready, and not before."""
    script, port = Script(), free_port()
    script.ready = False
    ready = asyncio.create_task(wait_until_ready(plan_for(f"http://127.0.0.1:{port}")))
    async with serve_at(port, script):
        await wait_until(lambda: script.asked["/readyz"] >= 2)
        assert not ready.done()
        script.ready = True
        await asyncio.wait_for(ready, 5)


async def test_progress_is_told_while_it_happens() -> None:
    """The last progress shows the whole run; the share done never falls."""
    told: list[Progress] = []
    async with serve(Script()) as url:
        report = await run_crowd(plan_for(url, rate=1000), told.append)
    assert told[-1].fraction == 1.0
    assert told[-1].accepted == report.accepted
    fractions = [now.fraction or 0 for now in told]
    assert fractions == sorted(fractions)
