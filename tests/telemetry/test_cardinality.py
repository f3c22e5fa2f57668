"""Whatever clients send, the number of series stays and so does the memory; what overflows is counted."""

import asyncio
import random
import resource
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from telemetry import CounterSpec, GaugeSpec, HistogramSpec, Telemetry, TelemetrySettings
from telemetry.metrics.specs import MAX_SERIES
from telemetry.testing import Capture, capture
from tests.support import Program, free_port, wait_until
from tests.telemetry.collector import Collector

WARM_UP = 10_000
CONNECTIONS = 4
PIPELINED = 50
MEBIBYTE = 1 << 20
MAX_GROWTH = 4 * MEBIBYTE
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "PROPFIND", "LOCK", "MKCOL", "SUBSCRIBE"]
OPEN = CounterSpec(name="shop.seen", unit="{user}", description="Seen.", attributes={"user": None}, limit=10)

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def random_request(chance: random.Random) -> bytes:
    """Return a request that nobody has sent before."""
    word = f"{chance.getrandbits(63) + 1:x}"
    path = chance.choice([f"/{word}", f"/items/{word}", f"/items/{word}/x", f"/live?{word}={word}", f"//{word}/%ff"])
    return (
        f"{chance.choice(METHODS)} {path} HTTP/1.1\r\nHost: {word}.example:{chance.randrange(65536)}\r\n"
        f"User-Agent: agent/{word}\r\nX-{word}: {word}\r\nIdempotency-Key: {word}\r\n"
        f"traceparent: 00-{word:0>32}-{word:0>16}-01\r\ntracestate: a={word}\r\nbaggage: user={word}\r\n\r\n"
    ).encode()


async def read_answer(reader: asyncio.StreamReader, *, has_body: bool = True) -> bytes:
    """Return the body of one answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    _, _, length = head.partition(b"content-length:")
    return await reader.readexactly(int(length.split(b"\r\n")[0])) if has_body else b""


async def send(port: int, requests: list[bytes]) -> list[bytes]:
    """Send requests over one connection, some at a time, and return the bodies of their answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=MEBIBYTE)
    bodies = []
    for start in range(0, len(requests), PIPELINED):
        lot = requests[start : start + PIPELINED]
        writer.write(b"".join(lot))
        bodies += [await read_answer(reader, has_body=not request.startswith(b"HEAD")) for request in lot]
    writer.close()
    await writer.wait_closed()
    return bodies


async def flood(port: int, count: int, chance: random.Random) -> None:
    """Send this many random requests."""
    share = count // CONNECTIONS
    await asyncio.gather(*(send(port, [random_request(chance) for _ in range(share)]) for _ in range(CONNECTIONS)))


