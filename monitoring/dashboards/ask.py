"""Ask a Prometheus what a panel asks it, as Grafana would: variables filled in, over a time."""

import math
import re
import time
from dataclasses import dataclass
from typing import Any, Self

import httpx

from monitoring.dashboards.ledger import SCRAPE_SECONDS

Point = tuple[float, float]
ALL = ".*"
_VARIABLE = re.compile(r"\$\{?(__rate_interval|__interval|__range|[a-z]+)\}?")


@dataclass(frozen=True, slots=True)
class Window:
    """A time that is looked at, in Unix seconds, and the seconds between two points."""

    start: float
    end: float
    step: float

    @classmethod
    def last(cls, minutes: float, points: int = 200) -> Self:
        """Return the time up to now, in at most `points` points, none closer than two scrapes."""
        end = time.time()
        return cls(end - 60 * minutes, end, max(SCRAPE_SECONDS, math.ceil(60 * minutes / points)))


@dataclass(frozen=True, slots=True)
class Series:
    """The labels of a series and its points."""

    labels: dict[str, str]
    points: list[Point]

    def named(self, legend: str) -> str:
        """Return its name after Grafana's legend format."""
        if legend == "__auto":
            shown = [f"{key}={value}" for key, value in sorted(self.labels.items()) if key != "__name__"]
            return ", ".join(shown) or self.labels.get("__name__", "Value")
        return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: self.labels.get(found[1], ""), legend).strip()


def filled(expr: str, window: Window, chosen: dict[str, str] | None = None) -> str:
    """Return a query with Grafana's variables replaced; one that nobody chose matches everything."""
    known = {
        "__rate_interval": f"{max(window.step + SCRAPE_SECONDS, 4 * SCRAPE_SECONDS):.0f}s",
        "__interval": f"{window.step:.0f}s",
        "__range": f"{window.end - window.start:.0f}s",
        **(chosen or {}),
    }
    # `${1}` and `$1` belong to label_replace: the pattern leaves digits alone.
    return _VARIABLE.sub(lambda found: known.get(found[1], ALL), expr)


class Prometheus:
    """A client of its query API."""

    def __init__(self, url: str) -> None:
        """Take its address; nothing is sent yet."""
        self._client = httpx.Client(base_url=url, timeout=30)

    def range(self, expr: str, window: Window, chosen: dict[str, str] | None = None) -> list[Series]:
        """Return the series of a query over a time."""
        asked = {"start": window.start, "end": window.end, "step": window.step}
        found = self._ask("query_range", query=filled(expr, window, chosen), **asked)
        return [_series(one["metric"], one["values"]) for one in found["result"]]

    def instant(self, expr: str, window: Window, chosen: dict[str, str] | None = None) -> list[Series]:
        """Return the series of a query at the end of a time, with one point each."""
        found = self._ask("query", query=filled(expr, window, chosen), time=window.end)
        return [_series(one["metric"], [one["value"]]) for one in found["result"]]

    def exemplars(self, expr: str, window: Window, chosen: dict[str, str] | None = None) -> list[dict[str, Any]]:
        """Return the exemplars of the series of a query: `labels`, `value` and `timestamp`."""
        found = self._ask("query_exemplars", query=filled(expr, window, chosen), start=window.start, end=window.end)
        return [exemplar for series in found for exemplar in series["exemplars"]]

    def values(self, metric: str, label: str, window: Window) -> list[str]:
        """Return the values that a label of a metric had."""
        asked: dict[str, str | float] = {"match[]": metric, "start": window.start, "end": window.end}
        return list(self._ask(f"label/{label}/values", **asked))

    def _ask(self, what: str, **parameters: str | float) -> Any:  # noqa: ANN401 - its shape depends on what is asked
        answer = self._client.get(f"/api/v1/{what}", params=parameters)
        said = answer.json()
        if said.get("status") != "success":
            raise ValueError(f"{said.get('error')}: {parameters}")
        return said["data"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()


def _series(labels: dict[str, str], values: list[list[Any]]) -> Series:
    points = [(float(at), float(value)) for at, value in values]
    return Series(labels, [(at, value) for at, value in points if math.isfinite(value)])
