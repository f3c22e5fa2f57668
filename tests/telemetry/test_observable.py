"""Instruments that are read: a scrape shows exactly what `read` gave now, whatever it gave before."""

import math
import os
import random
import tracemalloc
from collections.abc import Iterator
from decimal import Decimal
from enum import StrEnum
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from telemetry import CounterSpec, GaugeSpec, Telemetry, TelemetrySettings, UpDownCounterSpec
from telemetry.testing import Capture, capture

ATTRIBUTES: dict[str, None] = {"product": None, "in.store": None}
PRODUCTS = ["a", "b", 'a"b\\c\n', "ü €", "", "half \ud800 a pair", "1"]
STORES: list[Any] = ["x", "y", 1, True, "true", 2]
VALUES: list[Any] = [0, 1, 7, -3, 2.5, 1e9, 12_345_678, True, -0.0, Decimal("1.5"), math.nan, math.inf, -math.inf]
SPECS = [
    kind(name=f"shop.{scope}.{kind.kind}", unit="", description="D.", attributes=ATTRIBUTES, scope=scope)
    for scope in ("process", "fleet")
    for kind in (GaugeSpec, UpDownCounterSpec, CounterSpec)
]
LEFT = GaugeSpec(name="shop.left", unit="{unit}", description="Left.", attributes={"product": None}, scope="fleet")
Rows = list[tuple[float, dict[str, Any]]]
Shown = dict[tuple[str, str], float]


class Kind(StrEnum):
    """Attributes that are text, and not of the type `str`."""

    A = "a"


def shown(value: object) -> str:
    """Return an attribute as a label shows it."""
    if isinstance(value, str):
        return value.replace("\ud800", "?")
    return str(value).lower() if isinstance(value, bool) else str(value)


def expected(rows: Rows) -> Shown:
    """Return what a scrape has to show of what was read."""
    return {
        (shown(attributes["product"]), shown(attributes["in.store"])): float(value)
        for value, attributes in rows
        if math.isfinite(value)
    }


def found(body: bytes, name: str, *, strict: bool, scope: str) -> Shown:
    """Return what a scrape shows of an instrument; a series that is there twice is an error."""
    series: Shown = {}
    parse = openmetrics if strict else plain
    for family in parse(body.decode()):
        for sample in family.samples:
            if sample.name == name:
                key = sample.labels["product"], sample.labels["in_store"]
                assert key not in series
                assert sample.labels.keys() == {"product", "in_store"} | ({"worker"} if scope == "process" else set())
                series[key] = sample.value
    return series


def utf8(text: str) -> str:
    """Return it as the text of a scrape has it."""
    return text.encode(errors="replace").decode()


def random_rows(chance: random.Random) -> Rows:
    """Return observations; some series more than once, their attributes in either order."""
    rows: Rows = []
    for _ in range(chance.choice([0, 1, 5, 40])):
        attributes = {"product": chance.choice(PRODUCTS), "in.store": chance.choice(STORES)}
        order = chance.sample(list(attributes), 2)
        rows.append((chance.choice(VALUES), {name: attributes[name] for name in order}))
    return rows


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_scrape_shows_what_was_read_now(spec: GaugeSpec) -> None:
    """Random observations, scrape after scrape, in both formats and to any reader of the registry."""
    seed = int(os.environ.get("SEED") or random.randrange(2**32))
    chance = random.Random(seed)
    rows: Rows = []
    with capture() as seen:
        seen.telemetry.observe(spec, lambda: rows)
        name = spec.prometheus_name
        for _ in range(60):
            rows[:] = [row for row in random_rows(chance) if not isinstance(spec, CounterSpec) or row[0] >= 0]
            strict = chance.random() < 0.5
            body, _ = seen.telemetry.exposition("application/openmetrics-text" if strict else None)
            assert found(body, name, strict=strict, scope=spec.scope) == expected(rows), f"SEED={seed}"
            samples = [
                sample
                for family in seen.telemetry.registry.collect()
                for sample in family.samples
                if sample.name == name
            ]
            values = {(utf8(s.labels["product"]), s.labels["in_store"]): s.value for s in samples}
            assert values == expected(rows), f"SEED={seed}"
            assert len(samples) == len(values)


def test_text_of_another_type_is_text() -> None:
    """A member of an enumeration is the series of its value."""
    rows: Rows = [(1, {"product": "a"}), (2, {"product": Kind.A})]
    with capture() as seen:
        seen.telemetry.observe(LEFT, lambda: rows)
        for _ in range(2):
            assert seen.value("shop_left", product="a") == 2
            rows.reverse()
            assert seen.value("shop_left", product="a") == 1
            rows.reverse()


