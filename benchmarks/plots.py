"""The plots: what an order costs each subject, and how flat the service stays as its store grows. SVG files."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.bench import Row, middle, select, values
from benchmarks.subjects import SUBJECTS

COLOURS = {"ours": "#1f6feb", "baseline": "#9a6700", "asgi-floor": "#57606a"}
STYLE = {
    "svg.hashsalt": "flash-sale",  # the same figures give the same file
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
}
SIZE_AXES = ("orders stored", "products")


def draw(rows: Sequence[Row], folder: Path) -> None:
    """Write `bench-orders.svg` and `bench-growth.svg` into a folder, as far as their rows are there."""
    import matplotlib as mpl  # type: ignore[import-not-found]  # noqa: PLC0415 - only drawing needs it

    mpl.use("svg")
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        if orders := select(rows, part="orders"):
            _orders(orders, folder / "bench-orders.svg")
        if growth := select(rows, part="growth"):
            _growth(growth, folder / "bench-growth.svg")


def _orders(rows: Sequence[Row], path: Path) -> None:
    from matplotlib import pyplot as plt  # noqa: PLC0415 - as above

    shown = [c for c in reversed(SUBJECTS) if select(rows, subject=c.name)]
    found = [values(select(rows, subject=c.name), "cpu_us") for c in shown]
    middles = [statistics.median(cpu) for cpu in found]
    below = [mid - min(cpu) for mid, cpu in zip(middles, found, strict=True)]
    above = [max(cpu) - mid for mid, cpu in zip(middles, found, strict=True)]
    figure, axes = plt.subplots(figsize=(8, 0.32 * len(shown) + 1))
    colours = [COLOURS[c.kind] for c in shown]
    bars = axes.barh([c.title for c in shown], middles, xerr=[below, above], color=colours, ecolor="#24292f")
    axes.bar_label(bars, labels=[f"{mid:.0f}" for mid in middles], padding=8)
    axes.set_xlabel("CPU per accepted order in microseconds: median, with lowest and highest")
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.12)
    _save(figure, path)


def _growth(rows: Sequence[Row], path: Path) -> None:
    from matplotlib import pyplot as plt  # noqa: PLC0415 - as above

    figure, grid = plt.subplots(2, len(SIZE_AXES), figsize=(8, 5), squeeze=False)
    for column, axis in enumerate(SIZE_AXES):
        mine = select(rows, axis=axis)
        sizes = sorted({float(row["size"]) for row in mine})
        for line, (name, label) in enumerate((("requests_per_second", "orders/s"), ("p99_ms", "p99, ms"))):
            axes = grid[line][column]
            points = [select(mine, size=size) for size in sizes]
            axes.plot(sizes, [middle(point, name) for point in points], marker="o", color=COLOURS["ours"], label=label)
            lows, highs = ([end(values(point, name)) for point in points] for end in (min, max))
            axes.fill_between(sizes, lows, highs, color=COLOURS["ours"], alpha=0.15)
            if name == "p99_ms":
                scrapes = [middle(point, "scrape_ms") for point in points]
                axes.plot(sizes, scrapes, marker="s", color=COLOURS["baseline"], label="scrape, ms")
                axes.set_xlabel(axis)
            axes.set_xscale("log")
            axes.set_xticks(sizes, [f"{size:,.0f}" for size in sizes])
            axes.minorticks_off()
            axes.set_ylim(0, axes.get_ylim()[1] * 1.15)
            axes.legend(frameon=False, loc="lower right" if line == 0 else "best")
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:  # noqa: ANN401 - matplotlib is not there where types are checked
    from matplotlib import pyplot as plt  # noqa: PLC0415 - as above

    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
