"""A plot in SVG: axes, lines, areas, cells, marks, on scales that are linear in both directions."""

import math
import time
from dataclasses import dataclass, field

from monitoring.pictures.units import written

GRID = "rgba(204,204,220,0.09)"

Points = list[tuple[float, float]]


def ticks(low: float, high: float, at_most: int) -> list[float]:
    """Return round values between two others."""
    raw = (high - low) / max(at_most, 1) or 1.0
    base = 10.0 ** math.floor(math.log10(raw))
    step = next(base * factor for factor in (1, 2, 2.5, 5, 10) if base * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


@dataclass(slots=True, kw_only=True)
class Plot:
    """A drawing area between `start` and `end` (Unix seconds) and `low` and `high`."""

    width: float
    height: float
    start: float
    end: float
    low: float
    high: float
    left: float = 58
    parts: list[str] = field(default_factory=list)

    def x(self, at: float) -> float:
        """Return the place of a time."""
        return self.left + (at - self.start) / (self.end - self.start) * (self.width - self.left - 8)

    def y(self, value: float) -> float:
        """Return the place of a value."""
        share = (value - self.low) / ((self.high - self.low) or 1)
        return 6 + (1 - share) * (self.height - 6 - 20)

    def text(self, x: float, y: float, words: str, anchor: str = "middle") -> None:
        """Write."""
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="axis">{words}</text>')

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
        """Draw a straight line."""
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" style="{style}"/>')

    def grid(self, unit: str, decimals: int | None = None) -> None:
        """Draw the axes."""
        at_most = max(2, round(self.height / 42))
        scale = 2**20 if unit == "bytes" else 1  # round mebibytes, not round bytes
        for value in (scale * tick for tick in ticks(self.low / scale, self.high / scale, at_most)):
            self.line(self.left, self.y(value), self.width - 8, self.y(value), f"stroke:{GRID}")
            self.text(self.left - 6, self.y(value) + 4, written(value, unit, decimals), "end")
        self.clock()

    def clock(self) -> None:
        """Draw the axis of time."""
        span = self.end - self.start
        step = next((s for s in (10, 15, 30, 60, 120, 300, 600, 1800) if span / s <= self.width / 75), 3600)
        at = math.ceil(self.start / step) * step
        while at <= self.end:
            if self.left + 14 < self.x(at) < self.width - 18:
                self.line(self.x(at), 6, self.x(at), self.height - 20, f"stroke:{GRID}")
                shape = "%H:%M" if step >= 60 else "%H:%M:%S"  # noqa: PLR2004 - a minute
                self.text(self.x(at), self.height - 5, time.strftime(shape, time.gmtime(at)))
            at += step

    def runs(self, points: Points, gap: float) -> list[Points]:
        """Return the points in runs without a gap: where nothing was exported, nothing is drawn."""
        found: list[Points] = []
        for at, value in points:
            if found and at - found[-1][-1][0] <= gap:
                found[-1].append((at, value))
            else:
                found.append([(at, value)])
        return found

    def curve(self, points: Points, color: str, *, gap: float, fill: float = 0, floor: Points | None = None) -> None:
        """Draw a line, and fill what is between it and the floor (another line, or the axis)."""
        under = dict(floor or [])
        for run in self.runs(points, gap):
            places = [f"{self.x(at):.1f},{self.y(value):.1f}" for at, value in run]
            if fill:
                back = [f"{self.x(at):.1f},{self.y(under.get(at, max(0, self.low))):.1f}" for at, _ in reversed(run)]
                self.parts.append(f'<polygon points="{" ".join(places + back)}" fill="{color}" opacity="{fill}"/>')
            self.parts.append(f'<polyline points="{" ".join(places)}" class="curve" stroke="{color}"/>')
            if len(run) == 1:
                self.dot(*run[0], color)

    def dot(self, at: float, value: float, color: str, radius: float = 2.2) -> None:
        """Draw a point."""
        self.parts.append(f'<circle cx="{self.x(at):.1f}" cy="{self.y(value):.1f}" r="{radius}" fill="{color}"/>')

    def diamond(self, at: float, value: float) -> None:
        """Draw an exemplar."""
        x, y = self.x(at), self.y(value)
        path = f"M{x:.1f} {y - 4:.1f} l4 4 l-4 4 l-4 -4 z"
        self.parts.append(f'<path d="{path}" fill="#5794F2" stroke="#111217" stroke-width="0.6"/>')

    def mark(self, at: float, color: str) -> None:
        """Draw an annotation."""
        x, bottom = self.x(at), self.height - 20
        self.line(x, 6, x, bottom, f"stroke:{color};stroke-dasharray:4 3;stroke-width:1")
        self.parts.append(f'<path d="M{x - 5:.1f} {bottom + 5:.1f} h10 l-5 -7 z" fill="{color}"/>')

    def svg(self) -> str:
        """Return the drawing."""
        return f'<svg width="{self.width:.0f}" height="{self.height:.0f}">{"".join(self.parts)}</svg>'
