"""The text of an exposition: gauges here, everything else by prometheus_client.

A ledger of 1 000 products is 5 000 gauges, and nearly nothing else. prometheus_client looks at each name and label
again for each of them; the form of a gauge is the same in both formats, and simple.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache

from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest as text
from prometheus_client.openmetrics.exposition import ALLOWUTF8
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from telemetry.negotiation import Format

_WRITERS: dict[Format, Callable[..., bytes]] = {Format.TEXT: text, Format.OPENMETRICS: openmetrics}
_EOF = b"# EOF\n"


def write(families: Iterable[Metric], form: Format) -> bytes:
    """All families in one format; the names are such that both formats can carry them."""
    gauges: list[Metric] = []
    others: list[Metric] = []
    for family in families:
        (gauges if family.type == "gauge" else others).append(family)
    # Every name is plain ASCII by now; the other schemes look at each character of it again.
    rest = _WRITERS[form](_Families(others), escaping=ALLOWUTF8)
    lines = "".join(line for gauge in gauges for line in _lines(gauge, form)).encode()
    return rest.removesuffix(_EOF) + lines + _EOF if form is Format.OPENMETRICS else rest + lines


class _Families(Collector):
    """What prometheus_client takes for a registry."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _lines(gauge: Metric, form: Format) -> Iterable[str]:
    said = gauge.documentation.replace("\\", r"\\").replace("\n", r"\n")
    if form is Format.OPENMETRICS:
        said = said.replace('"', r"\"")
    yield f"# HELP {gauge.name} {said}\n# TYPE {gauge.name} gauge\n"
    if form is Format.OPENMETRICS and gauge.unit:
        yield f"# UNIT {gauge.name} {gauge.unit}\n"
    for sample in gauge.samples:
        labels = _labels(tuple(sample.labels.items())) if sample.labels else ""
        yield f"{sample.name}{labels} {floatToGoString(sample.value)}\n"  # type: ignore[no-untyped-call]


@lru_cache(maxsize=16_384)
def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    """The same for the same product each second."""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(labels)) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
