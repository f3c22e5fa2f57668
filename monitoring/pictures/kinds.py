"""Each kind of panel, drawn: a body in HTML, with its plot in SVG."""

from collections.abc import Callable
from html import escape
from typing import Any

from monitoring.dashboards.ask import Point
from monitoring.pictures import data
from monitoring.pictures.canvas import EMPTY, Canvas
from monitoring.pictures.heat import heat_map
from monitoring.pictures.units import written

LEGEND_ROWS = 5
LEGEND_ROW = 19


def stacked(lines: list[data.Line]) -> list[tuple[data.Line, list[Point], list[Point]]]:
    """Return each line with its lower and its upper edge, one upon the other."""
    floor: dict[float, float] = {}
    found = []
    for line in lines:
        under = [(at, floor.get(at, 0.0)) for at, _ in line.points]
        over = [(at, floor.get(at, 0.0) + value) for at, value in line.points]
        floor.update(over)
        found.append((line, under, over))
    return found


def bounds(canvas: Canvas, values: list[float]) -> tuple[float, float]:
    """Return the ends of the axis: what the panel says, else what there is and a little more."""
    low, high = min(values), max(values)
    low = canvas.field.get("min", low - 0.06 * (high - low) if low < 0 else min(low, 0))
    soft = canvas.field["custom"].get("axisSoftMax", high)
    room = canvas.field.get("max", max(soft, high + 0.06 * (high - low)))
    return low, room if room > low else low + 1


def graph(canvas: Canvas) -> str:
    """Draw lines over time with a legend."""
    found = data.lines(canvas.prometheus, canvas.panel, canvas.window)
    if not found:
        return EMPTY
    custom = canvas.field["custom"]
    height = canvas.height - LEGEND_ROW * (min(len(found), LEGEND_ROWS + 1) + 1) - 4
    piled = stacked(found) if custom["stacking"]["mode"] == "normal" else [(line, [], line.points) for line in found]
    shown = data.exemplars(canvas.prometheus, canvas.panel, canvas.window)
    plot = canvas.plot(height, *bounds(canvas, [value for *_, over in piled for _, value in over]))
    plot.grid(canvas.field["unit"])
    for line, under, over in reversed(piled):
        fill = custom["fillOpacity"] / 100
        plot.curve(over, line.color, gap=1.6 * canvas.window.step, fill=fill, floor=under)
    for step in canvas.field["thresholds"]["steps"] if custom["thresholdsStyle"]["mode"] != "off" else []:
        if step["value"] is not None and plot.low <= step["value"] <= plot.high:
            at = plot.y(step["value"])
            plot.line(plot.left, at, plot.width - 8, at, f"stroke:{data.NAMED[step['color']]};stroke-dasharray:8 6")
    for at, value in shown:
        plot.diamond(at, min(value, plot.high))
    for at, color, _ in canvas.marks:
        plot.mark(at, color)
    return plot.svg() + legend(canvas, found)


def legend(canvas: Canvas, lines: list[data.Line]) -> str:
    """Return the table below a graph: the last and the greatest value of each line."""
    head = '<tr><th>Name</th><th class="n">Last *</th><th class="n">Max</th></tr>'
    body = "".join(
        f'<tr><td><i style="background:{line.color}"></i>{escape(line.name)}</td>'
        f'<td class="n">{canvas.say(line.last)}</td>'
        f'<td class="n">{canvas.say(max(value for _, value in line.points))}</td></tr>'
        for line in lines[:LEGEND_ROWS]
    )
    more = len(lines) - LEGEND_ROWS
    below = f'<tr><td class="more">and {more} more</td></tr>' if more > 0 else ""
    return f'<table class="legend">{head}{body}{below}</table>'


def figure(canvas: Canvas) -> str:
    """Return a large number over its course."""
    found = data.lines(canvas.prometheus, canvas.panel, canvas.window)
    if not found:
        return EMPTY
    line = found[0]
    color = data.threshold(canvas.panel, line.last)
    values = [value for _, value in line.points]
    low, high = min(values), max(values)
    plot = canvas.plot(canvas.height * 0.55, low, high if high > low else low + 1, left=0)
    plot.curve(line.points, color, gap=1.6 * canvas.window.step, fill=0.18)
    words = f'<div class="figure" style="color:{color}">{canvas.say(line.last)}</div>'
    return f'{words}<div class="spark">{plot.svg()}</div>'


def bars(canvas: Canvas) -> str:
    """Return a bar for each series."""
    found = data.lines(canvas.prometheus, canvas.panel, canvas.window)
    if not found:
        return EMPTY
    most = canvas.field.get("max", max(line.last for line in found)) or 1
    return (
        '<div class="bars">'
        + "".join(
            f'<div class="bar"><label>{escape(line.name)}</label><div><b style="width:{100 * line.last / most:.1f}%;'
            f'background:{data.threshold(canvas.panel, line.last)}"></b></div>'
            f'<span style="color:{data.threshold(canvas.panel, line.last)}">{canvas.say(line.last)}</span></div>'
            for line in found
        )
        + "</div>"
    )


def table(canvas: Canvas) -> str:
    """Return the rows of a table."""
    found = data.rows(canvas.prometheus, canvas.panel, canvas.window)
    names = data.columns(canvas.panel)
    units = {
        override["matcher"]["options"]: {prop["id"]: prop["value"] for prop in override["properties"]}
        for override in canvas.panel["fieldConfig"]["overrides"]
    }

    def cell(row: dict[str, Any], name: str, title: str) -> str:
        value = row.get(name, "")
        if isinstance(value, str):
            return f'<td class="{"link" if "links" in units[title] else ""}">{escape(value)}</td>'
        return f'<td class="n">{escape(written(value, units[title]["unit"], units[title].get("decimals")))}</td>'

    head = "".join(f'<th class="{"n" if "#" in name else ""}">{escape(title)}</th>' for name, title in names.items())
    body = "".join(f"<tr>{''.join(cell(row, *column) for column in names.items())}</tr>" for row in found)
    return f'<table class="rows"><tr>{head}</tr>{body}</table>'


KINDS: dict[str, Callable[[Canvas], str]] = {
    "timeseries": graph,
    "stat": figure,
    "bargauge": bars,
    "table": table,
    "heatmap": heat_map,
}
