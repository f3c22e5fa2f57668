"""`flash-sale crowd --truth`: exact over several processes and replicas, and it catches a lie of one."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event

import httpx
import pytest

from service.store import keys
from service.truth import Row
from telemetry.settings import INTERCEPTORS
from tests.support import RedisServer, eventually, free_port
from tests.support.program import Program
from tests.support.service import ADMIN, Fleet

LAMP = {"name": "Lamp", "price": 4950, "currency": "EUR", "stock": 150, "per_user_limit": 3}


def replicas(stack: ExitStack, store: str, count: int, port: int, **more: str) -> list[Fleet]:
    """Start replicas of two API processes each, and one order worker in the first; every trace goes to `port`."""
    env = {
        "OTEL_TRACES_SAMPLER": "always_on",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_BSP_SCHEDULE_DELAY": "500",
        "OTEL_BSP_MAX_QUEUE_SIZE": "100000",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        **more,
    }
    fleets = [stack.enter_context(Fleet(store, api=2, workers=int(n == 0), env=env)) for n in range(count)]
    with fleets[0].client() as client:
        assert client.put("/inventory/lamp", json=LAMP, headers=ADMIN).status_code == httpx.codes.CREATED
    return fleets


def report(store: str, fleets: list[Fleet], port: int | None, *more: str) -> tuple[int, dict[str, dict[str, int]]]:
    """Run the command against the first replica and return its status and its rows by name."""
    arguments = ["-m", "service", "crowd", "--url", fleets[0].url, "--truth", "--json", "--product", "lamp"]
    arguments += [
        "--rate",
        "0",
        "--concurrency",
        "16",
        "--cancel",
        "0.05",
        "--seed",
        "7",
        *more,
    ]
    if port is not None:
        arguments += ["--receive", str(port)]
    for fleet in fleets:
        arguments += ["--target", f"{fleet.url}/metrics"]
    with Program([sys.executable, *arguments], env={"REDIS_URL": store}) as program:
        status = program.process.wait(150)
        output = program.output
    assert "{" in output, output
    return status, {row["what"]: row for row in json.loads(output[output.index("{") :])["rows"]}


@pytest.mark.timeout(300)
def test_two_replicas_of_two_processes_agree_with_everybody_to_the_integer(valkey_server: RedisServer) -> None:
    port = free_port()
    with ExitStack() as stack:
        fleets = replicas(stack, valkey_server.url, 2, port)
        status, rows = report(valkey_server.url, fleets, port, "--orders", "1500", "--users", "300")
    assert all(row["agrees"] for row in rows.values()), rows
    assert status == 0
    accepted = rows["orders accepted"]
    assert accepted["clients"] == accepted["ledger"] == accepted["metrics"] > 50
    assert rows["orders confirmed"]["spans"] == rows["orders confirmed"]["ledger"] > 50
    assert rows["answers 202"]["spans"] == accepted["ledger"]
    assert rows["refused sold_out"]["clients"] > 500


@pytest.mark.parametrize("ratio", ["0", "0.01", "1"])
@pytest.mark.parametrize("interceptor", INTERCEPTORS)
def test_every_interceptor_is_exact_whatever_is_recorded(
    valkey_server: RedisServer, interceptor: str, ratio: str
) -> None:
    """Answers, ledger and `/metrics` to the integer; and the spans, where every trace is recorded."""
    port = free_port() if ratio == "1" else None
    sampler = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": ratio}
    with ExitStack() as stack:
        chosen = {"TELEMETRY_INTERCEPTOR": interceptor, **sampler}
        fleets = replicas(stack, valkey_server.url, 1, port or free_port(), **chosen)
        status, rows = report(valkey_server.url, fleets, port, "--orders", "300", "--users", "100")
    assert all(row["agrees"] for row in rows.values()), rows
    assert status == 0
    assert rows["answers 202"]["metrics"] == rows["orders accepted"]["ledger"] > 20


def _refund_what_is_confirmed(url: str, over: Event) -> int:
    """Refund confirmed orders, some of them whole, until it is over; return how many were refunded whole."""
    whole = 0
    with httpx.Client(base_url=url, headers=ADMIN, timeout=15) as client:
        while not over.is_set():
            for order in client.get("/orders", params={"status": "confirmed", "limit": 20}).json()["orders"]:
                body = {"quantity": 1, "return_to_stock": whole % 2 == 0}
                answer = client.post(f"/orders/{order['order_id']}/refund", json=body)
                whole += answer.json().get("status") == "refunded"
    return whole


def test_refunds_during_the_sale_agree_too(valkey_server: RedisServer) -> None:
    """The ledger and the metrics say the same of them, and all else is as exact as without."""
    over = Event()
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        fleets = replicas(stack, valkey_server.url, 1, free_port())
        refunding = pool.submit(_refund_what_is_confirmed, fleets[0].url, over)
        try:
            status, rows = report(valkey_server.url, fleets, None, "--orders", "300", "--users", "100")
        finally:
            over.set()
        whole = refunding.result()
    assert all(row["agrees"] for row in rows.values()), rows
    assert status == 0
    assert 0 < rows["orders refunded"]["ledger"] == rows["orders refunded"]["metrics"] <= whole


@pytest.mark.timeout(300)
def test_a_ledger_that_counts_one_too_many_is_caught(valkey_server: RedisServer) -> None:
    port = free_port()
    with ExitStack() as stack:
        fleets = replicas(stack, valkey_server.url, 1, port)
        program = stack.enter_context(_liar(valkey_server.url))
        status, rows = report(valkey_server.url, fleets, port, "--orders", "50")
        assert program.running()
    assert status == 1
    assert not rows["orders confirmed"]["agrees"]


def _liar(store: str) -> Program:
    """Start a program that counts confirmed orders which nobody placed, five a second."""
    code = (
        "import sys, time, redis\n"
        "client = redis.Redis.from_url(sys.argv[1])\n"
        "while True:\n"
        "    client.hincrby(sys.argv[2], 'confirmed', 1)\n"
        "    time.sleep(0.2)\n"
    )
    return Program([sys.executable, "-c", code, store, keys.prefix(0) + "totals"])


@pytest.mark.timeout(300)
def test_somebody_else_who_shops_is_named_at_once(valkey_server: RedisServer) -> None:
    with Fleet(valkey_server.url, workers=1) as fleet, fleet.client() as client:
        assert client.put("/inventory/lamp", json=LAMP, headers=ADMIN).status_code == httpx.codes.CREATED
        flags = ["--url", fleet.url, "--truth", "--product", "lamp", "--rate", "20", "--duration", "5"]
        with Program.python("-m", "service", "crowd", *flags, env={"REDIS_URL": valkey_server.url}) as program:
            eventually(lambda: client.get("/inventory/lamp").json()["stock"] < LAMP["stock"], 60, "the crowd shops")
            order = {"product_id": "lamp", "user_id": "somebody-else", "quantity": 1}
            client.post("/orders", json=order).raise_for_status()
            assert program.process.wait(150) == 1
            assert "1 of the requests that the service counted were not this crowd's" in program.output
            assert "CROWD=0" in program.output


def test_what_nobody_knows_is_not_agreement() -> None:
    """Figures that differ by no more than had no answer are explained, and prove nothing."""
    short = Row("orders accepted", 455, 487, 487, None, unanswered=32)
    assert (short.agrees, short.explained) == (False, True)
    shorter = Row("orders accepted", 455, 488, 488, None, unanswered=32)
    assert (shorter.agrees, shorter.explained) == (False, False)
    unknown = Row("orders still unknown", 32, 32, None, None, unproven=True)
    assert (unknown.agrees, unknown.explained) == (False, True)


@pytest.mark.timeout(300)
def test_an_api_that_is_killed_under_the_crowd_leaves_no_order_in_doubt(valkey_server: RedisServer) -> None:
    """Orders without an answer have a row of their own, and their keys tell what became of them."""
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        (fleet,) = replicas(stack, valkey_server.url, 1, free_port(), OTEL_TRACES_SAMPLER="always_off")
        client = stack.enter_context(fleet.client())
        plenty = {"total_stock": 1_000_000, "per_user_limit": None}
        client.patch("/inventory/lamp", json=plenty, headers=ADMIN).raise_for_status()
        flags = ("--cancel", "0", "--idempotency", "1", "--rate", "400", "--duration", "4", "--concurrency", "64")
        running = pool.submit(report, valkey_server.url, [fleet], None, *flags)
        eventually(lambda: client.get("/inventory/lamp").json()["stock"] < 999_600, 60, "orders come")
        fleet.kill("api-0")
        status, rows = running.result()
    assert status == 1, "what the killed process had counted is gone"
    assert rows["processes that began anew"]["metrics"] == 1
    assert rows["orders without an answer"]["clients"] > 0
    assert "orders still unknown" not in rows
    accepted = rows["orders accepted"]
    assert accepted["clients"] == accepted["ledger"] == accepted["metrics"] > 400
    assert accepted["agrees"]
    assert all(row["agrees"] or row["explained"] for row in rows.values()), rows


@pytest.mark.timeout(300)
def test_a_target_that_is_forgotten_is_missed(valkey_server: RedisServer) -> None:
    port = free_port()
    with ExitStack() as stack:
        fleets = replicas(stack, valkey_server.url, 2, port)
        # The crowd shops at the second replica, whose requests the first one's /metrics does not count.
        status, rows = report(valkey_server.url, fleets[:1], port, "--orders", "40", "--url", fleets[1].url)
    assert status == 1
    assert not rows["answers 202"]["agrees"]
