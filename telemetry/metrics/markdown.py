"""Instruments as a Markdown table, so that a list of metrics is made from their declarations and cannot differ."""

from collections.abc import Iterable

from .specs import InstrumentSpec

HEAD = "| name | type | labels | exported by | meaning |\n|---|---|---|---|---|\n"
_TYPES = {"updowncounter": "gauge"}


def instrument_table(specs: Iterable[InstrumentSpec]) -> str:
    """Return a row for each instrument, under its Prometheus name."""
    return HEAD + "".join(_row(spec) for spec in specs)


def _row(spec: InstrumentSpec) -> str:
    labels = ", ".join(_label(name, values) for name, values in spec.attributes.items())
    by = "every process (`worker`)" if spec.scope == "process" else "one process of all"
    kind = _TYPES.get(spec.kind, spec.kind)
    return f"| `{spec.prometheus_name}` | {kind} | {labels or '-'} | {by} | {spec.description} |\n"


def _label(name: str, values: Iterable[str] | None) -> str:
    label = name.replace(".", "_")
    return f"`{label}`" if values is None else f"`{label}` ({', '.join(values)})"
