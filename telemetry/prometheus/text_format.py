"""The text of an exposition: what every scrape has is written here, the rest by prometheus_client.

prometheus_client looks at each name and label again for each line. Nearly all of a line is the same at the next scrape,
so here its beginning is kept, and only the value is new.
"""

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest as text
from prometheus_client.openmetrics.exposition import ALLOWUTF8, escape_label_name
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar, Sample
from prometheus_client.utils import floatToGoString

from ..metrics.observable import Series
from .content_negotiation import Format

_WRITERS: dict[Format, Callable[..., bytes]] = {Format.TEXT: text, Format.OPENMETRICS: openmetrics}
_logger = logging.getLogger(__name__)
EOF = b"# EOF\n"
_TYPES = ("counter", "gauge", "histogram")
_SPECIAL = ("_created", "_gsum", "_gcount")
_PLAIN_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


class PrerenderedGauge(Metric):
    """The family of a gauge that is read: lines of which only the values are new.

    Args:
        family: its name, help and unit.
        values: what was read.
        prefixes: the line of each of these series up to its value, and maybe those of others.
        labels: says what the labels of a series are.
    """

    def __init__(
        self,
        family: Metric,
        values: Mapping[Series, float],
        prefixes: Mapping[Series, str],
        labels: Callable[[Series], dict[str, str]],
    ) -> None:
        super().__init__(family.name, family.documentation, family.type, family.unit)
        self._values, self._prefixes, self._labels = values, prefixes, labels

    def lines(self) -> str:
        """Write the text of all samples."""
        prefixes = self._prefixes
        return "".join([f"{prefixes[series]}{format_value(value)}\n" for series, value in self._values.items()])

    @property
    def samples(self) -> list[Sample]:
        """The samples as prometheus_client has them, made for whoever looks: `lines` needs none."""
        return [Sample(self.name, self._labels(series), value) for series, value in self._values.items()]

    @samples.setter
    def samples(self, _: list[Sample]) -> None:
        """Ignore the empty list that `Metric` begins with."""


class _Families(Collector):
    """What prometheus_client takes for a registry."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def write(families: Iterable[Metric], form: Format) -> bytes:
    """Write all families in one format."""
    ours: list[str] = []
    others: list[Metric] = []
    for family in families:
        if _is_plain(family):
            ours += [_head(family, form), _samples(family, form)]
        else:
            others.append(family)
    rest = _by_prometheus_client(others, form)
    lines = "".join(ours).encode(errors="replace")  # half a surrogate pair has no UTF-8
    return rest.removesuffix(EOF) + lines + EOF if form is Format.OPENMETRICS else rest + lines


def _by_prometheus_client(families: list[Metric], form: Format) -> bytes:
    """Write families that only prometheus_client can write; one that it cannot is left out, and costs no other."""
    try:
        return _WRITERS[form](_Families(families), escaping=ALLOWUTF8)
    except Exception:
        if len(families) == 1:
            _logger.exception("%s cannot be written", families[0].name)
            families = []
        parts = [_by_prometheus_client([family], form).removesuffix(EOF) for family in families]
        return b"".join(parts) + (EOF if form is Format.OPENMETRICS else b"")


def sample_prefix(name: str, labels: Mapping[str, str]) -> str:
    """Return a sample's line up to its value."""
    return f"{name}{_braced(labels)} " if labels else f"{name} "


@lru_cache(maxsize=16_384)
def format_value(value: float) -> str:
    """Return a value as both formats have it; a zero has no sign, for the two of them are one here."""
    return str(floatToGoString(float(value) + 0.0))  # type: ignore[no-untyped-call]


def _is_plain(family: Metric) -> bool:
    if isinstance(family, PrerenderedGauge):
        return True
    return (
        family.type in _TYPES
        and _PLAIN_NAME.fullmatch(family.name) is not None
        and not any(
            sample.timestamp is not None or sample.native_histogram is not None or sample.name.endswith(_SPECIAL)
            for sample in family.samples
        )
    )


def _head(family: Metric, form: Format) -> str:
    name, said = family.name, family.documentation.replace("\\", r"\\").replace("\n", r"\n")
    if form is Format.OPENMETRICS:
        said = said.replace('"', r"\"")
    elif family.type == "counter":
        name += "_total"
    head = f"# HELP {name} {said}\n# TYPE {name} {family.type}\n"
    return f"{head}# UNIT {name} {family.unit}\n" if form is Format.OPENMETRICS and family.unit else head


def _samples(family: Metric, form: Format) -> str:
    if isinstance(family, PrerenderedGauge):
        return family.lines()
    shows_exemplars = form is Format.OPENMETRICS and family.type != "gauge"
    return "".join(
        [
            f"{_cached_prefix(sample.name, (*sample.labels.items(),))}{format_value(sample.value)}"
            f"{_shown(sample.exemplar) if sample.exemplar and shows_exemplars else ''}\n"
            for sample in family.samples
        ]
    )


@lru_cache(maxsize=16_384)
def _cached_prefix(name: str, labels: tuple[tuple[str, str], ...]) -> str:
    return sample_prefix(name, {label: _bound(value) if label == "le" else value for label, value in labels})


def _bound(value: str) -> str:
    """Return the bound of a bucket as the formats have it: ``5.0``, ``1e+06``."""
    try:
        return str(floatToGoString(float(value)))  # type: ignore[no-untyped-call]
    except ValueError:
        return value


def _shown(exemplar: Exemplar) -> str:
    when = "" if exemplar.timestamp is None else f" {exemplar.timestamp}"
    return f" # {_braced(exemplar.labels)} {format_value(exemplar.value)}{when}"


def _braced(labels: Mapping[str, str]) -> str:
    return "{" + ",".join([f'{_name(label)}="{_escaped(labels[label])}"' for label in sorted(labels)]) + "}"


@lru_cache(maxsize=1024)
def _name(label: str) -> str:
    return escape_label_name(label, ALLOWUTF8)


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
