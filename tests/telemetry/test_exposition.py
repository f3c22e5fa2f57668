"""`GET /metrics` in both formats: who gets which, and that each is valid to the letter."""

import pytest
from opentelemetry import metrics
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as strict
from prometheus_client.parser import text_string_to_metric_families as plain

from telemetry import CounterSpec, GaugeSpec, HistogramSpec, UpDownCounterSpec
from telemetry.testing import Capture, capture
from tests.support import executable, serve
from tests.support.http import http_client
from tests.support.processes import run
from tests.telemetry.shop import build

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
AWKWARD = 'a"b\\c\nd\re {f} # {g="h"} 1 ü €\x85\u2028'
HELP = 'Left "to" sell,\nor \\not.'


def fill(seen: Capture) -> None:
    """Make a series of each kind, with units and an awkward label."""
    telemetry = seen.telemetry
    telemetry.counter(CounterSpec(name="shop.orders", unit="{order}", description="Orders.")).add(3)
    telemetry.counter(CounterSpec(name="shop.busy", unit="s", description="Busy.")).add(1.5)
    telemetry.counter(CounterSpec(name="shop.sent_total", unit="By", description="Sent.")).add(10)
    telemetry.up_down_counter(UpDownCounterSpec(name="shop.open", unit="1", description="Open.")).add(1)
    telemetry.histogram(HistogramSpec(name="shop.wait", unit="s", description="Wait.", buckets=(1, 10.0))).record(2)
    left = GaugeSpec(name="shop.left", unit="{item}", description=HELP, attributes={"product": None}, scope="fleet")
    telemetry.observe(left, lambda: [(7, {"product": AWKWARD}), (8, {"product": "half \ud800 a pair"})])


def families(seen: Capture, accept: str) -> dict[str, Metric]:
    """Scrape and parse; the parser of OpenMetrics refuses whatever the standard does not allow."""
    body, content_type = seen.telemetry.exposition(accept)
    parse = strict if content_type == OPENMETRICS else plain
    return {family.name: family for family in parse(body.decode())}


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, TEXT),
        ("", TEXT),
        ("*/*", TEXT),
        ("text/html, */*;q=0.1", TEXT),
        ("application/*", OPENMETRICS),
        ("application/json", TEXT),
        (PROMETHEUS_2, OPENMETRICS),
        (PROMETHEUS_3, OPENMETRICS),
        ("application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        ("APPLICATION/OpenMetrics-Text; Version=1.0.0; CHARSET=utf-8", OPENMETRICS),
        ('application/openmetrics-text; version="1.0.0"; note="a,b;q=0"', OPENMETRICS),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text;q=0, application/*", TEXT),
        ("application/openmetrics-text;q=0.4, text/plain;q=0.5", TEXT),
        ("application/openmetrics-text;q=0.5, text/plain;q=0.4", OPENMETRICS),
        ("text/*;q=0.9, application/openmetrics-text;q=0.8", TEXT),
        ("text/plain;q=0.1, */*", OPENMETRICS),
        ("application/openmetrics-text, text/plain", TEXT),
        ("application/openmetrics-text;q=high", TEXT),
        ("application/openmetrics-text;q=2", TEXT),
        ("application/openmetrics-text;q=nan", TEXT),
        (";;,,=;q", TEXT),
    ],
)
def test_accept_decides(accept: str | None, content_type: str) -> None:
    """The higher quality wins, the more specific range counts, and plain text is the default."""
    with capture() as seen:
        assert seen.telemetry.exposition(accept)[1] == content_type


async def test_the_content_type_is_that_of_the_body_over_http() -> None:
    with capture() as seen:
        async with serve(build(seen.telemetry)) as url, http_client(url) as client:
            plain_answer = await client.get("/metrics")
            answer = await client.get("/metrics", headers={"accept": PROMETHEUS_3})
    assert (plain_answer.headers["content-type"], answer.headers["content-type"]) == (TEXT, OPENMETRICS)
    assert "# EOF" not in plain_answer.text
    assert list(plain(plain_answer.text))
    assert list(strict(answer.text))  # type: ignore[no-untyped-call]


def test_both_formats_say_the_same() -> None:
    """Each series and value of one is in the other."""
    with capture() as seen:
        fill(seen)
        values = []
        for accept in (TEXT, OPENMETRICS):
            samples = [sample for family in families(seen, accept).values() for sample in family.samples]
            values.append(
                {
                    (sample.name, frozenset(sample.labels.items())): sample.value
                    for sample in samples
                    if not sample.name.startswith(("process_", "otel_sdk_"))  # they move between two scrapes
                }
            )
    assert values[0] == values[1]
    assert len(values[0]) > 10


