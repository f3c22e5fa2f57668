"""Names and units in Prometheus: the same as opentelemetry-exporter-prometheus gives them."""

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.prometheus import _mapping as theirs

from telemetry.metrics.naming import label_name, prometheus_name, unit_name

NAMES = st.one_of(st.text(max_size=12), st.from_regex(r"[a-z0-9._:/%-]{1,16}", fullmatch=True))
UNITS = st.one_of(
    NAMES,
    st.sampled_from([*theirs._UNIT_MAPPINGS, "{order}", "By/s", "m/s", "{a}/s", "1/mo", "km/h", "a//b", "/", "s/{x}"]),
    st.tuples(st.sampled_from([*theirs._UNIT_MAPPINGS, ""]), st.sampled_from([*theirs._PER_UNIT_MAPPINGS])).map(
        "/".join
    ),
)


@given(NAMES)
def test_a_metric_s_name(name: str) -> None:
    """Leading digits and characters that it may not have."""
    assert prometheus_name(name) == theirs.sanitize_full_name(name)


@given(NAMES)
def test_a_label_s_name(name: str) -> None:
    """The same, without colons."""
    assert label_name(name) == theirs.sanitize_attribute(name)


@given(UNITS)
def test_a_unit(unit: str) -> None:
    """Words for those that are known, rates, annotations."""
    assert unit_name(unit) == theirs.map_unit(unit)