def test_attributes_that_are_changed_afterwards_change_nothing() -> None:
    """A reader may use one dictionary again and again."""
    attributes = {"product": ""}

    def read() -> Iterator[tuple[float, dict[str, str]]]:
        for number, product in enumerate("abc"):
            attributes["product"] = product
            yield number, attributes

    with capture() as seen:
        seen.telemetry.observe(LEFT, read)
        for _ in range(2):
            assert [seen.value("shop_left", product=product) for product in "abc"] == [0, 1, 2]


def dropped(telemetry: Telemetry) -> float:
    """Return how many observations of an instrument a scrape says were dropped."""
    lines = telemetry.exposition()[0].decode().splitlines()
    name = 'telemetry_observations_dropped_total{instrument="shop.left",worker="api-0"} '
    return next(float(line.removeprefix(name)) for line in lines if line.startswith(name))


@pytest.mark.parametrize(
    "wrong",
    [(1, {}), (1, {"user": "a"}), (1, {"product": ["a"]}), (None, {"product": "c"}), ("1", {"product": "c"}), 1],
)
def test_what_is_wrong_is_dropped_and_counted_and_nothing_else(wrong: Any) -> None:
    """What was read before it is shown; the failures of a scrape are in the next one."""
    telemetry = Telemetry(TelemetrySettings(service_name="shop", worker="api-0"), set_global=False)
    rows: list[Any] = [(1, {"product": "a"}), wrong]
    with telemetry:
        telemetry.observe(LEFT, lambda: rows)
        before = dropped(telemetry)
        assert dropped(telemetry) == before + 1
        assert b'\nshop_left{product="a"} 1.0\n' in telemetry.exposition()[0]
        assert telemetry.exposition()[0].count(b"\nshop_left{") == 1


def test_a_wrong_observation_does_not_cost_those_after_it() -> None:
    """One that is not as declared is passed over, each time it is read."""
    telemetry = Telemetry(TelemetrySettings(service_name="shop", worker="api-0"), set_global=False)
    with telemetry:
        telemetry.observe(LEFT, lambda: [(1, {"user": "a"}), (2, {"product": "b"}), (3, {"user": "a"})])
        assert [dropped(telemetry) for _ in range(3)] == [0, 2, 4]
        assert b'\nshop_left{product="b"} 2.0\n' in telemetry.exposition()[0]


def test_one_read_twice_takes_one_place() -> None:
    """The limit is one of series that are shown: neither a repetition nor a NaN counts."""
    spec = GaugeSpec(name="shop.left", unit="", description="Left.", attributes={"product": None}, limit=2)
    rows: Rows = [(1, {"product": "a"}), (2, {"product": "a"}), (math.nan, {"product": "x"}), (3, {"product": "b"})]
    with capture() as seen:
        seen.telemetry.observe(spec, lambda: rows)
        assert (seen.value("shop_left", product="a"), seen.value("shop_left", product="b")) == (2, 3)
        assert overflowed(seen) == 0
        rows += [(4, {"product": "c"}), (5, {"product": "b"})]
        assert {dict(labels)["product"] for name, labels in seen.metrics() if name == "shop_left"} == {"a", "b"}
        assert seen.value("shop_left", product="b") == 5
        assert overflowed(seen) == 3, "1 in each scrape"


def overflowed(seen: Capture) -> float | None:
    """Return how many observations had no room."""
    return seen.value("telemetry_observations_overflowed_total", instrument="shop.left")


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text"])
def test_a_gauge_that_is_read_shares_its_name(accept: str) -> None:
    """With what another meter says under that name, the series of both have the same label names."""
    spec = GaugeSpec(name="shop.left", unit="", description="Left.", attributes={"product": None})
    with capture() as seen:
        seen.telemetry.observe(spec, lambda: [(1, {"product": "a"})])
        seen.telemetry.meter_provider.get_meter("other").create_up_down_counter("shop.left").add(4, {"shelf": "s"})
        body = seen.telemetry.exposition(accept)[0].decode()
    parse = openmetrics if "openmetrics" in accept else plain
    (left,) = [family for family in parse(body) if family.name == "shop_left"]
    assert {(s.labels["product"], s.labels["shelf"], s.value) for s in left.samples} == {("a", "", 1), ("", "s", 4)}


def test_what_went_is_forgotten() -> None:
    """Neither series nor their text stay for ever when products come and go."""
    series, now = 500, [0]
    spec = GaugeSpec(name="shop.left", unit="", description="Left.", attributes={"product": None}, limit=series)
    with capture() as seen:
        seen.telemetry.observe(spec, lambda: [(1, {"product": f"{now[0]}-{each}"}) for each in range(series)])
        tracemalloc.start()
        try:
            for now[0] in range(8):
                seen.telemetry.exposition()
            settled = tracemalloc.get_traced_memory()[0]
            for now[0] in range(8, 40):
                body, _ = seen.telemetry.exposition()
            grown = tracemalloc.get_traced_memory()[0] - settled
        finally:
            tracemalloc.stop()
    assert body.count(b"\nshop_left{") == series
    assert grown < 32 * series * 100, "less than 100 bytes of each series that went"