def test_openmetrics_has_units_totals_and_one_end() -> None:
    with capture() as seen:
        fill(seen)
        body = seen.telemetry.exposition(OPENMETRICS)[0].decode()
        found = families(seen, OPENMETRICS)
    assert (body.count("# EOF"), body.endswith("\n# EOF\n")) == (1, True)
    kinds = {name: (family.type, family.unit) for name, family in found.items() if name.startswith("shop")}
    assert kinds == {
        "shop_orders": ("counter", ""),
        "shop_busy_seconds": ("counter", "seconds"),
        "shop_sent_bytes": ("counter", "bytes"),
        "shop_open": ("gauge", ""),
        "shop_wait_seconds": ("histogram", "seconds"),
        "shop_left": ("gauge", ""),
    }
    assert 'shop_sent_bytes_total{worker="test-0"} 10.0' in body
    assert 'shop_wait_seconds_bucket{le="1.0",worker="test-0"} 0.0' in body
    assert "_created" not in body


@pytest.mark.parametrize("accept", [TEXT, OPENMETRICS])
def test_label_values_and_help_survive(accept: str) -> None:
    """Whatever is in them; half a surrogate pair becomes a question mark instead of costing the scrape."""
    with capture() as seen:
        fill(seen)
        left = families(seen, accept)["shop_left"]
    assert left.documentation == HELP
    assert {sample.labels["product"] for sample in left.samples} == {AWKWARD, "half ? a pair"}


@pytest.mark.parametrize("accept", [TEXT, OPENMETRICS])
def test_two_meters_with_a_name_in_common_are_one_family(accept: str) -> None:
    """Both are in it with the same label names; a meter with another idea of the name is left out, not in twice."""
    with capture() as seen:
        provider = seen.telemetry.meter_provider
        one, two, three = (provider.get_meter(name) for name in ("one", "two", "three"))
        one.create_counter("jobs").add(1, {"kind": "a"})
        two.create_counter("jobs", description="Another.").add(2, {"queue": "b"})
        three.create_up_down_counter("jobs").add(4)
        jobs = families(seen, accept)["jobs"]
    assert {(s.labels["kind"], s.labels["queue"], s.value) for s in jobs.samples} == {("a", "", 1), ("", "b", 2)}


@pytest.mark.parametrize("accept", [TEXT, OPENMETRICS])
def test_an_attribute_never_takes_the_name_of_the_process(accept: str) -> None:
    """Of any instrument: two processes would have one series."""
    with capture() as seen:
        meter = seen.telemetry.meter_provider.get_meter("jobs")
        meter.create_counter("a").add(1, {"worker": "celery-1"})
        meter.create_counter("a").add(1)
        meter.create_up_down_counter("b").add(1, {"worker": "celery-1"})
        meter.create_gauge("c").set(1, {"worker": "celery-1"})
        meter.create_histogram("d").record(1, {"worker": "celery-1"})
        meter.create_observable_counter("e", [lambda _: [metrics.Observation(1, {"worker": "celery-1"})]])
        meter.create_observable_gauge("f", [lambda _: [metrics.Observation(1, {"worker": "celery-1"})]])
        spec = GaugeSpec(name="g", unit="1", description="g", attributes={"worker": None})
        seen.telemetry.observe(spec, lambda: [(1, {"worker": "celery-1"})])
        found = families(seen, accept)
    for name in "abcdefg":
        of_worker = {(s.labels["exported_worker"], s.labels["worker"]) for s in found[name].samples}
        assert of_worker == {("celery-1", seen.telemetry.worker)} | (
            {("", seen.telemetry.worker)} if name == "a" else set()
        )


@pytest.mark.parametrize("accept", [TEXT, OPENMETRICS])
def test_an_attribute_never_takes_the_name_of_a_bucket(accept: str) -> None:
    """Two values of it would be one series; of other instruments it is a label as any."""
    with capture() as seen:
        spec = HistogramSpec(name="shop.wait", unit="s", description="Wait.", attributes={"le": None}, buckets=(1,))
        for value in ("a", "b"):
            seen.telemetry.histogram(spec).record(2, {"le": value})
        seen.telemetry.meter_provider.get_meter("x").create_counter("c").add(1, {"le": "a"})
        found = families(seen, accept)
    buckets = [s.labels for s in found["shop_wait_seconds"].samples if s.name.endswith("_bucket")]
    assert sorted((labels["exported_le"], labels["le"]) for labels in buckets) == [
        *(("a", "+Inf"), ("a", "1.0"), ("b", "+Inf"), ("b", "1.0"))
    ]
    assert {s.labels["le"] for s in found["c"].samples} == {"a"}


def test_a_histogram_below_zero_has_no_sum() -> None:
    """OpenMetrics forbids it, for such a sum may fall."""
    with capture() as seen:
        meter: metrics.Meter = seen.telemetry.meter_provider.get_meter("other")
        change = meter.create_histogram("change", explicit_bucket_boundaries_advisory=[-1, 0, 1])
        change.record(0.5)
        names = {sample.name for sample in families(seen, OPENMETRICS)["change"].samples}
    assert names == {"change_bucket"}


def test_prometheus_itself_finds_nothing_wrong() -> None:
    """`promtool` reads plain text only."""
    with capture() as seen:
        fill(seen)
        body = seen.telemetry.exposition(TEXT)[0]
    argv = [executable("promtool"), "check", "metrics"]
    checked = run(argv, stdin=body.decode())
    lint = [line for line in checked.stderr.splitlines() if not line.startswith("otel_sdk_")]
    assert lint == [], checked.stderr
