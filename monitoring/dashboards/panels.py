"""The kinds of panels that the dashboards use: graph, figure, bars, table, heat map."""

from dataclasses import dataclass, field
from typing import ClassVar

from monitoring.dashboards.model import Json, Panel, Shape, Steps, override

GOOD = "green"
WARN = "orange"
BAD = "red"


def upper(warn: float, bad: float) -> Steps:
    """Good from below, then worth a look, then bad."""
    return ((None, GOOD), (warn, WARN), (bad, BAD))


def lower(bad: float, warn: float) -> Steps:
    """Bad from below, then worth a look, then good."""
    return ((None, BAD), (bad, WARN), (warn, GOOD))


NEVER: Steps = ((None, BAD), (0, GOOD), (1e-9, BAD))
"""Only 0 is good."""


def last(*, whole: bool = False) -> Json:
    """Show the last value of each series, or every row of a table."""
    return {"values": whole, "calcs": ["lastNotNull"], "fields": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph(Panel):
    """Lines over time. `limits` draws the thresholds as lines, `room` is the least top of the axis."""

    stacked: bool = False
    limits: bool = False
    fill: int = 8
    room: float | None = None

    kind: ClassVar[str] = "timeseries"

    def options(self) -> Json:
        """Return a legend below with the last and the greatest value, and a tooltip that shows all series."""
        return {
            "legend": {
                "showLegend": True,
                "displayMode": "table",
                "placement": "bottom",
                "calcs": ["lastNotNull", "max"],
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        }

    def defaults(self) -> Json:
        """Draw lines from point to point; a gap is a gap: no figure is made up where none was exported."""
        return {
            "color": {"mode": "palette-classic"},
            "custom": {
                "drawStyle": "line",
                "lineInterpolation": "linear",
                "lineWidth": 1,
                "fillOpacity": 40 if self.stacked else self.fill,
                "showPoints": "auto",
                "spanNulls": False,
                "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
                "thresholdsStyle": {"mode": "dashed" if self.limits else "off"},
                **({} if self.room is None else {"axisSoftMax": self.room}),
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure(Panel):
    """One number, large, coloured by its thresholds, over its own course."""

    height: int = 4
    trend: bool = True

    kind: ClassVar[str] = "stat"

    def options(self) -> Json:
        """Return the last value."""
        return {
            "colorMode": "value",
            "graphMode": "area" if self.trend else "none",
            "justifyMode": "auto",
            "textMode": "auto",
            "orientation": "auto",
            "reduceOptions": last(),
        }

    def defaults(self) -> Json:
        """Coloured by the thresholds."""
        return {"color": {"mode": "thresholds"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars(Panel):
    """A bar for the last value of each series."""

    kind: ClassVar[str] = "bargauge"
    instant: ClassVar[bool] = True

    def options(self) -> Json:
        """Horizontal, with what is missing shown."""
        return {
            "displayMode": "basic",
            "orientation": "horizontal",
            "reduceOptions": last(),
            "showUnfilled": True,
            "valueMode": "color",
            "minVizHeight": 16,
            "minVizWidth": 8,
        }

    def defaults(self) -> Json:
        """Coloured by the thresholds."""
        return {"color": {"mode": "thresholds"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table: the query that fills it (by its letter) or the label, its heading and unit."""

    source: str
    title: str
    unit: str = "none"
    decimals: int | None = None
    link: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table(Panel):
    """The present value of several queries, joined by their labels; `sort` names a column, the greatest first."""

    columns: tuple[Column, ...]
    sort: str

    kind: ClassVar[str] = "table"
    shape: ClassVar[Shape] = "table"
    instant: ClassVar[bool] = True

    def options(self) -> Json:
        """Sorted, with a header."""
        return {"showHeader": True, "cellHeight": "sm", "sortBy": [{"displayName": self.sort, "desc": True}]}

    def transformations(self) -> list[Json]:
        """One row for each set of labels; the columns in their order, nothing else."""
        names = {self._field(column): column for column in self.columns}
        return [
            {"id": "merge", "options": {}},
            {"id": "filterFieldsByName", "options": {"include": {"names": list(names)}}},
            {
                "id": "organize",
                "options": {
                    "indexByName": {name: place for place, name in enumerate(names)},
                    "renameByName": {name: column.title for name, column in names.items()},
                },
            },
        ]

    def overrides(self) -> list[Json]:
        """Each column in its unit."""
        return [override(column.title, *self._properties(column)) for column in self.columns]

    @staticmethod
    def _properties(column: Column) -> list[Json]:
        found: list[Json] = [{"id": "unit", "value": column.unit}]
        if column.decimals is not None:
            found.append({"id": "decimals", "value": column.decimals})
        if column.link:
            found.append({"id": "links", "value": [{"title": "Show only this one", "url": column.link}]})
        return found

    @staticmethod
    def _field(column: Column) -> str:
        return f"Value #{column.source}" if len(column.source) == 1 else column.source


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap(Panel):
    """How the observations of a histogram are spread, over time, with exemplars."""

    scheme: str = "Oranges"
    exemplars: str = field(default="rgba(255,0,255,0.7)")

    kind: ClassVar[str] = "heatmap"
    shape: ClassVar[Shape] = "heatmap"

    def options(self) -> Json:
        """Draw buckets as they are; empty ones stay dark."""
        return {
            "calculate": False,
            "cellGap": 1,
            "cellValues": {"unit": "short"},
            "color": {
                "mode": "scheme",
                "scheme": self.scheme,
                "fill": "dark-orange",
                "steps": 64,
                "exponent": 0.5,
                "scale": "exponential",
                "reverse": False,
            },
            "exemplars": {"color": self.exemplars},
            "filterValues": {"le": 1e-9},
            "legend": {"show": True},
            "rowsFrame": {"layout": "auto"},
            "showValue": "never",
            "tooltip": {"yHistogram": True},
            "yAxis": {"axisPlacement": "left", "reverse": False, "unit": self.unit},
        }
