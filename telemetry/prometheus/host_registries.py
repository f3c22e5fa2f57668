"""Families that others keep: the host's own `prometheus_client` registries, in the answer of `/metrics`.

Nothing is added up here. Each process shows its own series with the label ``worker``, as it does those of
OpenTelemetry's instruments, so that a plain ``sum()`` is right for counters and histograms. Whether gauges are to be
added up, or the highest counts, is for whoever reads them: no rule of a library would be right for each of them.
"""

import copy
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from ..failures import FailureLogger

_logger = logging.getLogger(__name__)
_SUFFIXES = {
    "counter": ("_total", "_created"),
    "summary": ("_sum", "_count", "_created"),
    "histogram": ("_bucket", "_sum", "_count", "_created"),
    "gaugehistogram": ("_bucket", "_gsum", "_gcount"),
    "info": ("_info",),
}


class HostRegistries(Collector):
    """The families of registries that are not ours; one that cannot be read costs its own families, and no scrape."""

    def __init__(self, registries: Sequence[Collector]) -> None:
        self._registries = registries
        self._failure_logger = FailureLogger(_logger)

    def collect(self) -> Iterator[Metric]:
        """Return what they show now."""
        for registry in self._registries:
            try:
                families = list(registry.collect())
            except Exception:
                self._failure_logger.exception("a registry of prometheus_client's cannot be read")
                continue
            yield from families


class FirstOfEachName:
    """Leaves out a family whose names another has already, for an exposition may have each once.

    It is told once, unless both say the same: prometheus_client's default registry has the figures of its process, and
    so has every exposition here.
    """

    def __init__(self) -> None:
        self._told: set[str] = set()

    def filter(self, families: Iterable[Metric], after: Iterable[Metric] = ()) -> Iterator[Metric]:
        """Return those that stay.

        Args:
            families: in the order in which they take their names.
            after: others, whose names are taken already.
        """
        taken = {name: family for family in after for name in _names(family)}
        for family in families:
            names = _names(family)
            other = next((taken[name] for name in names if name in taken), None)
            if other is None:
                taken.update(dict.fromkeys(names, family))
                yield family
            elif family.documentation != other.documentation and family.name not in self._told:
                self._told.add(family.name)
                _logger.warning("%s of a registry is not exported: another metric has that name", family.name)


def _names(family: Metric) -> list[str]:
    return [family.name, *(family.name + suffix for suffix in _SUFFIXES.get(family.type, ()))]


def with_labels(family: Metric, labels: Mapping[str, str]) -> Metric:
    """Return a family with more labels; one that it has by such a name becomes ``exported_...``, as in Prometheus."""
    labelled = copy.copy(family)
    labelled.samples = [
        sample._replace(
            labels={f"exported_{name}" if name in labels else name: value for name, value in sample.labels.items()}
            | dict(labels)
        )
        for sample in family.samples
    ]
    return labelled
