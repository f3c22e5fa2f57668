"""Percentiles that are read from buckets, beside the exact ones."""

from bisect import bisect_left
from collections import Counter
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.windows.histogram import BOUNDS, WINDOW_BUCKETS, Buckets, LatencyHistogram

MIN_SECONDS, MAX_SECONDS = WINDOW_BUCKETS.min_seconds, WINDOW_BUCKETS.max_seconds
RELATIVE_ERROR = WINDOW_BUCKETS.relative_error
FINE = Buckets.up_to(3600, growth=1.01, min_seconds=0.00001)
DURATIONS = st.floats(MIN_SECONDS, MAX_SECONDS)
SHARES = st.sampled_from([0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0])


def distribution(durations: list[float]) -> LatencyHistogram:
    """Put durations into buckets."""
    return LatencyHistogram(Counter(bisect_left(BOUNDS, seconds) for seconds in durations))


def test_the_stated_bound_is_five_percent_at_most() -> None:
    assert RELATIVE_ERROR <= 0.05
    assert (MIN_SECONDS, MAX_SECONDS > 60) == (0.0001, True)


@given(st.lists(DURATIONS, min_size=1, max_size=300), SHARES)
def test_a_percentile_is_within_the_stated_bound(durations: list[float], share: float) -> None:
    """Of the exact one, by the nearest rank."""
    exact = sorted(durations)[max(ceil(share * len(durations)), 1) - 1]
    assert distribution(durations).percentile(share) == pytest.approx(exact, rel=RELATIVE_ERROR + 1e-9)


@given(st.lists(DURATIONS, max_size=100), st.lists(DURATIONS, max_size=100), SHARES)
def test_adding_up_is_the_same_as_having_counted_together(one: list[float], two: list[float], share: float) -> None:
    """So it does not matter how many processes there are."""
    together = distribution(one)
    together.add(distribution(two))
    assert together == distribution(one + two)
    assert together.percentile(share) == distribution(one + two).percentile(share)


def test_what_is_beyond_the_bounds_counts_as_the_bound() -> None:
    assert distribution([0.0]).percentile(0.5) == MIN_SECONDS
    assert distribution([1e6]).percentile(0.5) == MAX_SECONDS
    assert LatencyHistogram().percentile(0.5) == LatencyHistogram().mean_seconds == 0


@given(st.lists(st.floats(FINE.min_seconds, 3600), min_size=1, max_size=300), SHARES)
def test_finer_buckets_are_nearer(durations: list[float], share: float) -> None:
    """Buckets that grow by one percent are half a percent off at most, and the mean stays exact to the microsecond."""
    found = LatencyHistogram(buckets=FINE)
    for seconds in durations:
        found.record(seconds)
    exact = sorted(durations)[max(ceil(share * len(durations)), 1) - 1]
    assert found.percentile(share) == pytest.approx(exact, rel=0.005)
    assert found.mean_seconds == pytest.approx(sum(durations) / len(durations), abs=1e-6)


def test_histograms_of_other_buckets_are_not_added_up() -> None:
    with pytest.raises(ValueError, match="different buckets"):
        LatencyHistogram().add(LatencyHistogram(buckets=FINE))
