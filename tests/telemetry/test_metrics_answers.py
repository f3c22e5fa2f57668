"""What one scraper may ask for: gzip, and some families or samples only."""

import gzip
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Counter

from telemetry import CounterSpec, HistogramSpec, Telemetry, TelemetrySettings
from telemetry.prometheus.content_negotiation import MAX_ACCEPT_LENGTH
from telemetry.prometheus.responses import accepts_gzip
from tests.support import serve
from tests.support.http import http_client

OPENMETRICS = "application/openmetrics-text"
ORDERS = CounterSpec(name="shop.orders", unit="{order}", description="Orders.", attributes={"kind": ("a", "b")})
WAIT = HistogramSpec(name="shop.wait", unit="s", description="Wait.", buckets=(1.0,))


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of a service that has measured something."""
    host = CollectorRegistry()
    Counter("host_jobs", "Jobs.", registry=host).inc()
    settings = TelemetrySettings(service_name="shop", worker="w")
    telemetry = Telemetry(settings, set_global=False, strict=True, registries=[host])
    telemetry.counter(ORDERS).add(3, {"kind": "a"})
    telemetry.histogram(WAIT).record(2)
    app = FastAPI()
    telemetry.install(app)
    async with serve(app) as url, http_client(url) as client:
        yield client


async def raw(client: httpx.AsyncClient, **headers: str) -> tuple[bytes, httpx.Headers]:
    """Return the body of an answer as it was sent."""
    async with client.stream("GET", "/metrics", headers=headers) as answer:
        return b"".join([part async for part in answer.aiter_raw()]), answer.headers


async def test_gzip_when_asked(client: httpx.AsyncClient) -> None:
    """The same text in a fraction of the bytes, and caches are told what it depends on."""
    await raw(client)  # what the SDK says of its reader comes with the second scrape
    for accept in ("text/plain", OPENMETRICS):
        small, headers = await raw(client, **{"accept": accept, "accept-encoding": "gzip"})
        plain, plain_headers = await raw(client, **{"accept": accept, "accept-encoding": "identity"})
        assert headers["content-encoding"] == "gzip"
        assert int(headers["content-length"]) == len(small) < len(plain) / 3
        assert b"shop_orders" in gzip.decompress(small)
        assert gzip.decompress(small).count(b"\n") == plain.count(b"\n")
        assert "content-encoding" not in plain_headers
        for each in (headers, plain_headers):
            assert (each["vary"], each["content-type"].partition(";")[0]) == ("Accept, Accept-Encoding", accept)


@pytest.mark.parametrize(
    ("accept_encoding", "chosen"),
    [
        (None, False),
        ("", False),
        ("gzip", True),
        ("x-gzip", True),
        ("GZIP ; Q=0.5", True),
        ("gzip, deflate, br, zstd", True),
        ("deflate;q=1, gzip;q=0.3", True),
        ("gzip;q=0", False),
        ("gzip;q=0.0, *", False),
        ("*", True),
        ("*;q=0", False),
        ("identity", False),
        ("identity;q=1, gzip;q=0.5", False),
        ("identity;q=0.5, gzip;q=0.5", True),
        ("br", False),
        ("identity;q=0", False),
        ("gzip;q=high", False),
        ("gzip;q=2", False),
        ("gzip;q=-1", False),
        ("gzip;q=nan", False),
        ("gzip;level=9", False),
        (",;=,;;", False),
        ("gzip" + "," * MAX_ACCEPT_LENGTH, False),
    ],
)
def test_accept_encoding_decides(accept_encoding: str | None, chosen: bool) -> None:
    """By its quality values; what cannot be read is passed over, and nothing at all is no encoding."""
    assert accepts_gzip(accept_encoding) is chosen


async def lines(client: httpx.AsyncClient, accept: str, *names: str) -> list[str]:
    """Return the samples of these names, without values."""
    answer = await client.get("/metrics", params={"name[]": names}, headers={"accept": accept})
    assert answer.status_code == 200
    assert answer.text.endswith("# EOF\n") == (accept == OPENMETRICS)
    return [line.rsplit(" ", 1)[0] for line in answer.text.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("accept", ["text/plain", OPENMETRICS])
async def test_names_select(client: httpx.AsyncClient, accept: str) -> None:
    """A family by its whole name, samples of it by theirs; a name that nothing has finds nothing."""
    orders = ['shop_orders_total{kind="a",worker="w"}', 'shop_orders_total{kind="b",worker="w"}']
    buckets = ['shop_wait_seconds_bucket{le="1.0",worker="w"}', 'shop_wait_seconds_bucket{le="+Inf",worker="w"}']
    count = 'shop_wait_seconds_count{worker="w"}'
    for names, found in (
        (["shop_orders"], orders),
        (["shop_orders_total"], orders),
        (["shop_wait_seconds_sum"], ['shop_wait_seconds_sum{worker="w"}']),
        (["shop_wait_seconds_bucket", "shop_wait_seconds_count"], [*buckets, count]),
        (["host_jobs_total", "shop_orders"], ['host_jobs_total{worker="w"}', *orders]),
        (["nothing_of_the_kind", "shop_wait_sec", "shop_wait_seconds_sum ", "SHOP_ORDERS"], []),
        (["shop"], []),
        (["\ufffd", "#", "# HELP", "{", '"'], []),
    ):
        assert await lines(client, accept, *names) == found, names
    assert len(await lines(client, accept, "target_info")) == 1


async def test_a_whole_histogram_is_found_by_its_name(client: httpx.AsyncClient) -> None:
    """With its help, so that what is shown is an exposition of its own."""
    answer = await client.get("/metrics?name[]=shop_wait_seconds&name[]=")
    assert answer.text.startswith("# HELP shop_wait_seconds Wait.\n# TYPE shop_wait_seconds histogram\n")
    assert {line.partition("{")[0] for line in answer.text.splitlines()[2:]} == {
        "shop_wait_seconds_bucket",
        "shop_wait_seconds_sum",
        "shop_wait_seconds_count",
    }


async def test_no_name_is_every_name(client: httpx.AsyncClient) -> None:
    """An empty one counts for none, as it does for prometheus_client; a great many harm nobody."""
    for _ in range(2):  # what the SDK says of its reader comes with the second scrape
        whole = (await client.get("/metrics")).text
    assert (await client.get("/metrics?name[]=")).text.count("\n") == whole.count("\n")
    many = "&".join(f"name[]=a{number}" for number in range(2000))
    assert (await client.get(f"/metrics?{many}&name[]=target_info")).text.count("\n") == 3


async def test_head_says_what_get_would(client: httpx.AsyncClient) -> None:
    """Without a body."""
    answer = await client.head("/metrics")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-encoding"] == "gzip"
