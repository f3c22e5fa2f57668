"""Dashboards as values: a small typed face of Grafana's JSON.

A `Dashboard` has rows of panels and says nothing of places and ids: panels flow from left to right, 24 columns wide,
and are numbered in their order. `Dashboard.json()` is what Grafana reads. Field names are held against Grafana's own
schema (its foundation SDK) by the tests.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

Json = dict[str, Any]
Shape = Literal["time_series", "table", "heatmap"]
Steps = tuple[tuple[float | None, str], ...]

COLUMNS = 24
DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
PLAIN: Steps = ((None, "text"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One PromQL query of a panel; `legend` is Grafana's legend format."""

    expr: str
    legend: str = "__auto"
    exemplar: bool = False

    def json(self, letter: str, shape: Shape, *, instant: bool) -> Json:
        """As a panel has it, asked over the time or for its last instant."""
        return {
            "datasource": DATASOURCE,
            "editorMode": "code",
            "exemplar": self.exemplar,
            "expr": " ".join(self.expr.split()),
            "format": shape,
            "instant": instant,
            "legendFormat": self.legend,
            "range": not instant,
            "refId": letter,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """What every panel has. `steps` are thresholds: from a value (None: from below) on, a colour."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    width: int
    height: int = 8
    steps: Steps = PLAIN
    decimals: int | None = None
    minimum: float | None = None
    maximum: float | None = None
    colors: dict[str, str] = field(default_factory=dict)

    kind: ClassVar[str]
    shape: ClassVar[Shape] = "time_series"
    instant: ClassVar[bool] = False

    def options(self) -> Json:
        """Return the panel's own options."""
        raise NotImplementedError

    def defaults(self) -> Json:
        """Return the panel's own defaults of a field."""
        return {}

    def overrides(self) -> list[Json]:
        """Keep the colour of a series whose name has one."""
        return [
            override(name, {"id": "color", "value": {"mode": "fixed", "fixedColor": color}})
            for name, color in self.colors.items()
        ]

    def transformations(self) -> list[Json]:
        """Return what Grafana does with the answers before it shows them."""
        return []

    def json(self, number: int, x: int, y: int) -> Json:
        """As Grafana reads it."""
        given = {"decimals": self.decimals, "min": self.minimum, "max": self.maximum}
        steps = [{"value": value, "color": color} for value, color in self.steps]
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "fieldConfig": {
                "defaults": {
                    "unit": self.unit,
                    "thresholds": {"mode": "absolute", "steps": steps},
                    **{key: value for key, value in given.items() if value is not None},
                    **self.defaults(),
                },
                "overrides": self.overrides(),
            },
            "options": self.options(),
            "targets": [
                query.json(chr(65 + n), self.shape, instant=self.instant) for n, query in enumerate(self.queries)
            ],
            "transformations": self.transformations(),
        }


def override(name: str, *properties: Json) -> Json:
    """Change how one field is shown."""
    return {"matcher": {"id": "byName", "options": name}, "properties": list(properties)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A choice of one or more values of a label, all at first; the datasource is a variable of every dashboard."""

    name: str
    label: str
    description: str
    metric: str
    of: str

    def json(self) -> Json:
        """As Grafana reads it."""
        query = f"label_values({self.metric}, {self.of})"
        return {
            "type": "query",
            "name": self.name,
            "label": self.label,
            "description": self.description,
            "datasource": DATASOURCE,
            "query": {"query": query, "refId": self.name},
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """A mark where a query has a value."""

    name: str
    expr: str
    color: str
    text: str

    def json(self) -> Json:
        """As Grafana reads it."""
        return {
            "name": self.name,
            "datasource": DATASOURCE,
            "enable": True,
            "hide": False,
            "iconColor": self.color,
            "expr": " ".join(self.expr.split()),
            "step": "5s",
            "titleFormat": self.name,
            "textFormat": self.text,
            "useValueForTime": False,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """A page; those of one tag are linked with each other."""

    uid: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]
    annotations: tuple[Annotation, ...] = ()
    tag: str = "flash-sale"

    def panels(self) -> Iterator[Json]:
        """Yield headings and panels, placed and numbered."""
        number, y = 1, 0
        for row in self.rows:
            place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
            yield {"id": number, "type": "row", "title": row.title, "collapsed": False, "gridPos": place, "panels": []}
            number, x, y, tallest = number + 1, 0, y + 1, 0
            for panel in row.panels:
                if x + panel.width > COLUMNS:
                    x, y, tallest = 0, y + tallest, 0
                yield panel.json(number, x, y)
                number, x, tallest = number + 1, x + panel.width, max(tallest, panel.height)
            y += tallest

    def json(self) -> Json:
        """As Grafana reads it."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": [self.tag],
            "timezone": "browser",
            "editable": False,
            "graphTooltip": 1,
            "refresh": "5s",
            "schemaVersion": 41,
            "time": {"from": "now-15m", "to": "now"},
            "timepicker": {"refresh_intervals": ["5s", "10s", "30s", "1m", "5m"]},
            "links": [{**LINKS, "tags": [self.tag]}],
            "templating": {"list": [DATASOURCES, *(variable.json() for variable in self.variables)]},
            "annotations": {"list": [annotation.json() for annotation in self.annotations]},
            "panels": list(self.panels()),
        }


DATASOURCES: Json = {
    "type": "datasource",
    "name": "datasource",
    "label": "Data source",
    "description": "The Prometheus that is asked.",
    "query": "prometheus",
    "refresh": 1,
    "multi": False,
    "includeAll": False,
    "current": {"selected": True, "text": "Prometheus", "value": "prometheus"},
}
LINKS: Json = {
    "type": "dashboards",
    "title": "Dashboards",
    "icon": "external link",
    "tooltip": "The other dashboards of the sale, over the same time.",
    "tags": ["flash-sale"],
    "asDropdown": False,
    "includeVars": True,
    "keepTime": True,
    "targetBlank": False,
    "url": "",
}
