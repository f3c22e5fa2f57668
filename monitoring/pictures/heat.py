"""A heat map: a column of buckets for each time, the brighter the more; dots are exemplars."""

import math
from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise

from monitoring.dashboards.ask import Point
from monitoring.pictures import data
from monitoring.pictures.canvas import EMPTY, Canvas
from monitoring.pictures.plot import Plot

DARK = (82, 38, 10)
BRIGHT = (255, 214, 160)


@dataclass(frozen=True, slots=True)
class Buckets:
    """How many observations were in which bucket at which time: `counts[at][n]`, up to `edges[n]`."""

    edges: list[float]
    counts: dict[float, list[float]]

    @classmethod
    def of(cls, lines: list[data.Line]) -> "Buckets":
        """Take the counts up to each edge apart, and leave out what is empty at both ends."""
        edges = sorted({float(line.labels["le"]) for line in lines})
        upto: dict[float, dict[float, float]] = {}
        for line in lines:
            for at, value in line.points:
                upto.setdefault(at, {})[float(line.labels["le"])] = value
        counts = {}
        for at, column in upto.items():
            steps = [0.0, *(column.get(edge, 0.0) for edge in edges)]
            counts[at] = [max(high - low, 0.0) for low, high in pairwise(steps)]
        used = [n for n in range(len(edges)) if any(column[n] > 0 for column in counts.values())]
        kept = slice(max(0, used[0] - 1), used[-1] + 1) if used else slice(0)
        return cls(edges[kept], {at: column[kept] for at, column in counts.items()})

    def place(self, value: float) -> float | None:
        """Where a value is, in buckets from below; None when it is above them all."""
        n = bisect_left(self.edges, value)
        if n >= len(self.edges):
            return None
        low, high = self.edges[n - 1] if n else 0.0, self.edges[n]
        return n + ((value - low) / (high - low) if math.isfinite(high) else 0.5)


def heat_map(canvas: Canvas) -> str:
    """Draw the panel."""
    buckets = Buckets.of(data.lines(canvas.prometheus, canvas.panel, canvas.window))
    if not buckets.edges:
        return EMPTY
    plot = canvas.plot(canvas.height, 0, len(buckets.edges), left=66)
    most = max(max(column) for column in buckets.counts.values())
    for at, column in buckets.counts.items():
        for n, count in enumerate(column):
            if count > 0:
                _cell(plot, at, canvas.window.step, n, math.sqrt(count / most))
    for n, edge in enumerate(buckets.edges, start=1):
        plot.text(plot.left - 6, plot.y(n) + 4, canvas.say(edge) if math.isfinite(edge) else "+Inf", "end")
    plot.clock()
    _dots(plot, buckets, data.exemplars(canvas.prometheus, canvas.panel, canvas.window))
    return plot.svg()


def _dots(plot: Plot, buckets: Buckets, exemplars: list[Point]) -> None:
    for at, value in exemplars:
        place = buckets.place(value)
        if place is not None:
            plot.dot(at, place, "rgb(255,0,255)", 2.6)


def _cell(plot: Plot, at: float, step: float, n: int, heat: float) -> None:
    red, green, blue = (round(dark + heat * (bright - dark)) for dark, bright in zip(DARK, BRIGHT, strict=True))
    x, y = max(plot.x(at - step), plot.left), plot.y(n + 1)
    width, height = plot.x(at) - x - 1, plot.y(n) - y - 1
    plot.parts.append(
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}" height="{height:.1f}" '
        f'fill="rgb({red},{green},{blue})"/>'
    )
