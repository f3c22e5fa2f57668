"""The name and unit of a metric in Prometheus, by the rules of OpenTelemetry's specification.

The rules are the same as those of opentelemetry-exporter-prometheus, which keeps them to itself:
`tests/telemetry/test_naming.py` holds both against each other. Source:
https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/#metric-metadata-1 and the units of
the Collector's translator, pkg/translator/prometheus.
"""

import re

_NAME = re.compile(r"[a-zA-Z][-_./a-zA-Z0-9]{0,254}")
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9:]+")
_NOT_IN_LABELS = re.compile(r"[^a-zA-Z0-9]+")
_ANNOTATION = re.compile(r"{.*}")
_UNITS = {
    "d": "days",
    "h": "hours",
    "min": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "By": "bytes",
    "KiBy": "kibibytes",
    "MiBy": "mebibytes",
    "GiBy": "gibibytes",
    "TiBy": "tibibytes",
    "KBy": "kilobytes",
    "MBy": "megabytes",
    "GBy": "gigabytes",
    "TBy": "terabytes",
    "m": "meters",
    "V": "volts",
    "A": "amperes",
    "J": "joules",
    "W": "watts",
    "g": "grams",
    "Cel": "celsius",
    "Hz": "hertz",
    "1": "",
    "%": "percent",
}
_PER = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year"}


def check_name(name: str) -> None:
    """Refuse a name that OpenTelemetry's SDK refuses for an instrument: one without letters would spoil every scrape.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"an instrument cannot be called {name!r}: its name begins with a letter and has at most 255 letters, "
            "digits, and characters of _.-/"
        )


def prometheus_name(name: str) -> str:
    """Write an instrument's name with the characters that a metric's name may have."""
    return _NOT_IN_NAMES.sub("_", _without_digit(name))


def label_name(name: str) -> str:
    """Write an attribute's name with the characters that a label's name may have."""
    return _NOT_IN_LABELS.sub("_", _without_digit(name))


def unit_name(unit: str) -> str:
    """Write a UCUM unit as the word that a metric's name ends with; an annotation such as ``{order}`` has none."""
    unit = _ANNOTATION.sub("", unit)
    if unit in _UNITS:
        return _UNITS[unit]
    above, slash, below = unit.partition("/")
    if slash and (below := _NOT_IN_NAMES.sub("_", below)):
        above = _NOT_IN_NAMES.sub("_", above)
        above = _UNITS.get(above, above)
        per = f"per_{_PER.get(below, below)}"
        return f"{above}_{per}" if above else per
    return _NOT_IN_NAMES.sub("_", unit).strip("_")


def _without_digit(name: str) -> str:
    return f"_{name[1:]}" if name[:1].isdigit() else name
