"""What a panel is drawn from and how large it is."""

from dataclasses import dataclass
from html import escape
from typing import Any

from monitoring.dashboards.ask import Prometheus, Window
from monitoring.pictures.plot import Plot
from monitoring.pictures.units import written

EMPTY = '<div class="empty">No data</div>'


@dataclass(frozen=True, slots=True)
class Canvas:
    """What a panel is drawn from, and how large: the inside of its frame, without the title."""

    prometheus: Prometheus
    panel: dict[str, Any]
    window: Window
    marks: list[tuple[float, str, str]]
    width: float
    height: float

    @property
    def field(self) -> dict[str, Any]:
        """The defaults of the panel's fields."""
        found: dict[str, Any] = self.panel["fieldConfig"]["defaults"]
        return found

    def say(self, value: float) -> str:
        """Write a value in the panel's unit."""
        return escape(written(value, self.field["unit"], self.field.get("decimals")))

    def plot(self, height: float, low: float, high: float, left: float = 58) -> Plot:
        """Begin a plot over the window."""
        start, end = self.window.start, self.window.end
        return Plot(width=self.width, height=height, start=start, end=end, low=low, high=high, left=left)