async def scrape(port: int) -> Series:
    """Return each series and its value."""
    (body,) = await send(port, [b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"])
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def labels(series: Series, label: str) -> set[str]:
    """Return the values that a label has."""
    return {dict(each)[label] for _, each in series if label in dict(each)}


async def has_exported(port: int) -> bool:
    """Whether spans have left, and the collector has answered."""
    return any(name == "otel_sdk_exporter_span_exported_total" for name, _ in await scrape(port))


def resident_bytes(pid: int) -> int:
    """Return the memory that a process holds now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("interceptor", "requests"), [("contrib", 50_000), ("native", 20_000)])
async def test_random_requests_make_no_series_and_take_no_memory(interceptor: str, requests: int) -> None:
    """Paths, methods, hosts, agents, keys and trace ids; what they need is there after the first 10 000."""
    seed = random.SystemRandom().getrandbits(32)
    print("seed", seed)  # noqa: T201 - shown when the test fails
    chance = random.Random(seed)
    port = free_port()
    with Collector() as collector:
        environ = {"TELEMETRY_INTERCEPTOR": interceptor, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}
        with Program.python("-m", "tests.telemetry.shop", str(port), env=environ) as program:
            program.wait_for_line("Uvicorn running")
            await flood(port, WARM_UP, chance)
            await wait_until(lambda: has_exported(port), 30, "spans have left, which makes series too")
            await scrape(port)  # which the SDK measures, and shows from the second one on
            before, used = await scrape(port), resident_bytes(program.pid)
            await flood(port, requests - WARM_UP, chance)
            after, grown = await scrape(port), resident_bytes(program.pid) - used
    count = "http_server_request_duration_seconds_count"
    assert sum(value for (name, _), value in after.items() if name == count) >= requests
    assert after.keys() == before.keys()
    assert labels(after, "http_route") <= {"", "/items/{item}", "/live"}
    assert labels(after, "http_request_method") == {"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "_OTHER"}
    print(f"grown by {grown / MEBIBYTE:.2f} MiB from {used / MEBIBYTE:.1f}")  # noqa: T201 - shown with the seed
    assert grown < MAX_GROWTH


def overflowed(seen: Capture, name: str = "shop.seen") -> float | None:
    """Return what the library counts for an instrument."""
    return seen.value("telemetry_observations_overflowed_total", instrument=name)


def test_an_open_attribute_is_bounded_and_the_sum_stays_right() -> None:
    """What has no room goes to one series of its own, and is counted."""
    with capture() as seen:
        counter = seen.telemetry.counter(OPEN)
        assert overflowed(seen) == 0
        for _ in range(2):
            for user in range(1_000):
                counter.add(1, {"user": f"u{user}"})
        series = {key: value for key, value in seen.metrics().items() if key[0] == "shop_seen_total"}
        assert (len(series), sum(series.values())) == (11, 2_000)
        assert seen.value("shop_seen_total", user="u9") == 2
        assert seen.value("shop_seen_total", otel_metric_overflow="true") == overflowed(seen) == 1_980


def test_a_reader_is_bounded_at_each_scrape() -> None:
    """A gauge is no sum, so what has no room is left out; those that went make room for others."""
    users = [f"u{number}" for number in range(12)]
    spec = GaugeSpec(name="shop.left", unit="", description="Left.", attributes={"user": None}, limit=10)
    with capture() as seen:
        seen.telemetry.observe(spec, lambda: [(1, {"user": user}) for user in users])
        assert seen.value("shop_left") == 10
        assert overflowed(seen, "shop.left") == 4, "2 in each of two scrapes"
        users[:] = ["u11"]
        assert seen.value("shop_left", user="u11") == 1


def test_attributes_that_come_and_go_do_not_use_up_the_limit() -> None:
    """Of a gauge that is read, only those of this scrape count."""
    spec = GaugeSpec(name="shop.left", unit="", description="Left.", attributes={"product": None}, scope="fleet")
    products: list[str] = []
    with capture() as seen:
        seen.telemetry.observe(spec, lambda: [(1, {"product": product}) for product in products])
        for day in range(4):
            products[:] = [f"{day}-{number}" for number in range(MAX_SERIES)]
            assert seen.value("shop_left") == MAX_SERIES
            assert seen.value("shop_left", otel_metric_overflow="true") is None
            assert seen.value("shop_left", product=f"{day}-7") == 1


def test_the_sdk_bounds_instruments_that_are_not_declared() -> None:
    """Beyond 2 000 sets of attributes, one series says that there were more."""
    with capture() as seen:
        counter = seen.telemetry.meter_provider.get_meter("other").create_counter("other")
        for number in range(MAX_SERIES + 100):
            counter.add(1, {"number": number})
        series = {key: value for key, value in seen.metrics().items() if key[0] == "other_total"}
        assert (len(series), sum(series.values())) == (MAX_SERIES + 1, MAX_SERIES + 100)
        assert seen.value("other_total", otel_metric_overflow="true") == 100


def test_an_attribute_that_cannot_be_counted_is_dropped() -> None:
    settings = TelemetrySettings(service_name="shop", worker="api-0")
    telemetry = Telemetry(settings, set_global=False)
    with telemetry:
        telemetry.counter(OPEN).add(1, {"user": ["u1"]})  # type: ignore[dict-item]
        text = telemetry.exposition()[0].decode()
    assert 'telemetry_observations_dropped_total{instrument="shop.seen",worker="api-0"} 1.0' in text


@pytest.mark.parametrize("limit", [0, -1, MAX_SERIES + 1])
def test_a_limit_that_cannot_be_kept_is_refused(limit: int) -> None:
    with pytest.raises(ValueError, match=r"shop\.wait: a limit of"):
        HistogramSpec(name="shop.wait", unit="s", description="Wait.", limit=limit)


def test_one_string_is_no_set_of_values() -> None:
    """Its letters would be values, and series from the start."""
    with pytest.raises(TypeError, match=r"^shop\.refunds: the values of result are several strings: \('refunded',\)$"):
        CounterSpec(name="shop.refunds", unit="1", description="Refunds.", attributes={"result": "refunded"})
