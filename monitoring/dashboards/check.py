"""Every query of every panel, variable and mark, asked of a running Prometheus."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from monitoring.dashboards.ask import Prometheus, Window
from monitoring.dashboards.files import FOLDER

ON_THE_WAY_SECONDS = 15
"""A span reaches Jaeger within two batches: 5 s in the service, half a second in the collector."""
KEPT_SECONDS = 60
"""Jaeger keeps the last traces in memory, a minute of them at any load."""
ENOUGH = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a query found: how many series with a value, and the last value of the first one."""

    dashboard: str
    panel: str
    letter: str
    expr: str
    series: int
    value: float | None


def targets(document: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield panel, letter and expression of each query of a dashboard's JSON."""
    for panel in document["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["refId"], target["expr"]


def documents(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """Return the committed dashboards by the name of their file."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def answers(url: str, window: Window, folder: Path = FOLDER) -> Iterator[Answer]:
    """Ask every query of every panel."""
    with Prometheus(url) as prometheus:
        for name, document in documents(folder).items():
            for panel, letter, expr in targets(document):
                found = [series for series in prometheus.range(expr, window) if series.points]
                value = found[0].points[-1][1] if found else None
                yield Answer(dashboard=name, panel=panel, letter=letter, expr=expr, series=len(found), value=value)


def traces(url: str, jaeger: str, window: Window, folder: Path = FOLDER) -> dict[str, bool]:
    """Return the trace of every exemplar that the panels show, and whether Jaeger has it."""
    ids: set[str] = set()
    with Prometheus(url) as prometheus:
        for document in documents(folder).values():
            for panel in document["panels"]:
                for target in panel.get("targets", []):
                    if target["exemplar"]:
                        found = prometheus.exemplars(target["expr"], window)
                        ids |= {exemplar["labels"]["trace_id"] for exemplar in found}
    with httpx.Client(base_url=jaeger, timeout=30) as client:
        return {trace: _has(client, trace) for trace in sorted(ids)}


def _has(jaeger: httpx.Client, trace: str) -> bool:
    try:
        return jaeger.get(f"/api/traces/{trace}").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def check(url: str, *, minutes: float, jaeger: str | None) -> int:
    """Print a table of all queries with their values; 1 when one found nothing, or Jaeger lacks traces of exemplars."""
    window = Window.last(minutes)
    table = Table("dashboard", "panel", "query", "series", "value", title=f"{url}, the last {minutes:g} min")
    asked = list(answers(url, window))
    for answer in asked:
        value = "nothing" if answer.value is None else f"{answer.value:.6g}"
        style = "red" if answer.value is None else None
        table.add_row(answer.dashboard, answer.panel, answer.letter, str(answer.series), value, style=style)
    empty = sum(answer.value is None for answer in asked)
    console = Console(width=None if Console().is_terminal else 120)
    console.print(table)
    console.print(f"{len(asked)} queries, {empty} without data")
    if jaeger is None:
        return 1 if empty else 0
    end = window.end - ON_THE_WAY_SECONDS
    known = traces(url, jaeger, Window(end - KEPT_SECONDS, end, window.step))
    found = sum(known.values())
    console.print(f"{len(known)} traces of exemplars of a minute, {found} of them in Jaeger")
    return 1 if empty or found < ENOUGH * len(known) else 0
