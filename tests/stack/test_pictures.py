"""What draws the pictures of the dashboards: values in words, scales, buckets taken apart."""

import math

import pytest

from monitoring.dashboards.ask import Series, Window, filled
from monitoring.pictures.data import Line
from monitoring.pictures.heat import Buckets
from monitoring.pictures.plot import Plot, ticks
from monitoring.pictures.units import written


@pytest.mark.parametrize(
    ("value", "unit", "decimals", "words"),
    [
        (6180, "short", None, "6.18 K"),
        (0, "short", None, "0"),
        (0.0421, "s", None, "42.1 ms"),
        (29.16, "s", None, "29.2 s"),
        (95, "s", None, "1.58 min"),
        (1250, "ms", None, "1.25 s"),
        (0.9041, "percentunit", 1, "90.4%"),
        (2, "percent", 1, "2.0%"),
        (61.2 * 2**20, "bytes", None, "61.2 MiB"),
        (116.04, "suffix:/s", None, "116/s"),
        (43.8, "reqps", 1, "43.8 req/s"),
        (1, "bool_yes_no", None, "Yes"),
    ],
)
def test_a_value_is_written_in_its_unit(value: float, unit: str, decimals: int | None, words: str) -> None:
    assert written(value, unit, decimals) == words


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 116, 4) == [0, 50, 100]
    assert ticks(-0.3, 0.9, 6) == pytest.approx([-0.2, 0, 0.2, 0.4, 0.6, 0.8])


def test_a_gap_stays_a_gap() -> None:
    """Where nothing was exported no line is drawn."""
    plot = Plot(width=100, height=100, start=0, end=60, low=0, high=1)
    assert plot.runs([(0, 1.0), (5, 1.0), (30, 1.0), (35, 1.0)], 8) == [[(0, 1.0), (5, 1.0)], [(30, 1.0), (35, 1.0)]]


def test_buckets_are_taken_apart() -> None:
    """Prometheus counts up to each edge; what is empty at the ends is left out, but for one below."""
    upto = {"0.1": 0.0, "0.5": 0.0, "1.0": 4.0, "2.5": 6.0, "+Inf": 6.0}
    buckets = Buckets.of([Line("", "", [(10.0, count)], {"le": edge}) for edge, count in upto.items()])
    assert buckets == Buckets([0.5, 1.0, 2.5], {10.0: [0.0, 4.0, 2.0]})
    assert buckets.place(0.75) == 1.5
    assert buckets.place(math.inf) is None


def test_variables_are_filled_in_as_grafana_does() -> None:
    """A rate's window is at least four scrapes; groups of a pattern are no variables."""
    window = Window(0, 900, 5)
    assert filled('rate(x{p=~"$product"}[$__rate_interval])', window) == 'rate(x{p=~".*"}[20s])'
    assert filled("x[$__range]", window) == "x[900s]"
    assert filled('label_replace(x, "a", "${1}xx", "b", "(.).")', window).count("${1}xx") == 1
    assert filled('x{p=~"$product"}', window, {"product": "vase"}) == 'x{p=~"vase"}'
    assert filled("x[$__rate_interval]", Window(0, 90_000, 60)) == "x[65s]"


def test_a_legend_names_a_series() -> None:
    series = Series({"__name__": "up", "job": "api", "worker": "api-0"}, [])
    assert series.named("{{job}} {{ worker }}") == "api api-0"
    assert series.named("__auto") == "job=api, worker=api-0"
