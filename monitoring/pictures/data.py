"""What a panel shows: the answers to its queries, named, coloured and in order."""

from dataclasses import dataclass
from typing import Any

from monitoring.dashboards.ask import Point, Prometheus, Window

NAMED = {
    "green": "#73BF69",
    "blue": "#5794F2",
    "red": "#F2495C",
    "orange": "#FF9830",
    "yellow": "#FADE2A",
    "purple": "#B877D9",
    "text": "#CCCCDC",
}
PALETTE = (
    *("#7EB26D", "#EAB839", "#6ED0E0", "#EF843C", "#E24D42", "#1F78C1", "#BA43A9", "#705DA0"),
    *("#508642", "#CCA300", "#447EBC", "#C15C17", "#890F02", "#0A437C", "#6D1F62", "#584477"),
)


@dataclass(slots=True)
class Line:
    """A series as it is shown."""

    name: str
    color: str
    points: list[Point]
    labels: dict[str, str]

    @property
    def last(self) -> float:
        """Its last value."""
        return self.points[-1][1]


def lines(prometheus: Prometheus, panel: dict[str, Any], window: Window) -> list[Line]:
    """Ask the queries of a panel over a time."""
    found = []
    for target in panel["targets"]:
        ask = prometheus.instant if target["instant"] else prometheus.range
        found += [
            Line(series.named(target["legendFormat"]), "", series.points, series.labels)
            for series in ask(target["expr"], window)
            if series.points
        ]
    fixed = {
        override["matcher"]["options"]: NAMED[prop["value"]["fixedColor"]]
        for override in panel["fieldConfig"]["overrides"]
        for prop in override["properties"]
        if prop["id"] == "color"
    }
    for place, line in enumerate(found):
        line.color = fixed.get(line.name, PALETTE[place % len(PALETTE)])
    return found


def exemplars(prometheus: Prometheus, panel: dict[str, Any], window: Window) -> list[Point]:
    """Ask for the exemplars of a panel's queries, the slowest of each of forty parts of the time."""
    best: dict[int, Point] = {}
    for target in panel["targets"]:
        if target["exemplar"]:
            for one in prometheus.exemplars(target["expr"], window):
                at, value = float(one["timestamp"]), float(one["value"])
                part = int((at - window.start) / (window.end - window.start) * 40)
                best[part] = max(best.get(part, (0.0, 0.0)), (at, value), key=lambda point: point[1])
    return [point for point in best.values() if window.start <= point[0] <= window.end]


def marks(prometheus: Prometheus, document: dict[str, Any], window: Window) -> list[tuple[float, str, str]]:
    """Ask for the annotations: when, in which colour, which words."""
    found = []
    for annotation in document["annotations"]["list"]:
        for series in prometheus.range(annotation["expr"], window):
            words = f"{annotation['name']}: {series.named(annotation['textFormat'])}"
            previous = float("-inf")
            for at, _ in series.points:
                if at - previous > 3 * window.step:  # Grafana makes one mark of neighbours
                    found.append((at, NAMED[annotation["iconColor"]], words))
                previous = at
    return found


def rows(prometheus: Prometheus, panel: dict[str, Any], window: Window) -> list[dict[str, Any]]:
    """Ask the queries of a table and join their answers by their labels, as `merge` and `organize` would."""
    joined: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
    for target in panel["targets"]:
        for series in prometheus.instant(target["expr"], window):
            row = joined.setdefault(tuple(sorted(series.labels.items())), dict(series.labels))
            if series.points:
                row[f"Value #{target['refId']}"] = series.points[-1][1]
    sort = panel["options"]["sortBy"][0]["displayName"]
    names = columns(panel)
    by = next(name for name, title in names.items() if title == sort)
    return sorted(joined.values(), key=lambda row: row.get(by, 0), reverse=True)


def columns(panel: dict[str, Any]) -> dict[str, str]:
    """Return the fields of a table in their order, with their headings."""
    organize = next(step for step in panel["transformations"] if step["id"] == "organize")
    renamed: dict[str, str] = organize["options"]["renameByName"]
    return renamed


def threshold(panel: dict[str, Any], value: float) -> str:
    """Return the colour of a value."""
    color = "text"
    for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            color = step["color"]
    return NAMED[color]
